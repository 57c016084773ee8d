"""Rows of ``docs/differences.md`` on callbacks that watch, measure and save."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from .callback_scripts import QUIET, batches, memory_logger, model, part
from .scenarios import quiet
from .test_callbacks_monitors import peak


def _spike(pl: ModuleType, **options: Any) -> Any:
    return part(pl, "callbacks.spike").SpikeDetection(**options)


def _caught(pl: ModuleType, callback: Any, losses: Any, per_epoch: int, **flags: Any) -> str:
    """How training ends."""
    flags = {"max_epochs": 3, "logger": False, "callbacks": [callback], **QUIET, **flags}
    try:
        with quiet():
            pl.Trainer(**flags).fit(model(pl, losses), batches(per_epoch))
    except Exception as error:
        return type(error).__name__
    return "finished"


def test_spikes_in_a_run_that_goes_on(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 55. Ten losses of 1 and one of 5: by their mean of 1 a leap of 4, whoever saw the ten."""
    ends = []
    for pl in (lightning, fulmen):
        seen = _spike(pl)
        assert _caught(pl, seen, lambda _: 1.0, 10, max_epochs=1) == "finished"
        later = _spike(pl)
        try:
            later.load_state_dict(seen.state_dict())
        except AttributeError:
            ends.append("AttributeError")
        else:
            ends.append(_caught(pl, later, lambda _: 5.0, 10))
    assert ends == ["AttributeError", "TrainingSpikeException"]

    # the twelfth loss of the run is 9 times the mean of those before; four are to warm up
    for pl, end in ((lightning, "finished"), (fulmen, "TrainingSpikeException")):
        assert _caught(pl, _spike(pl, warmup=4), lambda number: 9.0 if number == 11 else 1.0, 4) == end

    def skip(number: int) -> float:
        raise AssertionError("not called")

    for pl, end in ((lightning, "KeyError"), (fulmen, "finished")):
        skipping = model(pl, skip, training_step=lambda self, batch, batch_idx: None)
        trainer = pl.Trainer(max_epochs=1, logger=False, callbacks=[_spike(pl)], **QUIET)
        with quiet():
            try:
                trainer.fit(skipping, batches(2))
            except KeyError:
                assert end == "KeyError"
            else:
                assert end == "finished"


def test_spikes_in_accumulation(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 56. A loss of 3 after losses of 1 is away from their mean by 2, and 1.5 is asked for."""

    def losses(number: int) -> float:
        return 3.0 if number == 9 else 1.0

    for pl, end in ((lightning, "finished"), (fulmen, "TrainingSpikeException")):
        assert _caught(pl, _spike(pl, atol=1.5, rtol=None), losses, 12) == "TrainingSpikeException"
        flags = {"accumulate_grad_batches": 4}
        assert _caught(pl, _spike(pl, atol=1.5, rtol=None), losses, 12, **flags) == end


def test_places_of_throughput(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 57. Three validations of two batches are six batches, which are six places."""
    places = []
    for pl in (lightning, fulmen):
        logger = memory_logger(pl)
        monitor = part(pl, "callbacks.throughput_monitor").ThroughputMonitor(len)
        flags = {**QUIET, "log_every_n_steps": 1, "max_epochs": 3}
        with quiet():
            pl.Trainer(logger=logger, callbacks=[monitor], **flags).fit(model(pl), batches(2), batches(2))
        places.append([step for step, row in logger.rows if "validate/batches" in row])
    assert places == [[1, 2, 1, 2, 1, 2], [1, 2, 3, 4, 5, 6]]


# cores, operations of a core in a cycle, cycles a second: what makes a peak
_CORES = [
    ("NVIDIA L40S", "fp32", 18176 * 2 * 2.52e9),
    ("NVIDIA L40", "fp32", 18176 * 2 * 2.49e9),
    ("NVIDIA A4000", "fp32", 6144 * 2 * 1.56e9),
    ("NVIDIA RTX A6000", "bf16", 336 * 256 * 1.80e9),
    ("NVIDIA A40", "bf16", 336 * 256 * 1.74e9),
    ("NVIDIA GeForce RTX 4090", "bf16", 512 * 128 * 2.52e9),
    ("NVIDIA GeForce RTX 3090", "bf16", 328 * 128 * 1.695e9),
    ("NVIDIA GeForce RTX 2080 Ti", "fp16", 544 * 64 * 1.635e9),
    ("NVIDIA H100 NVL", "fp32", 16896 * 2 * 1.785e9),
    ("NVIDIA H200", "fp32", 16896 * 2 * 1.98e9),
]


@pytest.mark.parametrize(("card", "kind", "calculated"), _CORES, ids=lambda one: str(one))
def test_peaks(lightning: ModuleType, card: str, kind: str, calculated: float) -> None:
    """Row 58. A peak is cores times operations in a cycle times cycles a second."""
    from lightning_fabric.utilities.throughput import get_available_flops as theirs

    from fulmen.utilities.throughput import get_available_flops as ours

    assert peak(ours, card, kind) == pytest.approx(calculated, rel=0.03)
    assert peak(theirs, card, kind) != pytest.approx(calculated, rel=0.3)


def test_the_file_of_a_failed_run(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 59. Three steps were trained; then a restart fails before it begins, and a test fails."""
    kept = []
    for pl in (lightning, fulmen):

        def fail(self: Any, *_: Any, **__: Any) -> Any:
            raise ValueError("wanted")

        def fails_late(self: Any, batch: Any, batch_idx: int) -> Any:
            return fail(self) if batch_idx == 3 else self.layer(batch).mean()

        flags = {**QUIET, "enable_checkpointing": True, "num_sanity_val_steps": 0, "max_epochs": 1}
        steps = []
        for call, members in (
            ("fit", {"training_step": fails_late}),
            ("fit", {"setup": fail}),
            ("fit", {"on_fit_start": fail}),
            ("test", {"test_step": fail}),
        ):
            callback = pl.callbacks.OnExceptionCheckpoint(tmp_path / pl.__name__)
            trainer = pl.Trainer(logger=False, callbacks=[callback], **flags)
            with quiet(), pytest.raises(ValueError, match="wanted"):
                getattr(trainer, call)(model(pl, **members), batches(5))
            steps.append(torch.load(callback.ckpt_path, weights_only=False)["global_step"])
        kept.append(steps)
    assert kept == [[3, 0, 0, 0], [3, 3, 3, 3]]
