from __future__ import annotations

import pytest

from fulmen.utilities.states import RunningStage, TrainerFn, TrainerState, TrainerStatus


def test_names_are_those_that_hooks_get() -> None:
    assert [str(fn) for fn in TrainerFn] == ["fit", "validate", "test", "predict"]
    assert TrainerFn.FITTING == "fit"


@pytest.mark.parametrize("stage", list(RunningStage))
def test_evaluating_and_the_prefix_of_loaders(stage: RunningStage) -> None:
    prefixes = {"train": "train", "sanity_check": "val", "validate": "val", "test": "test", "predict": "predict"}
    assert stage.dataloader_prefix == prefixes[stage.value]
    assert stage.evaluating == (stage in ("sanity_check", "validate", "test"))


@pytest.mark.parametrize("status", list(TrainerStatus))
def test_stopped_and_finished(status: TrainerStatus) -> None:
    state = TrainerState(status)
    assert state.stopped == (status in ("finished", "interrupted"))
    assert state.finished == (status == "finished")


def test_a_new_state_does_nothing() -> None:
    assert TrainerState() == TrainerState(TrainerStatus.INITIALIZING, None, None)
