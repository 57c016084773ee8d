"""How often a bar is drawn, and what a batch pays for it; by the example of the one that most people see."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks.progress.tqdm_progress import TQDMProgressBar

from .runs import Hooks, Time
from .terminal import terminal


def _drawings_counted(bar: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    drawings: list[tuple[Any, ...]] = []
    draw = bar._draw

    def count(*args: Any) -> None:
        drawings.append(args)
        draw(*args)

    monkeypatch.setattr(bar, "_draw", count)
    return drawings


def test_hundred_thousand_batches_are_drawn_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = TQDMProgressBar(refresh_rate=1)
    drawings = _drawings_counted(bar, monkeypatch)
    hooks = Hooks(bar, batches=100_000)
    with terminal(monkeypatch) as found:
        before = monotonic()
        hooks.start()
        hooks.epoch(100_000)
        hooks.end()
        seconds = monotonic() - before
    assert len(drawings) <= math.ceil(10 * seconds) + 4
    assert "100000/100000" in found.screen[-1]


@given(st.integers(1, 200), st.integers(1, 50), st.floats(0, 0.3))
def test_the_last_batch_is_shown(batches: int, rate: int, seconds: float) -> None:
    """However slow the batches are, and however seldom the bar may be drawn: an epoch ends at 100 %."""
    with pytest.MonkeyPatch.context() as patch:
        time = Time()
        for module in ("clocked_bar", "refresh"):
            patch.setattr(f"fulmen.callbacks.progress.{module}.monotonic", time)
        bar = TQDMProgressBar(refresh_rate=rate)
        drawings = _drawings_counted(bar, patch)
        hooks = Hooks(bar, batches=batches)
        with terminal(patch):
            hooks.start()
            hooks.bar.on_train_epoch_start(hooks.trainer, None)
            for index in range(batches):
                time.now += seconds
                bar.on_train_batch_end(hooks.trainer, None, None, None, index)  # type: ignore[arg-type]
    shown = [n for _, n, _ in drawings if n]
    assert shown[-1] == batches
    assert all(n % rate == 0 for n in shown[:-1])
    assert len(drawings) <= 10 * batches * seconds + 4


def test_a_batch_that_is_not_drawn_costs_two_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = TQDMProgressBar()
    hooks = Hooks(bar, batches=10_000, num_val_batches=[10_000])
    calls = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def counted(hook: Callable[..., None], *rest: int) -> int:
        nonlocal calls
        calls = 0
        sys.setprofile(profile)
        try:
            for index in range(1000):
                hook(hooks.trainer, None, None, None, index, *rest)
        finally:
            sys.setprofile(None)
        return calls

    with terminal(monkeypatch):
        hooks.start()
        bar.on_train_epoch_start(hooks.trainer)
        bar._clock.due = math.inf
        # The one call beyond is that which takes the profiler away.
        assert counted(bar.on_train_batch_end) <= 2 * 1000 + 1
        bar.on_validation_start(hooks.trainer, None)  # type: ignore[arg-type]
        bar.on_validation_batch_start(hooks.trainer, None, None, 0, 0)  # type: ignore[arg-type]
        bar._clock.due = math.inf
        assert counted(bar.on_validation_batch_end, 0) <= 2 * 1000 + 1
        hooks.end()


def test_values_are_read_when_they_are_shown(clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(TQDMProgressBar):
        reads = 0

        def get_metrics(self, *args: Any) -> dict[str, Any]:
            self.reads += 1
            return super().get_metrics(*args)

    bar = Counting()
    with terminal(monkeypatch):
        hooks = Hooks(bar, batches=1000)
        hooks.start()
        hooks.epoch(1000)
    drawings = 4  # the bar, the epoch's begin, its last batch, its end
    assert bar.reads <= drawings


def test_thousands_of_short_epochs_with_validation_are_drawn_ten_times_a_second(
    clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = TQDMProgressBar()
    drawings = _drawings_counted(bar, monkeypatch)
    with terminal(monkeypatch) as found:
        hooks = Hooks(bar, batches=2)
        hooks.start()
        for _ in range(1000):
            clock.now += 0.01
            hooks.epoch(2)
            hooks.validate(3)
        hooks.end()
    assert len(drawings) <= 10 * 10 + 20
    assert [line[:15] for line in found.screen] == ["Epoch 999: 100%"]
