from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.callbacks.progress.runs import Model, loader
from tests.resume.course import Record, check_every_point, seed

import fulmen as pl
from fulmen.callbacks import SpikeDetection
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.spike import SpikeDetection as Base
from fulmen.utilities.spike import TrainingSpikeException

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*there is no validation loader.*"),
    pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*"),
]
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False,
}  # fmt: skip
_ALONE: Any = SimpleNamespace(
    strategy=SimpleNamespace(reduce_boolean_decision=lambda one, all=True: one), is_global_zero=False
)
_LOSSES = st.one_of(st.sampled_from([1.0, 2.0, 9.0, -1.0, math.nan, math.inf]), st.floats(-5, 5, width=32))


class Course(Model):
    """Its losses are given by the number of the batch in the run."""

    def __init__(self, losses: Any) -> None:
        super().__init__()
        self.losses = losses

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).sum() * 0 + self.losses(self.trainer.progress.batches)


def _feed(detection: Base, losses: list[float], start: int = 0) -> list[bool]:
    found = []
    for index, loss in enumerate(losses, start):
        try:
            detection.on_train_batch_end(_ALONE, torch.tensor(loss), None, index)
        except TrainingSpikeException as error:
            assert error.batch_idx == index
            found.append(True)
        else:
            found.append(False)
    return found


@given(
    st.lists(_LOSSES, max_size=40), st.integers(0, 40), st.integers(1, 6), st.integers(0, 9),
    st.sampled_from(["min", "max"]), st.booleans(),
)  # fmt: skip
def test_one_that_goes_on_finds_what_one_that_never_stopped_finds(
    losses: list[float], cut: int, window: int, warmup: int, mode: Any, finite: bool
) -> None:
    def make() -> Base:
        return Base(mode, window, warmup, rtol=1.0, exclude_batches_path="x.json", finite_only=finite)

    whole, first, second = make(), make(), make()
    expected = _feed(whole, losses)
    found = _feed(first, losses[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert found + _feed(second, losses[cut:], len(losses[:cut])) == expected
    assert second.state_dict() == whole.state_dict()


def test_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    detections: list[SpikeDetection] = []

    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        detections.append(SpikeDetection(window=3, warmup=2, rtol=5.0))
        flags: dict[str, Any] = {**QUIET, "log_every_n_steps": 1, "logger": record.logger}
        trainer = pl.Trainer(max_epochs=2, callbacks=[detections[-1], *callbacks], **flags)
        trainer.fit(Course(lambda n: 1 + 0.1 * math.sin(n)), loader(5), ckpt_path=path)
        return trainer

    tried = check_every_point(fit, tmp_path, lambda points: points[::3], lambda *_: None)
    assert len(tried) > 2
    states = [one.state_dict() for one in detections]
    assert all(state == states[0] for state in states)
    assert len(states[0]["running"]) == 3


def test_a_state_of_lightning_is_taken() -> None:
    detection = SpikeDetection()
    detection.load_state_dict({"last_val": 2.0, "bad_batches": [3, 4], "running": {}, "mean": {}})
    assert (detection.last_val, detection.bad_batches) == (2.0, [3, 4])


def test_settings_are_those_of_now() -> None:
    later = SpikeDetection(rtol=9.0, window=2)
    later.load_state_dict(SpikeDetection(rtol=1.0, window=5).state_dict())
    assert (later.rtol, later.window) == (9.0, 2)


@pytest.mark.parametrize("sizes", [[2, 2, 2, 2, 2, 1], [2, 2, 2]])
def test_equal_losses_in_uneven_windows_are_no_spikes(sizes: list[int]) -> None:
    batches = [torch.ones(size, 1, 4) for size in sizes]  # the model takes what comes first of a batch
    detection = SpikeDetection(atol=1e-3, rtol=None)
    trainer = pl.Trainer(max_epochs=2, accumulate_grad_batches=4, callbacks=[detection], **QUIET)
    trainer.fit(Course(lambda _: 7.0), batches)
    assert detection.last_val == pytest.approx(7.0)


def test_the_file_lies_where_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "below" / "bad.json"
    trainer = pl.Trainer(max_epochs=1, callbacks=[SpikeDetection(exclude_batches_path=path)], **QUIET)
    with pytest.raises(TrainingSpikeException, match="batch 3"):
        trainer.fit(Course(lambda number: 9.0 if number == 3 else 1.0), loader(5))
    assert json.loads(path.read_text()) == [2, 3]
    assert os.listdir(path.parent) == ["bad.json"]


def test_what_makes_no_sense() -> None:
    with pytest.raises(MisconfigurationException, match='mode="min" for a loss'):
        SpikeDetection(mode="less")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="window=10"):
        SpikeDetection(window=0)
