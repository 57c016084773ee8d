"""The base of callbacks that write predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from fulmen.callbacks.callback import Callback
from fulmen.utilities.enums import LightningEnum
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredHook

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class WriteInterval(LightningEnum):
    """When predictions are written: after each batch, at the end of all, or both."""

    BATCH = "batch"
    EPOCH = "epoch"
    BATCH_AND_EPOCH = "batch_and_epoch"

    @property
    def on_batch(self) -> bool:
        """Whether after each batch."""
        return self is not WriteInterval.EPOCH

    @property
    def on_epoch(self) -> bool:
        """Whether at the end of all."""
        return self is not WriteInterval.BATCH


class BasePredictionWriter(Callback):
    """Hands predictions, with the samples they belong to, to a method of yours that writes them.

    Override :meth:`write_on_batch_end`, :meth:`write_on_epoch_end` or both. With ``"batch"`` and
    ``trainer.predict(..., return_predictions=False)`` no prediction is kept in memory after it was written; what is
    written at the end is kept until then.

    Which samples a batch is made of is known for a ``DataLoader`` over map-style data that makes batches, with any
    sampler or batch sampler and with workers. Of other data (iterable ones, a loader without ``batch_size``, a loader
    of your own) the indices are empty.

    On several processes each gets its own predictions, with the numbers that their batches have in the whole pass:
    write to a file with ``trainer.global_rank`` in its name, or one a batch.

    Args:
        write_interval: ``"batch"``, ``"epoch"`` or ``"batch_and_epoch"``.

    Raises:
        MisconfigurationException: If it is none of these.

    Example:
        >>> class Writer(BasePredictionWriter):
        ...     def write_on_batch_end(
        ...         self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx
        ...     ):
        ...         torch.save((batch_indices, prediction), f"{dataloader_idx}-{batch_idx}.pt")
        >>> Writer(write_interval="batch").interval.value
        'batch'
    """

    def __init__(self, write_interval: Literal["batch", "epoch", "batch_and_epoch"] = "batch") -> None:
        known = [interval.value for interval in WriteInterval]
        if write_interval not in known:
            raise MisconfigurationException(
                f"`{type(self).__name__}(write_interval=...)` says when predictions are written.",
                got=write_interval,
                fix=f"One of {', '.join(repr(name) for name in known)}.",
            )
        self.interval = WriteInterval(write_interval)

    @property
    def predictions_wanted(self) -> Sequence[str]:
        """For the loop: that it takes note of indices, and whether it keeps predictions until the end."""
        return ("batch", "epoch") if self.interval.on_epoch else ("batch",)

    def listens_to(self, event: str) -> bool:
        """Batches matter only where they are written one by one."""
        if event == "on_predict_batch_end":
            return self.interval.on_batch or _changed(self, event)
        return event != "on_predict_epoch_end" or self.interval.on_epoch or _changed(self, event)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Writes what was predicted for a batch. Override it.

        Args:
            trainer: The Trainer.
            pl_module: The model.
            prediction: What ``predict_step`` returned.
            batch_indices: Which samples of the data set the batch is made of; empty where that is not known.
            batch: The batch.
            batch_idx: Its number in its loader.
            dataloader_idx: The loader's number.

        Raises:
            NotImplementedError: Here.
        """
        raise self._missing("write_on_batch_end", "prediction, batch_indices, batch, batch_idx, dataloader_idx")

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any] | None,
    ) -> None:
        """Writes all that was predicted. Override it.

        Args:
            trainer: The Trainer.
            pl_module: The model.
            predictions: What ``predict_step`` returned for each batch; a list of such lists where there are several
                loaders.
            batch_indices: For each loader a list with the indices of each batch; empty where they are not known.

        Raises:
            NotImplementedError: Here.
        """
        raise self._missing("write_on_epoch_end", "predictions, batch_indices")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.interval.on_batch:
            indices = trainer.predict_loop.current_batch_indices
            self.write_on_batch_end(trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.interval.on_epoch:
            loop = trainer.predict_loop
            self.write_on_epoch_end(trainer, pl_module, loop.predictions, loop.epoch_batch_indices)

    def _missing(self, method: str, arguments: str) -> MisconfiguredHook:
        return MisconfiguredHook(
            f"`write_interval={self.interval.value!r}` calls `{method}`, which `{type(self).__name__}` does not have.",
            fix=f"Write `def {method}(self, trainer, pl_module, {arguments}): ...`, or choose another interval.",
        )


def _changed(callback: Callback, event: str) -> bool:
    return getattr(type(callback), event) is not getattr(BasePredictionWriter, event)
