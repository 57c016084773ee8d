"""The parsers of a command line: one for the program, and one for each subcommand."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fulmen.cli.parser import LightningArgumentParser
from fulmen.cli.registered import import_all
from fulmen.cli.types import jsonargparse
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.suggest import did_you_mean

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class SubcommandParsers:
    """What of ``LightningCLI`` makes its parsers."""

    trainer_class: type[Trainer] | Callable[..., Trainer]
    parser_class: type[LightningArgumentParser]
    auto_configure_optimizers: bool
    add_default_arguments_to_parser: Callable[[LightningArgumentParser], None]
    add_core_arguments_to_parser: Callable[[LightningArgumentParser], None]
    add_arguments_to_parser: Callable[[LightningArgumentParser], None]
    link_optimizers_and_lr_schedulers: Callable[[LightningArgumentParser], None]

    def _setup_parser_kwargs(self, parser_kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of the program's parser, and by name those of the subcommands' parsers."""
        names = self.subcommands().keys()
        of_subcommands = {key: value for key, value in parser_kwargs.items() if key in names}
        return {key: value for key, value in parser_kwargs.items() if key not in names}, of_subcommands

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Makes the parser of the program.

        Args:
            **kwargs: Arguments of the parser's class.

        Returns:
            The parser.
        """
        kwargs.setdefault("dump_header", [f"fulmen=={_version()}"])
        parser = self.parser_class(**kwargs)
        parser.add_argument(
            "-c",
            "--config",
            action=jsonargparse.ActionConfigFile,
            help="Path to a configuration file in json or yaml format.",
        )
        return parser

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Makes the parser, with its subcommands or without.

        Args:
            add_subcommands: Whether there are subcommands.
            main_kwargs: Arguments of the parser.
            subparser_kwargs: By name of the subcommand, arguments of its parser.
        """
        import_all()
        self.parser = self.init_parser(**main_kwargs) if add_subcommands else self._plain_parser(main_kwargs)
        if add_subcommands:
            self._subcommand_method_arguments: dict[str, list[str]] = {}
            self._add_subcommands(self.parser, **subparser_kwargs)
        else:
            self._add_arguments(self.parser)

    def _plain_parser(self, kwargs: dict[str, Any]) -> LightningArgumentParser:
        kwargs.setdefault("dump_header", [f"fulmen=={_version()}"])
        return self.parser_class(**kwargs)

    def _add_arguments(self, parser: LightningArgumentParser) -> None:
        self.add_default_arguments_to_parser(parser)
        self.add_core_arguments_to_parser(parser)
        self.add_arguments_to_parser(parser)
        if self.auto_configure_optimizers:
            if not parser._optimizers:
                parser.add_optimizer_args()
            if not parser._lr_schedulers:
                parser.add_lr_scheduler_args()
        self.link_optimizers_and_lr_schedulers(parser)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The subcommands, methods of the Trainer, and those of their arguments that are not on the command line."""
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule"},
            "test": {"model", "dataloaders", "datamodule"},
            "predict": {"model", "dataloaders", "datamodule"},
        }

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        self._subcommand_parsers: dict[str, LightningArgumentParser] = {}
        group = parser.add_subcommands()
        for subcommand in self.subcommands():
            one = self._prepare_subcommand_parser(self.trainer_class, subcommand, **kwargs.get(subcommand, {}))
            method = getattr(self.trainer_class, subcommand)
            group.add_subcommand(subcommand, one, help=_first_paragraph(method))

    def _prepare_subcommand_parser(self, klass: Any, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        method = getattr(klass, subcommand, None)
        if method is None:
            raise MisconfigurationException(
                "Each of `subcommands` is a method of the Trainer.",
                got=f"{subcommand!r}, which `{getattr(klass, '__name__', klass)}` does not have",
                fix=did_you_mean(subcommand, dir(klass)) or "Add the method to a subclass, and pass `trainer_class=`.",
            )
        kwargs.setdefault("dump_header", [f"fulmen=={_version()}"])
        parser = self.parser_class(**kwargs)
        self._add_arguments(parser)
        skip: set[str | int] = set(self.subcommands()[subcommand])
        # what an older generation takes beside today's arguments is by name alone
        taken = inspect.signature(getattr(klass, subcommand)).parameters.values()
        skip |= {parameter.name for parameter in taken if parameter.kind is parameter.KEYWORD_ONLY}
        # The group has the name of the method; jsonargparse says which arguments it found.
        added = parser.add_method_arguments(klass, subcommand, skip=skip)
        self._subcommand_method_arguments[subcommand] = added
        self._subcommand_parsers[subcommand] = parser
        return parser

    def _parser(self, subcommand: str | None) -> LightningArgumentParser:
        """The parser of a subcommand, or of the program where there are none."""
        return self.parser if subcommand is None else self._subcommand_parsers[subcommand]


def _version() -> str:
    try:
        return version("fulmen")
    except PackageNotFoundError:  # run from a checkout
        return "0"


def _first_paragraph(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
