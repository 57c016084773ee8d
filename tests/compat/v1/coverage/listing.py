"""The list of what 1.5.10 and 1.9.5 had (``tests/data/lightning-1.x.json``), entry by entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fulmen.compat.view import find

LIST = Path(__file__).parents[3] / "data" / "lightning-1.x.json"
VERSIONS = {"1.5": "1.5.10", "1.9": "1.9.5"}

# From where people import the classes of the list.
PLACES = {
    "Trainer": "trainer.trainer", "LightningModule": "core.module", "LightningDataModule": "core.datamodule",
    "ModelHooks": "core.hooks", "DataHooks": "core.hooks", "CheckpointHooks": "core.hooks",
    "Callback": "callbacks.callback", "ModelCheckpoint": "callbacks.model_checkpoint",
    "EarlyStopping": "callbacks.early_stopping", "ProgressBar": "callbacks", "LightningLoggerBase": "loggers.base",
    "TensorBoardLogger": "loggers.tensorboard", "CSVLogger": "loggers.csv_logs", "MLFlowLogger": "loggers.mlflow",
    "WandbLogger": "loggers.wandb",
}  # fmt: skip


class Entry(NamedTuple):
    """One name of the list.

    Attributes:
        version: ``"1.5"`` or ``"1.9"``.
        owner: The class, or the package of an export.
        member: The method or property; empty for an argument of the class and for an export.
        parameter: The argument of the method or of the class; the name of an export; else empty.
        parameters: The parameters of the method, with their defaults, as the list has them.
    """

    version: str
    owner: str
    member: str
    parameter: str
    parameters: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """``Class(argument)``, ``Class.member``, ``Class.member(argument)`` or ``package.Name``."""
        if self.owner in ("callbacks", "loggers", "plugins", "profiler"):
            return f"{self.owner}.{self.parameter}"
        member = f".{self.member}" if self.member else ""
        return f"{self.owner}{member}" + (f"({self.parameter})" if self.parameter else "")


def named(parameter: str) -> str:
    """The name of a parameter; empty for `*args` and `**kwargs`."""
    return "" if parameter.startswith("*") else parameter.partition("=")[0]


@cache
def facts(version: str) -> dict[str, Any]:
    """The classes of a version, each a dict of its members."""
    found: dict[str, Any] = json.loads(LIST.read_text(encoding="utf-8"))[VERSIONS[version]]
    return found


def entries(version: str) -> Iterator[Entry]:
    """All entries of a version."""
    for owner, members in facts(version).items():
        if owner == "exports":
            for package, names in members.items():
                yield from (Entry(version, package, "", name) for name in names)
            continue
        if not members:
            yield Entry(version, owner, "", "")
        for member, parameters in members.items():
            if member != "__init__":
                yield Entry(version, owner, member, "", tuple(parameters))
            for parameter in parameters:
                if named(parameter):
                    shown = "" if member == "__init__" else member
                    yield Entry(version, owner, shown, named(parameter), tuple(parameters))


def found(package: str, name: str) -> Any:
    """What an import of 1.x gives under the alias.

    Args:
        package: The module below ``pytorch_lightning``.
        name: The name in it.
    """
    return find(package, name)


def kind(owner: str) -> Any:
    """The class of ours that stands for one of the list."""
    try:
        return found(PLACES[owner], owner)
    except (AttributeError, ModuleNotFoundError):
        return found(PLACES[owner].partition(".")[0], owner)
