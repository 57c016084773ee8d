"""The way of a progress bar through a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.progress.progress_bar import ProgressBar
from fulmen.callbacks.progress.refresh import END, TURN, WITHIN, RefreshClock, line_clock

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

_INFINITE = float("inf")
_HERE = "fulmen.callbacks.progress."


class ClockedBar(ProgressBar, ABC):
    """Counts batches, asks the clock when to draw, and leaves the drawing to subclasses.

    A subclass draws bars of five kinds: ``"sanity_check"``, ``"train"``, ``"validation"``, ``"test"``, ``"predict"``.
    In the first, the third and their loaders a bar starts again for each data loader, in the second for each epoch.

    Args:
        refresh_rate: 0 shows no bar; what else it means is the subclass's to say.
        leave: Whether to leave the bar of each epoch on the screen.
    """

    # Draw after every so many batches.
    _every = 1

    def __init__(self, refresh_rate: int, leave: bool) -> None:
        super().__init__()
        self._refresh_rate = refresh_rate
        self._leave = leave
        self._begin_run()

    def _begin_run(self) -> None:
        self._clock = RefreshClock()
        self._lines = False
        # Of training and of evaluation: the batches done, and the one whose end is shown whatever the clock says.
        self._seen = 0
        self._last = _INFINITE
        self._eval_seen = 0
        self._eval_last = _INFINITE
        # Whether training goes on around an evaluation, which kind that is, and how much its end matters.
        self._training = False
        self._eval = "validation"
        self._eval_end = END
        # How many batches of training are on the screen, -1 for none.
        self._shown = -1

    @property
    def refresh_rate(self) -> int:
        """The rate of drawings that was asked for; 0 for none."""
        return self._refresh_rate

    @property
    def is_enabled(self) -> bool:
        """Whether there is a bar to see."""
        return self._enabled and self._refresh_rate > 0

    @property
    def is_disabled(self) -> bool:
        """Whether there is none."""
        return not self.is_enabled

    def listens_to(self, event: str) -> bool:
        """A bar that shows nothing hears nothing, but for what a subclass of the user's overrides."""
        return self.is_enabled or not getattr(type(self), event).__module__.startswith(_HERE)

    @abstractmethod
    def _redraws(self) -> bool:
        """Whether what was drawn can be overwritten."""

    def _make_clock(self) -> RefreshClock:
        return RefreshClock()

    @abstractmethod
    def _open(self, kind: str) -> None:
        """Makes a bar, and does not draw it."""

    @abstractmethod
    def _restart(self, kind: str, total: int | float, description: str) -> None:
        """Sets a bar back to its beginning, and does not draw it."""

    @abstractmethod
    def _draw(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        """Draws a bar with `n` batches done and, if given, values beside it."""

    @abstractmethod
    def _write(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        """Writes what :meth:`_draw` draws as a line."""

    @abstractmethod
    def _close(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        """Ends a bar, and leaves it on the screen unless it is one within another."""

    @abstractmethod
    def _abandon(self) -> None:
        """Ends all bars in the midst of a run."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._begin_run()
        self._lines = not self._redraws()
        self._clock = line_clock() if self._lines else self._make_clock()
        if self.is_disabled:
            self._clock.due = _INFINITE

    def on_sanity_check_start(self, *_: Any) -> None:
        self._begin_eval("sanity_check", within=True)

    def on_sanity_check_end(self, *_: Any) -> None:
        self._end_eval()

    def on_train_start(self, *_: Any) -> None:
        self._training = True
        self._open("train")
        self._show("train", 0, TURN)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        if self._leave and self._seen:
            self._close_train()
            self._open("train")
        total = self.total_train_batches
        self._seen, self._shown, self._last = 0, -1, self._last_of(total)
        self._restart("train", total, self._describe_epoch(trainer))
        self._show_train(TURN)

    def _describe_epoch(self, trainer: Trainer) -> str:
        return f"Epoch {trainer.current_epoch}"

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # All that most batches pay: a number is kept, two are compared, the clock is read.
        self._seen = batch_idx + 1
        if batch_idx >= self._last:
            # Of lines there is one an epoch, with the values of its end.
            self._show_train(TURN if self._lines else END)
        elif monotonic() >= self._clock.due and not (batch_idx + 1) % self._every:
            self._show_train(WITHIN)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show_train(END if self._lines else TURN)

    def on_train_end(self, *_: Any) -> None:
        self._close_train()
        self._training = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if self._training and self._shown != self._seen:
            self._show_train(TURN)
        self._begin_eval("validation", within=self._training)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_eval("test")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_eval("predict")

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if dataloader_idx != self._current_eval_dataloader_idx:
            self._next_loader(dataloader_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._eval_seen = batch_idx + 1
        if batch_idx >= self._eval_last:
            self._show(self._eval, self._eval_seen, self._eval_end)
        elif monotonic() >= self._clock.due and not (batch_idx + 1) % self._every:
            self._show(self._eval, self._eval_seen, WITHIN)

    # One text for three: they draw the bar of the evaluation that runs.
    on_test_batch_start = on_predict_batch_start = on_validation_batch_start
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._end_eval()
        if self._training:
            self._show_train(TURN)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_eval()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_eval()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._abandon()
        self._training = False

    def _begin_eval(self, kind: str, within: bool = False) -> None:
        self._eval = kind
        self._eval_end = TURN if self._lines and within else END
        self._eval_seen, self._eval_last = 0, _INFINITE
        self._open(kind)
        self._show(kind, 0, TURN)

    def _next_loader(self, dataloader_idx: int) -> None:
        self.has_dataloader_changed(dataloader_idx)
        name = "val" if self._eval in ("validation", "sanity_check") else self._eval
        total = getattr(self, f"total_{name}_batches_current_dataloader")
        self._eval_seen, self._eval_last = 0, self._last_of(total)
        self._restart(self._eval, total, self._describe_loader(self._description(self._eval), dataloader_idx))
        self._show(self._eval, 0, TURN)

    def _describe_loader(self, description: str, dataloader_idx: int) -> str:
        return f"{description} DataLoader {dataloader_idx}"

    def _description(self, kind: str) -> str:
        return str(getattr(self, f"{kind}_description"))

    def _end_eval(self) -> None:
        if self._eval_last == _INFINITE:  # of unknown length: only now was that the last batch
            self._show(self._eval, self._eval_seen, self._eval_end)
        self._close(self._eval, self._eval_seen, None)
        self.reset_dataloader_idx_tracker()

    def _close_train(self) -> None:
        metrics = self._metrics() if self.is_enabled else None
        if self._lines and self.is_enabled and self._shown != self._seen:
            self._write("train", self._seen, metrics)
        self._close("train", self._seen, metrics)

    def _last_of(self, total: int | float) -> float:
        return total - 1 if self.is_enabled else _INFINITE

    def _show_train(self, keep: int) -> None:
        if self._show("train", self._seen, keep):
            self._shown = self._seen

    def _show(self, kind: str, n: int, keep: int) -> bool:
        """Draws a bar, if the clock allows it.

        Args:
            kind: The bar.
            n: The batches done.
            keep: How many drawings must be left for more important ones.

        Returns:
            Whether it was drawn.
        """
        if self.is_disabled or (self._lines and keep == TURN) or not self._clock.allows(keep):
            return False
        show = self._write if self._lines else self._draw
        show(kind, n, self._metrics() if kind == "train" else None)
        return True

    def _metrics(self) -> dict[str, Any]:
        return self.get_metrics(self.trainer, self.trainer.lightning_module)
