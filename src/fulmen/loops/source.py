"""Where a stage's loaders come from: handed to the Trainer, or made by a hook of the data module or the module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.core.hooks import DataHooks
from fulmen.core.module import overridden
from fulmen.loops.watch import watch_hook

if TYPE_CHECKING:
    from fulmen.core.datamodule import LightningDataModule
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class LoaderSource:
    """Knows how to get the loaders of one stage.

    Args:
        hook: ``"train_dataloader"`` or one of its sisters.
    """

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.given: Any = None
        self.owner: LightningModule | LightningDataModule | None = None

    def attach(self, given: Any, module: LightningModule, datamodule: LightningDataModule | None) -> None:
        """Decides where the loaders come from: what was given, else the data module, else the module."""
        self.given = given
        self.owner = None
        if given is None:
            owners = [owner for owner in (datamodule, module) if owner is not None]
            self.owner = next((owner for owner in owners if overridden(owner, self.hook, DataHooks)), None)

    @property
    def defined(self) -> bool:
        """Whether there is anything to get loaders from."""
        return self.given is not None or self.owner is not None

    @property
    def name(self) -> str:
        """What users call this source, for error texts."""
        return f"{type(self.owner).__name__}.{self.hook}()" if self.owner is not None else f"{self.hook}s"

    def request(self, trainer: Trainer) -> Any:
        """The loaders, made anew where a hook makes them, under the eyes of the Trainer's profiler."""
        return watch_hook(trainer, self.owner, self.hook)() if self.owner is not None else self.given
