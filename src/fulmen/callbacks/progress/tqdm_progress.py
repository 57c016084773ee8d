"""Shows progress with tqdm."""

from __future__ import annotations

import os
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.progress.progress_bar import ProgressBar, not_yet
from fulmen.callbacks.progress.refresh import END, TURN, WITHIN, RefreshClock, line_clock, redraws
from fulmen.callbacks.progress.tqdm_bar import Nowhere, current_class, restart
from fulmen.callbacks.progress.tqdm_bar import convert_inf as convert_inf
from fulmen.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

_BARS = ("_train_progress_bar", "_val_progress_bar", "_test_progress_bar", "_predict_progress_bar")
_INFINITE = float("inf")


def __getattr__(name: str) -> Any:
    if name == "Tqdm":  # a subclass of tqdm's, which is imported when it is needed
        return current_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class TQDMProgressBar(ProgressBar):
    """Shows a bar for training and a second one for validation within, with all that is logged with ``prog_bar=True``.

    It is drawn by the wall clock: at most ten times a second, and always when an epoch's last batch is done, unless
    epochs fly by faster than that. In notebooks it is a widget. Where a line cannot be overwritten (a file, a pipe,
    the log of a build) there is a plain line at the end of each epoch, at most one a second in the long run, and
    one every 30 seconds in epochs that take longer.

    Args:
        refresh_rate: Draw after every so many batches, if the clock allows it. 0 shows no bar. The variable
            ``TQDM_MINITERS``, where it is set and larger, takes its place.
        process_position: How many bars' room to leave above, for several runs in one terminal.
        leave: Whether to leave the bar of each epoch on the screen, instead of one that starts again.

    Raises:
        MisconfigurationException: If a number is negative.
        ModuleNotFoundError: When the first bar is made, if `tqdm` is not installed.

    Example:
        To change a bar, override what makes it:

        >>> class MyBar(TQDMProgressBar):
        ...     def init_validation_tqdm(self):
        ...         bar = super().init_validation_tqdm()
        ...         bar.set_description("Checking")
        ...         return bar
    """

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        super().__init__()
        for name, value in (("refresh_rate", refresh_rate), ("process_position", process_position)):
            if value < 0:
                raise MisconfigurationException(f"`{name}` must be 0 or more.", got=value, fix=f"Pass `{name}=0`.")
        at_least = int(os.environ.get("TQDM_MINITERS", 0))
        self._refresh_rate = max(refresh_rate, at_least) if refresh_rate else 0
        self._process_position = process_position
        self._leave = leave
        self._forget()

    def _forget(self) -> None:
        self._train_progress_bar: Any = None
        self._val_progress_bar: Any = None
        self._test_progress_bar: Any = None
        self._predict_progress_bar: Any = None
        self._clock = RefreshClock()
        self._lines = False
        self._seen = 0
        self._shown = -1
        # The batches whose end is shown whatever the clock says.
        self._last_train_batch: float = _INFINITE
        self._last_eval_batch: float = _INFINITE

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(_BARS)}

    @property
    def refresh_rate(self) -> int:
        """After how many batches the bar may be drawn; 0 for never."""
        return self._refresh_rate

    @property
    def process_position(self) -> int:
        """How many bars' room there is above."""
        return self._process_position

    @property
    def is_enabled(self) -> bool:
        """Whether there is a bar to see."""
        return self._enabled and self._refresh_rate > 0

    @property
    def is_disabled(self) -> bool:
        """Whether there is none."""
        return not self.is_enabled

    @property
    def train_progress_bar(self) -> Any:
        """The bar of training."""
        return self._existing("_train_progress_bar", "on_train_start")

    @train_progress_bar.setter
    def train_progress_bar(self, bar: Any) -> None:
        self._train_progress_bar = bar

    @property
    def val_progress_bar(self) -> Any:
        """The bar of validation and of the sanity check."""
        return self._existing("_val_progress_bar", "on_validation_start")

    @val_progress_bar.setter
    def val_progress_bar(self, bar: Any) -> None:
        self._val_progress_bar = bar

    @property
    def test_progress_bar(self) -> Any:
        """The bar of testing."""
        return self._existing("_test_progress_bar", "on_test_start")

    @test_progress_bar.setter
    def test_progress_bar(self, bar: Any) -> None:
        self._test_progress_bar = bar

    @property
    def predict_progress_bar(self) -> Any:
        """The bar of prediction."""
        return self._existing("_predict_progress_bar", "on_predict_start")

    @predict_progress_bar.setter
    def predict_progress_bar(self, bar: Any) -> None:
        self._predict_progress_bar = bar

    def _existing(self, name: str, hook: str) -> Any:
        bar = getattr(self, name)
        if bar is None:
            raise TypeError(not_yet(f"`{type(self).__name__}.{name[1:]}`", f"Use it after `super().{hook}(...)`."))
        return bar

    def listens_to(self, event: str) -> bool:
        """A bar that shows nothing hears nothing, but for what a subclass overrides."""
        return self.is_enabled or getattr(type(self), event) is not getattr(TQDMProgressBar, event)

    def init_sanity_tqdm(self) -> Any:
        """Makes the bar of the sanity check."""
        return self._make(self.sanity_check_description, leave=False)

    def init_train_tqdm(self) -> Any:
        """Makes the bar of training."""
        return self._make(self.train_description, leave=True)

    def init_predict_tqdm(self) -> Any:
        """Makes the bar of prediction."""
        return self._make(self.predict_description, leave=True)

    def init_validation_tqdm(self) -> Any:
        """Makes the bar of validation, below that of training if there is one."""
        within = self.trainer.state.fn != "validate"
        return self._make(self.validation_description, leave=not within, below=int(within))

    def init_test_tqdm(self) -> Any:
        """Makes the bar of testing."""
        return self._make(self.test_description, leave=True)

    def _make(self, description: str, leave: bool, below: int = 0) -> Any:
        return current_class()(
            desc=description,
            position=2 * self._process_position + below,
            disable=self.is_disabled,
            leave=leave,
            dynamic_ncols=True,
            file=Nowhere() if self._lines else sys.stdout,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
            # So little that it only keeps the constructor from drawing, which does not ask the clock.
            delay=1e-9,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._forget()
        self._lines = not redraws(sys.stdout)
        self._clock = line_clock() if self._lines else RefreshClock()

    def on_sanity_check_start(self, *_: Any) -> None:
        self._val_progress_bar = self.init_sanity_tqdm()
        self._show(self._val_progress_bar, 0, TURN)

    def on_sanity_check_end(self, *_: Any) -> None:
        self._val_progress_bar.close()
        self.reset_dataloader_idx_tracker()

    def on_train_start(self, *_: Any) -> None:
        self._train_progress_bar = self.init_train_tqdm()
        self._shown = -1
        self._show(self._train_progress_bar, 0, TURN)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        if self._leave and self._shown >= 0:
            self._train_progress_bar.close()
            self._train_progress_bar = self.init_train_tqdm()
        total = convert_inf(self.total_train_batches)
        self._seen = 0
        self._last_train_batch = _last(total) if self.is_enabled else _INFINITE
        restart(self._train_progress_bar, total, f"Epoch {trainer.current_epoch}")
        self._show(self._train_progress_bar, 0, TURN)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Every batch pays for this: a clock is read, and two numbers are compared.
        self._seen = batch_idx + 1
        if batch_idx >= self._last_train_batch:
            self._show_train(TURN if self._lines else END)
        elif monotonic() >= self._clock.due and not (batch_idx + 1) % self._refresh_rate:
            self._show_train(WITHIN)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show_train(END if self._lines else TURN, at_turn=True)

    def on_train_end(self, *_: Any) -> None:
        self._end_training()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if self._train_progress_bar is not None and self._shown != self._seen:
            self._show_train(TURN)
        self._val_progress_bar = self.init_validation_tqdm()
        self._show(self._val_progress_bar, 0, TURN)
