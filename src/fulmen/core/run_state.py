"""What a module can ask of the run that it takes part in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.utilities.exceptions import MisconfiguredRun

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def parts_of(module: Any) -> list[Any]:
    """A module and those inside of it that take part in its run as it does.

    Args:
        module: A module.
    """
    return [part for part in module.modules() if isinstance(part, RunStateMixin)]


class RunStateMixin:
    """Views of the Trainer; each has a sensible value where there is none."""

    _fabric: Any
    device: Any
    if TYPE_CHECKING:
        _trainer: Trainer | None
    else:
        _trainer = None  # of the class as well: libraries take an instance's away after a run

    @property
    def trainer(self) -> Trainer:
        """The Trainer that runs this module.

        Raises:
            RuntimeError: If none does.
        """
        if self._trainer is None:
            raise MisconfiguredRun(
                f"`{type(self).__name__}` is not attached to a Trainer.",
                fix="Use `self.trainer`, and what needs it, only in hooks and steps, which run inside `Trainer.fit`, "
                "`validate`, `test` or `predict`.",
            )
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Trainer | None) -> None:
        for part in parts_of(self):
            part._trainer = trainer

    @property
    def fabric(self) -> Any:
        """The Fabric that runs this module, or None."""
        return self._fabric

    @fabric.setter
    def fabric(self, fabric: Any) -> None:
        self._fabric = fabric

    @property
    def current_epoch(self) -> int:
        """The number of epochs that are complete."""
        return self._trainer.current_epoch if self._trainer is not None else 0

    @property
    def global_step(self) -> int:
        """The number of optimizer steps taken."""
        return self._trainer.global_step if self._trainer is not None else 0

    @property
    def global_rank(self) -> int:
        """The rank of this process among all."""
        return self._trainer.global_rank if self._trainer is not None else 0

    @property
    def local_rank(self) -> int:
        """The rank of this process on its machine."""
        return self._trainer.local_rank if self._trainer is not None else 0

    @property
    def on_gpu(self) -> bool:
        """Whether the model lies on a CUDA device."""
        return bool(self.device.type == "cuda")

    @property
    def device_mesh(self) -> Any:
        """The mesh of devices of a strategy that shards the model, else None."""
        return getattr(self._trainer.strategy, "device_mesh", None) if self._trainer is not None else None

    @property
    def logger(self) -> Any:
        """The first logger, or None."""
        loggers = self.loggers
        return loggers[0] if loggers else None

    @property
    def loggers(self) -> list[Any]:
        """All loggers."""
        return list(self._trainer.loggers) if self._trainer is not None else []
