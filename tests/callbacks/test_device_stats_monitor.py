from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.callbacks.progress.runs import Model, loader
from tests.resume.course import MemoryLogger

from fulmen import Trainer
from fulmen.callbacks import DeviceStatsMonitor
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore:.*there is no validation loader.*")
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False,
    "max_epochs": 1,
}  # fmt: skip


def test_nothing_is_asked_of_the_device_between_logged_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def stats() -> dict[str, float]:
        asked.append(trainer.global_step)
        return {"load": 1.0}

    monkeypatch.setattr("fulmen.callbacks.device_stats_monitor.get_cpu_stats", stats)
    logger = MemoryLogger()
    trainer = Trainer(logger=logger, callbacks=[DeviceStatsMonitor()], log_every_n_steps=4, **QUIET)
    trainer.fit(Model(), loader(10))
    assert asked == [3, 4, 7, 8]
    events = [(step, name) for step, values in logger.values for name in values if "Device" in name]
    assert events == [
        (3, "DeviceStatsMonitor.on_train_batch_start/load"),
        (3, "DeviceStatsMonitor.on_train_batch_end/load"),
        (7, "DeviceStatsMonitor.on_train_batch_start/load"),
        (7, "DeviceStatsMonitor.on_train_batch_end/load"),
    ]


@pytest.mark.parametrize(("cpu_stats", "names"), [(None, ["memory"]), (True, ["memory", "load"]), (False, ["memory"])])
def test_of_another_device_the_load_of_the_cpu_is_extra(
    cpu_stats: bool | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fulmen.callbacks.device_stats_monitor.get_cpu_stats", lambda: {"load": 1.0})
    rows: list[dict[str, Any]] = []
    logger = SimpleNamespace(group_separator="-", log_metrics=lambda values, step: rows.append(values))
    accelerator = SimpleNamespace(get_device_stats=lambda device: {"memory": 5})
    trainer: Any = SimpleNamespace(
        loggers=[logger], strategy=SimpleNamespace(root_device=torch.device("meta")), accelerator=accelerator,
        metrics=SimpleNamespace(place=lambda logger, step: step), should_log=True,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(_batches_that_stepped=0)),
    )  # fmt: skip
    monitor = DeviceStatsMonitor(cpu_stats)
    monitor.setup(trainer, None, "fit")  # type: ignore[arg-type]
    monitor.on_train_batch_start(trainer, None, None, 0)  # type: ignore[arg-type]
    assert [list(row) for row in rows] == [[f"DeviceStatsMonitor.on_train_batch_start-{name}" for name in names]]


def test_without_psutil_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    trainer = Trainer(logger=MemoryLogger(), callbacks=[DeviceStatsMonitor()], **QUIET)
    with pytest.raises(ModuleNotFoundError, match="pip install psutil"):
        trainer.fit(Model(), loader(1))
    Trainer(logger=MemoryLogger(), callbacks=[DeviceStatsMonitor(cpu_stats=False)], **QUIET).fit(Model(), loader(1))


def test_a_logger_is_needed() -> None:
    trainer = Trainer(logger=False, callbacks=[DeviceStatsMonitor()], **QUIET)
    with pytest.raises(MisconfigurationException, match="a logger of your choice"):
        trainer.fit(Model(), loader(1))


@pytest.mark.parametrize("wrong", ["yes", 1])
def test_settings_that_make_no_sense(wrong: Any) -> None:
    with pytest.raises(MisconfigurationException, match="Pass True to log the load"):
        DeviceStatsMonitor(cpu_stats=wrong)


@pytest.mark.parametrize(
    ("axis", "places"),
    [("samples", [0, 2, 2, 4, 4, 6, 6, 8]), ("epoch", [0, 0, 0, 0, 1, 1, 1, 1]), ("step", [0, 0, 1, 1, 2, 2, 3, 3])],
)
def test_its_values_lie_on_the_axis_of_the_logger(axis: Any, places: list[int]) -> None:
    logger = MemoryLogger()
    logger.x_axis = axis
    options = {**QUIET, "max_epochs": 2, "log_every_n_steps": 1}
    Trainer(logger=logger, callbacks=[DeviceStatsMonitor()], **options).fit(Model(), loader(2))
    assert [step for step, values in logger.values if any("Device" in name for name in values)] == places
