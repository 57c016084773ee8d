"""Counts what loggers may have as their x axis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.tree import batch_size_of

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class XAxisCounter(Callback):
    """Counts samples and seconds of training, where a logger shows its values over them.

    A Trainer adds it by itself for loggers with ``x_axis="samples"`` or ``x_axis="time"``. A run that goes on from a
    checkpoint goes on counting.

    Attributes:
        samples: How many samples training has seen.

    Example:
        ``trainer = Trainer(logger=CSVLogger("logs", x_axis="samples"))``
    """

    def __init__(self) -> None:
        self.samples = 0
        self._earlier = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """How long training has lasted, to the millisecond."""
        now = 0.0 if self._since is None else time.monotonic() - self._since
        return round(self._earlier + now, 3)

    def at(self, axis: str) -> float:
        """The place on an axis, ``"samples"`` or ``"time"``."""
        return self.samples if axis == "samples" else self.seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch's samples."""
        if trainer.fit_loop.is_without_batch:
            return
        size = batch_size_of(batch)
        if size is None:
            raise MisconfiguredRun(
                "A logger has the number of samples as its x axis, and there is no tensor in the batch to read it off.",
                got=f"a batch of type {type(batch).__name__}",
                fix='`x_axis="step"`, or let the batch hold a tensor with one row a sample.',
            )
        self.samples += size

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stops the clock."""
        self._stop()

    def _stop(self) -> None:
        self._earlier, self._since = self.seconds, None

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"samples": self.samples, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self.samples, self._earlier = state_dict["samples"], state_dict["seconds"]
