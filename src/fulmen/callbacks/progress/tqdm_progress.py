"""Shows progress with tqdm."""

from __future__ import annotations

import os
import sys
from typing import Any

from fulmen.callbacks.progress.clocked_bar import ClockedBar
from fulmen.callbacks.progress.progress_bar import not_yet
from fulmen.callbacks.progress.refresh import redraws
from fulmen.callbacks.progress.tqdm_bar import Nowhere, current_class, restart
from fulmen.callbacks.progress.tqdm_bar import convert_inf as convert_inf
from fulmen.callbacks.progress.tqdm_layout import BAR_FORMAT
from fulmen.utilities.exceptions import MisconfigurationException


def __getattr__(name: str) -> Any:
    if name == "Tqdm":  # a subclass of tqdm's, which is imported when it is needed
        return current_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _bar(name: str, hook: str, text: str) -> property:
    def get(self: TQDMProgressBar) -> Any:
        if name not in self._bars:
            raise TypeError(not_yet(f"`{type(self).__name__}.{name}`", f"Use it after `super().{hook}(...)`."))
        return self._bars[name]

    def replace(self: TQDMProgressBar, bar: Any) -> None:
        self._bars[name] = bar

    return property(get, replace, doc=text)


# The sanity check is a validation of which nobody keeps the bar.
_NAMES = {
    "sanity_check": "val_progress_bar",
    "train": "train_progress_bar",
    "validation": "val_progress_bar",
    "test": "test_progress_bar",
    "predict": "predict_progress_bar",
}


class TQDMProgressBar(ClockedBar):
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

    train_progress_bar = _bar("train_progress_bar", "on_train_start", "The bar of training.")
    val_progress_bar = _bar("val_progress_bar", "on_validation_start", "The bar of validation and of the sanity check.")
    test_progress_bar = _bar("test_progress_bar", "on_test_start", "The bar of testing.")
    predict_progress_bar = _bar("predict_progress_bar", "on_predict_start", "The bar of prediction.")

    BAR_FORMAT = BAR_FORMAT

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        for name, value in (("refresh_rate", refresh_rate), ("process_position", process_position)):
            if value < 0:
                raise MisconfigurationException(f"`{name}` must be 0 or more.", got=value, fix=f"Pass `{name}=0`.")
        if refresh_rate:
            refresh_rate = self._every = max(refresh_rate, int(os.environ.get("TQDM_MINITERS", 0)))
        super().__init__(refresh_rate, leave)
        self._process_position = process_position

    def _begin_run(self) -> None:
        super()._begin_run()
        self._bars: dict[str, Any] = {}
        self._hidden: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_trainer": None, "_bars": {}, "_hidden": {}}

    @property
    def process_position(self) -> int:
        """How many bars' room there is above."""
        return self._process_position

    def init_sanity_tqdm(self) -> Any:
        """Makes the bar of the sanity check."""
        return self._make(self.sanity_check_description, leave=False)

    def init_train_tqdm(self) -> Any:
        """Makes the bar of training."""
        return self._make(self.train_description, leave=True)

    def init_validation_tqdm(self) -> Any:
        """Makes the bar of validation, below that of training if there is one."""
        return self._make(self.validation_description, leave=not self._training, below=int(self._training))

    def init_test_tqdm(self) -> Any:
        """Makes the bar of testing."""
        return self._make(self.test_description, leave=True)

    def init_predict_tqdm(self) -> Any:
        """Makes the bar of prediction."""
        return self._make(self.predict_description, leave=True)

    def _make(self, description: str, leave: bool, below: int = 0) -> Any:
        return current_class()(
            desc=description,
            position=2 * self._process_position + below,
            disable=self.is_disabled,
            leave=leave,
            dynamic_ncols=not self._lines,
            file=Nowhere() if self._lines else sys.stdout,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
            # So little that all it does is to keep the constructor from drawing without asking the clock.
            delay=1e-9,
        )

    def print(self, *args: Any, sep: str = " ", **kwargs: Any) -> None:
        """Prints above the bar.

        Args:
            *args: As for ``print``.
            sep: As for ``print``.
            **kwargs: As for ``print``.
        """
        bar = next((bar for bar in self._bars.values() if not bar.disable), None)
        if bar is None or self._lines:
            super().print(*args, sep=sep, **kwargs)
        else:
            kwargs.pop("flush", None)
            bar.write(sep.join(map(str, args)), **kwargs)

    def _redraws(self) -> bool:
        return redraws(sys.stdout)

    def _open(self, kind: str) -> None:
        make = {
            "sanity_check": self.init_sanity_tqdm,
            "train": self.init_train_tqdm,
            "validation": self.init_validation_tqdm,
            "test": self.init_test_tqdm,
            "predict": self.init_predict_tqdm,
        }
        bar = self._hidden.pop(kind, None)
        if bar is None:
            bar = make[kind]()
        else:
            restart(bar, None, self._description(kind))
            bar.container.layout.display = None
        self._bars[_NAMES[kind]] = bar

    def _restart(self, kind: str, total: int | float, description: str) -> None:
        restart(self._bars[_NAMES[kind]], convert_inf(total), description)

    def _set(self, kind: str, n: int, metrics: dict[str, Any] | None) -> Any:
        bar = self._bars[_NAMES[kind]]
        bar.n = n
        if metrics is not None:
            bar.set_postfix(metrics, refresh=False)
        return bar

    def _should_update(self, current: int, total: int | float) -> bool:
        """Whether a bar is drawn with so many batches done, if the clock allows it; a subclass may draw less often."""
        return self.is_enabled

    def _show(self, kind: str, n: int, keep: int) -> bool:
        bar = self._bars.get(_NAMES[kind])
        total = float("inf") if bar is None or bar.total is None else bar.total
        return self._should_update(n, total) and super()._show(kind, n, keep)

    def _draw(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        self._set(kind, n, metrics).refresh()

    def _write(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        sys.stdout.write(f"{self._set(kind, n, metrics)}\n")
        sys.stdout.flush()

    def _close(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        bar = self._set(kind, n, metrics)
        if hasattr(bar, "container") and not bar.leave:
            # In a notebook a widget that is closed leaves an empty line, and each validation would leave one.
            bar.container.layout.display = "none"
            self._hidden[kind] = bar
        else:
            bar.close()

    def _abandon(self) -> None:
        # From below upwards, so that what is printed next starts on a line of its own.
        for name in sorted(self._bars, key=lambda name: name == _NAMES["train"]):
            self._bars[name].close()
