from __future__ import annotations

import pytest
from torch.profiler import ProfilerAction, schedule

from fulmen.profilers.schedule_wrapper import ScheduleWrapper

W, R, S, N = (ProfilerAction.WARMUP, ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE, ProfilerAction.NONE)
KINDS = ("training_step", "validation_step", "test_step", "predict_step")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_recorded_once(kind: str) -> None:
    wrapper = ScheduleWrapper(schedule(wait=1, warmup=1, active=2))
    wrapper.pre_step(f"[Strategy]SingleDeviceStrategy.{kind}")
    assert [wrapper(step) for step in range(5)] == [W, R, S, N, N]
    assert (wrapper.num_step, wrapper.has_finished) == (3, True)
    flags = (wrapper.is_training, wrapper.is_validating, wrapper.is_testing, wrapper.is_predicting)
    assert [kind for kind, flag in zip(KINDS, flags) if flag] == [kind]
    wrapper.reset()
    wrapper.pre_step(kind)
    assert (wrapper.num_step, wrapper.has_finished) == (0, False)


def test_kinds_do_not_mix() -> None:
    wrapper = ScheduleWrapper(schedule(wait=0, warmup=1, active=1))
    for kind in KINDS:
        wrapper.pre_step(kind)
        assert wrapper.num_step == 0 and [wrapper(0), wrapper(1)] == [S, N]


def test_other_actions_count_nothing() -> None:
    wrapper = ScheduleWrapper(schedule(wait=1, warmup=1, active=2))
    wrapper.pre_step("on_train_start")
    assert [wrapper(step) for step in range(3)] == [N, N, N]
    assert wrapper.num_step == 0 and not wrapper.has_finished


def test_a_recording_that_the_next_round_would_lose_is_saved() -> None:
    actions = iter([R, W])
    wrapper = ScheduleWrapper(lambda step: next(actions))
    wrapper.pre_step("training_step")
    assert [wrapper(0), wrapper(1)] == [R, S]


def test_the_sanity_check_does_not_count() -> None:
    wrapper = ScheduleWrapper(schedule(wait=1, warmup=1, active=1))
    wrapper.setup("[Callback]Recorder.on_fit_start")
    wrapper.pre_step("validation_step")
    assert [wrapper(0), wrapper(1), wrapper.num_step] == [N, N, 0]
    wrapper.pre_step("training_step")
    wrapper(2)
    wrapper.pre_step("validation_step")
    assert [wrapper(3), wrapper.num_step] == [W, 1]


def test_nothing_runs_yet() -> None:
    with pytest.raises(AssertionError, match="call `pre_step`"):
        ScheduleWrapper(schedule(wait=0, warmup=1, active=1)).num_step  # noqa: B018
