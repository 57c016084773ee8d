"""What Lightning 1.x's ``ProgressBar`` has beyond today's: up to 1.5 it was the bar that is drawn with tqdm."""

from __future__ import annotations

import importlib
from typing import Any

from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.speech import before
from fulmen.compat.v1.views import view

_TODAY = "`TQDMProgressBar`, from the same place."
_METHODS = frozenset({
    "init_sanity_tqdm", "init_train_tqdm", "init_predict_tqdm", "init_validation_tqdm", "init_test_tqdm",
    "main_progress_bar", "val_progress_bar", "test_progress_bar",
})  # fmt: skip


def _base() -> type[Any]:
    kind: type[Any] = importlib.import_module("fulmen.callbacks.progress.progress_bar").ProgressBar
    return kind


def _drawn() -> type[Any]:
    kind: type[Any] = importlib.import_module("fulmen.callbacks.progress.tqdm_progress").TQDMProgressBar
    return kind


def _prefer_drawn(cls: type[Any], /, **kwargs: Any) -> None:
    """Lets a class that replaces parts of the drawn bar be derived from that."""
    ours = _base()
    super(ours, cls).__init_subclass__(**kwargs)
    if ours in cls.__bases__ and not cls.__module__.startswith("fulmen.") and not _METHODS.isdisjoint(vars(cls)):
        hint(f"`class {cls.__name__}(ProgressBar)` with parts of the bar of tqdm", _TODAY)
        cls.__bases__ = tuple(_drawn() if base is ours else base for base in cls.__bases__)


def _done(loop: Any) -> int:
    return int(loop.batch_progress.current.processed)


class WORDS:
    """Names that today's class does not have."""

    __init_subclass__ = classmethod(_prefer_drawn)

    @view
    def train_batch_idx(self: Any) -> int:
        """How many training batches of the epoch are done."""
        return _done(self.trainer.fit_loop.epoch_loop)

    @view
    def val_batch_idx(self: Any) -> int:
        """How many batches of the validation loader are done."""
        alone = self.trainer.state.fn == "validate"
        return _done(self.trainer.validate_loop if alone else self.trainer.fit_loop.validation)

    @view
    def test_batch_idx(self: Any) -> int:
        """How many batches of the test loader are done."""
        return _done(self.trainer.test_loop)

    @view
    def predict_batch_idx(self: Any) -> int:
        """How many batches of the prediction loader are done."""
        return _done(self.trainer.predict_loop)


class SIGNATURES:
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        """Makes the bar of 1.x where it is asked for with the arguments of then."""
        if type(self) is not _base() or not (args or kwargs):
            before("ProgressBar", "__init__")(self, *args, **kwargs)
            return
        hint("`ProgressBar(refresh_rate=...)`", _TODAY)
        self.__class__ = _drawn()
        self.__init__(*args, **kwargs)
