"""The parser of a command line: arguments for classes, optimizers and schedulers, and errors that say what to do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from torch.optim import Optimizer

from fulmen.callbacks.callback import Callback
from fulmen.cli.mistakes import explained
from fulmen.cli.names import renamed, renamed_word
from fulmen.cli.types import LRSchedulerType, LRSchedulerTypeTuple, jsonargparse
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException

AUTOMATIC = "AUTOMATIC"
_KINDS = (Trainer, LightningModule, LightningDataModule, Callback)
_MODE = "fulmen"


def _load(text: str) -> Any:
    return renamed(jsonargparse.get_loader("yaml")(text))


class LightningArgumentParser(jsonargparse.ArgumentParser):  # type: ignore[misc]
    """A parser for Trainer, modules, callbacks, optimizers and schedulers, from files, variables and the command line.

    Class paths of Lightning (``pytorch_lightning.``, ``lightning.pytorch.``) mean Fulmen's classes.

    Args:
        *args: As for ``jsonargparse.ArgumentParser``.
        description: What the help says of the program.
        env_prefix: What environment variables begin with.
        default_env: Whether environment variables are read.
        **kwargs: As for ``jsonargparse.ArgumentParser``.
    """

    def __init__(
        self,
        *args: Any,
        description: str = "Lightning Trainer command line tool",
        env_prefix: str = "PL",
        default_env: bool = False,
        **kwargs: Any,
    ) -> None:
        from yaml import YAMLError

        jsonargparse.set_loader(_MODE, _load, exceptions=(YAMLError,))
        if kwargs.get("parser_mode", "yaml") == "yaml":
            kwargs["parser_mode"] = _MODE
        super().__init__(*args, description=description, env_prefix=env_prefix, default_env=default_env, **kwargs)
        self.callback_keys: list[str] = []
        self._optimizers: dict[str, tuple[Any, str]] = {}
        self._lr_schedulers: dict[str, tuple[Any, str]] = {}

    def add_lightning_class_args(
        self,
        lightning_class: Callable[..., Trainer | LightningModule | LightningDataModule | Callback]
        | type[Trainer]
        | type[LightningModule]
        | type[LightningDataModule]
        | type[Callback],
        nested_key: str,
        subclass_mode: bool = False,
        required: bool = True,
    ) -> list[str]:
        """Adds the arguments of a class.

        Args:
            lightning_class: A subclass of ``Trainer``, ``LightningModule``, ``LightningDataModule`` or ``Callback``,
                or a function that returns one and says so in its annotations.
            nested_key: Under what name.
            subclass_mode: Whether the class itself is chosen on the command line, among this one and its subclasses.
            required: Whether one must be chosen.

        Returns:
            The names of the arguments that were added.

        Raises:
            MisconfigurationException: If it is neither.
        """
        if callable(lightning_class) and not isinstance(lightning_class, type):
            name = f"_{lightning_class.__name__}_class"
            while name in globals():  # jsonargparse puts the class here
                name += "_"
            lightning_class = jsonargparse.class_from_function(lightning_class, name=name)
        if not (isinstance(lightning_class, type) and issubclass(lightning_class, _KINDS)):
            raise MisconfigurationException(
                "A command line has arguments for a Trainer, a LightningModule, a LightningDataModule or a Callback.",
                got=f"{lightning_class!r} for {nested_key!r}",
                fix="Pass a subclass of one of them, or a function with such a class as its return annotation. For "
                "other classes: `parser.add_class_arguments(cls, key)`.",
            )
        if issubclass(lightning_class, Callback):
            self.callback_keys.append(nested_key)
        if subclass_mode:
            added = self.add_subclass_arguments(lightning_class, nested_key, fail_untyped=False, required=required)
        else:
            added = self.add_class_arguments(
                lightning_class,
                nested_key,
                fail_untyped=False,
                instantiate=not issubclass(lightning_class, Trainer),
                sub_configs=True,
            )
        names: list[str] = added
        return names

    def add_optimizer_args(
        self,
        optimizer_class: type[Optimizer] | tuple[type[Optimizer], ...] = (Optimizer,),
        nested_key: str = "optimizer",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Adds the arguments of an optimizer.

        Args:
            optimizer_class: One class, or several of which (or of whose subclasses) the command line chooses.
            nested_key: Under what name.
            link_to: The argument that receives its settings, as ``"model.optimizer"``; ``"AUTOMATIC"`` makes it the
                optimizer of the module.
        """
        self._add_class_or_choice(optimizer_class, nested_key, {"params"})
        self._optimizers[nested_key] = (optimizer_class, link_to)

    def add_lr_scheduler_args(
        self,
        lr_scheduler_class: LRSchedulerType | tuple[LRSchedulerType, ...] = LRSchedulerTypeTuple,
        nested_key: str = "lr_scheduler",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Adds the arguments of a learning rate scheduler.

        Args:
            lr_scheduler_class: One class, or several of which (or of whose subclasses) the command line chooses.
            nested_key: Under what name.
            link_to: The argument that receives its settings; ``"AUTOMATIC"`` makes it the scheduler of the module.
        """
        self._add_class_or_choice(lr_scheduler_class, nested_key, {"optimizer"})
        self._lr_schedulers[nested_key] = (lr_scheduler_class, link_to)

    def _add_class_or_choice(self, chosen: Any, nested_key: str, skip: set[str]) -> None:
        options: dict[str, Any] = {"instantiate": False, "fail_untyped": False, "skip": skip}
        if isinstance(chosen, tuple):
            self.add_subclass_arguments(chosen, nested_key, required=False, **options)
        else:
            self.add_class_arguments(chosen, nested_key, sub_configs=True, **options)

    # What is read from elsewhere passes through these, one for each source.

    def parse_args(self, args: Any = None, *rest: Any, **kwargs: Any) -> Any:
        """Parses the words of a command line; see ``jsonargparse.ArgumentParser.parse_args``."""
        words = sys.argv[1:] if args is None else args
        return super().parse_args(
            [renamed_word(word) if isinstance(word, str) else word for word in words], *rest, **kwargs
        )

    def _apply_actions(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._apply_actions(renamed(cfg), *args, **kwargs)

    def _load_env_vars(self, env: Mapping[str, str], *args: Any, **kwargs: Any) -> Any:
        return super()._load_env_vars({name: renamed_word(value) for name, value in env.items()}, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the program with status 2, and with a message that says what is wrong, where, and what to do.

        Args:
            message: What went wrong.
            ex: The exception that said so.
        """
        if getattr(self, "_inner_parser", False) or not isinstance(message, str):
            super().error(message, ex)  # of a part, which is asked by a parser that will say it better
        try:
            text = explained(self, message)
        except Exception:  # the message itself is what must not be lost
            text = message
        if not self.exit_on_error or os.environ.get("JSONARGPARSE_DEBUG"):
            raise argparse.ArgumentError(None, text) from ex
        sys.stderr.write(f"{self.prog.replace(' [options]', '')}: error: {text}\n")
        self.exit(2)
        raise SystemExit(2)
