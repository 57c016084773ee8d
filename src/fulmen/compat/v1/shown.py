"""What today's Trainer and module show too, and 1.x showed in another form: loaders as lists, loggers as one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from fulmen.compat import v1
from fulmen.compat.v1.hints import hint
from fulmen.utilities.combined_loader import CombinedLoader


class Loaders(list[Any]):
    """The only loader of a stage in a list, as in 1.x; of whatever a list has not it is the loader, as today.

    Args:
        loader: The loader.
        name: Where the Trainer has it.
    """

    def __init__(self, loader: Any, name: str) -> None:
        super().__init__([loader])
        self._name = name

    def __getitem__(self, index: Any) -> Any:
        _hint(self._name)
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        _hint(self._name)
        return super().__iter__()

    def __len__(self) -> int:
        _hint(self._name)
        return super().__len__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(list.__getitem__(self, 0), name)


def _hint(name: str) -> None:
    hint(f"`trainer.{name}[0]`", f"`trainer.{name}`, which is the loader itself where there is one")


def _is_former(trainer: Any) -> bool:
    """Whether a run shows that it is of 1.x, by arguments, hooks or parameters; Lightning's names alone do not."""
    owners = (trainer.lightning_module, trainer.datamodule, *trainer.callbacks)
    known = "FULMEN_DIALECT" in os.environ or trainer.__dict__.get("_former")
    return bool(known or any(v1.is_old(type(owner)) for owner in owners))


def _loaders(trainer: Any, data: Any, name: str) -> Any:
    given = data.original
    if given is None or isinstance(given, (list, tuple, dict, CombinedLoader)):
        return given
    return Loaders(given, name) if _is_former(trainer) else given


def _logger(loggers: list[Any]) -> Any:
    if len(loggers) > 1 and v1.version() == "1.5":
        from fulmen.compat.v1.loggers import LoggerCollection

        return LoggerCollection(loggers)
    return loggers[0] if loggers else None


class TRAINER:
    """Of the Trainer."""

    @property
    def val_dataloaders(self: Any) -> Any:
        """The validation loaders: in a run of 1.x a list, else as they were given."""
        return _loaders(self, self._validation_data, "val_dataloaders")

    @property
    def test_dataloaders(self: Any) -> Any:
        """The test loaders: in a run of 1.x a list, else as they were given."""
        return _loaders(self, self.test_loop.data, "test_dataloaders")

    @property
    def predict_dataloaders(self: Any) -> Any:
        """The prediction loaders: in a run of 1.x a list, else as they were given."""
        return _loaders(self, self.predict_loop.data, "predict_dataloaders")

    @property
    def logger(self: Any) -> Any:
        """The first logger; under 1.5 all of them as one, where there are several."""
        return _logger(self.loggers)

    @logger.setter
    def logger(self: Any, logger: Any) -> None:
        several = getattr(type(logger), "stands_for_several", False)
        self.loggers = list(logger) if several else [logger] if logger else []


class MODULE:
    """Of the module."""

    @property
    def logger(self: Any) -> Any:
        """The Trainer's logger; under 1.5 all of them as one, where there are several."""
        return _logger(self.loggers)
