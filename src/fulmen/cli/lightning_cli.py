"""``LightningCLI``: a command line for a module, its data and a Trainer."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fulmen.callbacks.callback import Callback
from fulmen.cli.instantiating import instantiated, mistakes_end, trainer_made
from fulmen.cli.optimizers import automatic, configure, link, settings_of
from fulmen.cli.parser import LightningArgumentParser
from fulmen.cli.restoring import restored
from fulmen.cli.save_config import SaveConfigCallback, unset_kept
from fulmen.cli.subcommands import SubcommandParsers
from fulmen.cli.types import ArgsType, ReduceLROnPlateau, jsonargparse
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.rank_zero import warn_once
from fulmen.utilities.seed import seed_everything


class LightningCLI(SubcommandParsers):
    """A command line for a module, its data and a Trainer: parses, makes the objects and runs what was asked for.

    Args:
        model_class: The module's class, or a function that returns one; None to choose it on the command line.
        datamodule_class: The same for the data module.
        save_config_callback: What saves the configuration; None for nothing.
        save_config_kwargs: Arguments of that callback.
        trainer_class: The class of the Trainer, or a function that returns one.
        trainer_defaults: Arguments of the Trainer that the command line replaces, apart from ``"callbacks"``, which
            it adds to.
        seed_everything_default: A seed; True for one that is chosen, False for none.
        parser_kwargs: Arguments of the parser, or, by the names of subcommands, of theirs.
        parser_class: The class of the parser.
        subclass_mode_model: Whether the command line chooses the module among the class and its subclasses.
        subclass_mode_data: The same for the data module.
        args: What to parse in place of the program's arguments: words, a dictionary or a ``Namespace``.
        run: Whether the command line has subcommands, and runs the one that it is given.
        auto_configure_optimizers: Whether ``--optimizer`` and ``--lr_scheduler`` are there, and become the module's.
        load_from_checkpoint_support: Whether the settings that objects were made of go into checkpoints, so that
            ``load_from_checkpoint`` needs no arguments.

    Example:
        ``LightningCLI(Net, Digits)`` makes of a script a program with the subcommands ``fit``, ``validate``, ``test``
        and ``predict``: ``python script.py fit --model.width=64 --trainer.max_epochs=3``.
    """

    def __init__(
        self,
        model_class: type[LightningModule] | Callable[..., LightningModule] | None = None,
        datamodule_class: type[LightningDataModule] | Callable[..., LightningDataModule] | None = None,
        save_config_callback: type[SaveConfigCallback] | None = SaveConfigCallback,
        save_config_kwargs: dict[str, Any] | None = None,
        trainer_class: type[Trainer] | Callable[..., Trainer] = Trainer,
        trainer_defaults: dict[str, Any] | None = None,
        seed_everything_default: bool | int = True,
        parser_kwargs: dict[str, Any] | dict[str, dict[str, Any]] | None = None,
        parser_class: type[LightningArgumentParser] = LightningArgumentParser,
        subclass_mode_model: bool = False,
        subclass_mode_data: bool = False,
        args: ArgsType = None,
        run: bool = True,
        auto_configure_optimizers: bool = True,
        load_from_checkpoint_support: bool = True,
    ) -> None:
        self.save_config_callback = save_config_callback
        self.save_config_kwargs = save_config_kwargs or {}
        self.trainer_class = trainer_class
        self.trainer_defaults = trainer_defaults or {}
        self.seed_everything_default = seed_everything_default
        self.parser_kwargs = parser_kwargs or {}
        self.parser_class = parser_class
        self.auto_configure_optimizers = auto_configure_optimizers
        self.load_from_checkpoint_support = load_from_checkpoint_support
        self.model_class = model_class
        self._model_class = model_class or LightningModule
        self.subclass_mode_model = model_class is None or subclass_mode_model
        self.datamodule_class = datamodule_class
        self._datamodule_class = datamodule_class or LightningDataModule
        self.subclass_mode_data = datamodule_class is None or subclass_mode_data

        main_kwargs, subparser_kwargs = self._setup_parser_kwargs(self.parser_kwargs)
        self.setup_parser(run, main_kwargs, subparser_kwargs)
        self._typed = args is None  # mistakes of a command line end the program, those of a call are exceptions
        self.parse_arguments(self.parser, args)
        self.subcommand: str | None = self.config["subcommand"] if run else None
        restored(self, args)
        self._set_seed()
        self.before_instantiate_classes()
        self.instantiate_classes()
        self.after_instantiate_classes()
        if self.subcommand is not None:
            with mistakes_end(self):
                self._run_subcommand(self.subcommand)

    # The parser.

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds ``--config`` and ``--seed_everything``.

        Args:
            parser: The parser.
        """
        parser.add_argument(
            "-c",
            "--config",
            action=jsonargparse.ActionConfigFile,
            help="Path to a configuration file in json or yaml format.",
        )
        parser.add_argument(
            "--seed_everything",
            type=bool | int,
            default=self.seed_everything_default,
            help="A seed; true for one that is chosen, false for none.",
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the arguments of Trainer, module and data module.

        Args:
            parser: The parser.
        """
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        defaults = {f"trainer.{key}": value for key, value in self.trainer_defaults.items() if key != "callbacks"}
        parser.set_defaults(defaults)
        parser.add_lightning_class_args(self._model_class, "model", subclass_mode=self.subclass_mode_model)
        if self.datamodule_class is not None:
            parser.add_lightning_class_args(self._datamodule_class, "data", subclass_mode=self.subclass_mode_data)
        else:  # a module may bring its own data
            parser.add_lightning_class_args(
                self._datamodule_class, "data", subclass_mode=self.subclass_mode_data, required=False
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Override it to add arguments, links and defaults of one's own.

        Args:
            parser: The parser, of each subcommand in turn.
        """

    @staticmethod
    def link_optimizers_and_lr_schedulers(parser: LightningArgumentParser) -> None:
        """Links optimizers and schedulers that were added with ``link_to`` to that argument.

        Args:
            parser: The parser.
        """
        link(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses, and keeps the result as ``config``.

        Args:
            parser: The parser.
            args: What to parse; None for the arguments of the program.
        """
        if args is not None and len(sys.argv) > 1:
            warn_once(
                "`LightningCLI(args=...)` takes the place of the program's arguments, and there are some that nobody "
                f"reads: {sys.argv[1:]}. Leave one of them out."
            )
        if isinstance(args, (dict, jsonargparse.Namespace)):
            self.config = parser.parse_object(args)
        else:
            self.config = parser.parse_args(args)

    # The objects.

    def before_instantiate_classes(self) -> None:
        """Override it to do something before the objects are made; ``config`` is there."""

    def instantiate_classes(self) -> None:
        """Makes data module, module and Trainer: ``datamodule``, ``model``, ``trainer``, and ``config_init``."""
        self._dump_config()
        self.config_init = instantiated(self)
        self.datamodule: LightningDataModule | None = self._get(self.config_init, "data")
        self.model: LightningModule = self._get(self.config_init, "model")
        self._add_configure_optimizers_method_to_model(self.subcommand)
        self.trainer: Trainer = self.instantiate_trainer()

    def after_instantiate_classes(self) -> None:
        """Override it to do something after the objects were made and before they run."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Makes the Trainer.

        Args:
            **kwargs: Arguments that replace those of the command line.

        Returns:
            The Trainer.
        """
        parser = self._parser(self.subcommand)
        callbacks = [self._get(self.config_init, key) for key in parser.callback_keys]
        config = {**dict(vars(self._get(self.config_init, "trainer", default=jsonargparse.Namespace()))), **kwargs}
        return self._instantiate_trainer(config, callbacks)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        given = config.get("callbacks")
        chosen = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
        chosen.extend(callbacks)
        added = self.trainer_defaults.get("callbacks")
        if added is not None:
            chosen.extend(added if isinstance(added, (list, tuple)) else [added])
        if self.save_config_callback and not config.get("fast_dev_run", False):
            saved = self.config.get(str(self.subcommand), self.config)
            chosen.append(self.save_config_callback(self._parser(self.subcommand), saved, **self.save_config_kwargs))
        return trainer_made(self, {**config, "callbacks": chosen})

    @staticmethod
    def configure_optimizers(
        lightning_module: LightningModule,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    ) -> Any:
        """What ``configure_optimizers`` of the module returns, where the command line brings the optimizer.

        Override it for another interval, say.

        Args:
            lightning_module: The module.
            optimizer: The optimizer.
            lr_scheduler: The scheduler, if there is one.

        Returns:
            What ``LightningModule.configure_optimizers`` may return.
        """
        if lr_scheduler is None:
            return optimizer
        if isinstance(lr_scheduler, ReduceLROnPlateau):
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": lr_scheduler, "monitor": lr_scheduler.monitor},
            }
        return [optimizer], [lr_scheduler]

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        if not self.auto_configure_optimizers:
            return
        parser, owner = self._parser(subcommand), type(self).__name__
        optimizer_key, scheduler_key = automatic(parser, owner)
        if optimizer_key is None:
            return
        optimizer = settings_of(parser._optimizers[optimizer_key][0], self._get(self.config_init, optimizer_key))
        if optimizer is None:
            return
        scheduler = None
        if scheduler_key is not None:
            cls = parser._lr_schedulers[scheduler_key][0]
            scheduler = settings_of(cls, self._get(self.config_init, scheduler_key))
        configure(self.model, self.configure_optimizers, optimizer, scheduler, owner)

    # The run.

    def _get(self, config: Any, key: str, default: Any = None) -> Any:
        """A value of a configuration, of the subcommand's part where there is one."""
        return config.get(str(self.subcommand), config).get(key, default)

    def _dump_config(self) -> None:
        """Keeps the configuration as plain data, as ``config_dump``."""
        from yaml import safe_load

        parser = self._parser(self.subcommand)
        config = self.config.get(str(self.subcommand), self.config)
        options = {**unset_kept(parser), "skip_link_targets": False}
        with warnings.catch_warnings():  # of defaults that have no name, as lambdas: they are found again by themselves
            warnings.filterwarnings("ignore", r"\s*Unable to serialize instance")
            self.config_dump = safe_load(parser.dump(config, format="yaml", **options))

    def _run_subcommand(self, subcommand: str) -> None:
        """Calls ``before_<subcommand>``, the subcommand, and ``after_<subcommand>``."""
        for name in (f"before_{subcommand}", subcommand, f"after_{subcommand}"):
            default = getattr(self.trainer, subcommand) if name == subcommand else None
            function = getattr(self, name, default)
            if callable(function):
                function(**(self._prepare_subcommand_kwargs(subcommand) if name == subcommand else {}))

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        config = self.config_init[subcommand]
        kwargs = {key: config[key] for key in self._subcommand_method_arguments[subcommand] if key in config}
        kwargs["model"] = self.model
        if self.datamodule is not None:
            kwargs["datamodule"] = self.datamodule
        return kwargs

    def _set_seed(self) -> None:
        """Seeds, and puts the seed that was chosen into the configuration."""
        seed = self._get(self.config, "seed_everything")
        if seed is False:
            return
        if seed is True:
            earlier = os.environ.get("PL_GLOBAL_SEED", "0")
            seed = int(earlier) if earlier.isdigit() else 0
        config = self.config.get(str(self.subcommand), self.config)
        config["seed_everything"] = seed_everything(seed, workers=True)
