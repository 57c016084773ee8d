from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from fulmen.callbacks import Timer
from fulmen.callbacks import timer as timer_module
from fulmen.callbacks.timer import Interval
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.states import RunningStage

from .simulated_run import SimulatedRun


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

        def spend(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(timer_module, "time", clock)
    return clock


def run(timer: Timer, clock: Any, epochs: int = 3, **settings: Any) -> SimulatedRun:
    """Training in which a batch takes 1 second and a validation 10."""
    simulated = SimulatedRun(timer, train=lambda: clock.spend(1), validate=lambda: clock.spend(10), **settings)
    return simulated.fit(epochs=epochs, setup=False)


@pytest.mark.parametrize("duration", ["00:00:00:30", timedelta(seconds=30), {"seconds": 30}])
@pytest.mark.parametrize(
    ("interval", "seconds", "epochs"),
    [("step", 42, 3), ("epoch", 42, 3), (Interval.epoch, 42, 3)],
)
def test_training_stops_once_the_time_is_up(
    clock: Any, duration: Any, interval: str, seconds: int, epochs: int
) -> None:
    timer = Timer(duration, interval=interval)
    simulated = run(timer, clock, epochs=10)
    # Two epochs take 28 s; the third passes 30 s in its second batch and is ended by the loop, not by the timer.
    assert simulated.should_stop and simulated.current_epoch == epochs
    assert timer.time_elapsed() == seconds
    assert timer.time_remaining() == 30 - seconds
    assert timer.start_time() == 100 and timer.end_time() == 100 + seconds


def test_step_interval_sees_it_after_the_batch(clock: Any) -> None:
    seen: list[tuple[int, bool]] = []
    timer = Timer({"seconds": 2})
    simulated = SimulatedRun(timer, train=lambda: clock.spend(1))
    simulated.validate = lambda: seen.append((simulated.global_step, simulated.should_stop))
    simulated.fit(epochs=1, batches=4, validate_every=1)
    assert seen == [(1, False), (2, True), (3, True), (4, True)]


def test_it_is_said_once(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fulmen"):
        run(Timer({"seconds": 2}), clock)
        run(Timer({"seconds": 2}, verbose=False), clock)
    assert caplog.messages == ["Time limit reached. Elapsed time is 0:00:02. Signaling Trainer to stop."]


def test_stages_are_measured_apart(clock: Any) -> None:
    timer = Timer()
    assert timer.time_elapsed() == 0 and timer.time_remaining() is None and timer.start_time() is None
    simulated = run(timer, clock, epochs=2)
    assert not simulated.should_stop
    assert timer.time_elapsed("train") == 28 and timer.time_elapsed("validate") == 10
    assert timer.time_elapsed(RunningStage.TESTING) == 0
    timer.on_test_start(simulated, simulated.module)  # type: ignore[arg-type]
    clock.spend(5)
    assert timer.time_elapsed("test") == 5 and timer.end_time("test") is None
    timer.on_test_end(simulated, simulated.module)  # type: ignore[arg-type]
    clock.spend(5)
    assert timer.time_elapsed("test") == 5
    assert timer.state_dict() == {
        "time_elapsed": {"train": 28, "sanity_check": 0, "validate": 10, "test": 5, "predict": 0}
    }


def test_a_second_validation_is_not_measured_from_the_first(clock: Any) -> None:
    timer = Timer()
    simulated = run(timer, clock, epochs=1)
    timer.on_validation_start(simulated, simulated.module)  # type: ignore[arg-type]
    clock.spend(3)
    assert timer.time_elapsed("validate") == 3


def test_a_resumed_run_counts_what_was_spent_before(clock: Any) -> None:
    first = Timer({"seconds": 30})
    run(first, clock, epochs=1)
    again = Timer({"seconds": 30})
    again.load_state_dict(first.state_dict())
    assert again.time_elapsed() == 14 and again.time_remaining() == 16
    simulated = run(again, clock, epochs=10)
    assert simulated.current_epoch == 2 and again.time_elapsed() == 42

    over = Timer({"seconds": 10})
    over.load_state_dict(again.state_dict())
    stopped = run(over, clock, epochs=10)
    assert stopped.should_stop and stopped.current_epoch == 0


def test_processes_agree(clock: Any) -> None:
    timer = Timer({"seconds": 1000})
    simulated = SimulatedRun(timer, world_size=2)
    simulated.strategy.broadcast = lambda obj, src=0: True  # type: ignore[method-assign]
    simulated.fit(epochs=3, setup=False)
    assert simulated.should_stop


def test_it_hears_only_what_it_looks_at() -> None:
    hot, cold = "on_train_batch_end", "on_train_epoch_end"
    assert [Timer("00:00:00:01").listens_to(event) for event in (hot, cold, "on_fit_start")] == [True, False, True]
    assert [Timer("00:00:00:01", "epoch").listens_to(event) for event in (hot, cold)] == [False, True]
    assert [Timer().listens_to(event) for event in (hot, cold, "on_train_start")] == [False, False, True]


@pytest.mark.parametrize("duration", ["soon", 5, "00:00:05", timedelta(seconds=-1)])
def test_bad_duration(duration: Any) -> None:
    with pytest.raises(MisconfigurationException, match="DD:HH:MM:SS"):
        Timer(duration)


def test_bad_interval_and_stage() -> None:
    with pytest.raises(MisconfigurationException, match='interval="epoch"'):
        Timer(interval="batch")
    with pytest.raises(ValueError, match="train, sanity_check, validate, test, predict"):
        Timer().time_elapsed("fitting")
