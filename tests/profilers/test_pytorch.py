from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerAction, schedule

from fulmen.profilers.pytorch import PyTorchProfiler, RegisterRecordFunction
from fulmen.utilities.exceptions import MisconfigurationException


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
        self._trainer: Any = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def train(profiler: PyTorchProfiler, model: torch.nn.Module, batches: int) -> None:
    for _ in range(batches):
        with profiler.profile("run_training_batch"):
            with profiler.profile("[Strategy]S.training_step"):
                loss = model(torch.ones(2, 4)).sum()
            with profiler.profile("[Strategy]S.backward"):
                loss.backward()


def validate(profiler: PyTorchProfiler, batches: int) -> None:
    for _ in range(batches):
        with profiler.profile("[Strategy]S.validation_step"):
            torch.ones(3).cumsum(0)


def traces(folder: Path) -> dict[str, Counter[str]]:
    """How often each mark is in the trace of each kind of step."""
    found = {}
    for name in os.listdir(folder):
        match = re.fullmatch(r"(.+)\.\d+\.pt\.trace\.json", name)
        if match:
            events = json.loads((folder / name).read_text())["traceEvents"]
            marks = (event["name"] for event in events if event.get("cat") == "user_annotation" or "name" in event)
            assert match[1] not in found, f"two traces of {match[1]}"
            found[match[1]] = Counter(marks)
    return found


def started(folder: Path, model: torch.nn.Module | None = None, **arguments: Any) -> PyTorchProfiler:
    profiler = PyTorchProfiler(dirpath=folder, **arguments)
    profiler.setup("fit")
    profiler._lightning_module = model
    return profiler


def test_the_third_to_the_fifth_batch_are_recorded(tmp_path: Path) -> None:
    model = Model()
    profiler = started(tmp_path, model)
    train(profiler, model, 10)
    report = profiler.summary()
    assert report.startswith("FIT Profiler Report\nProfile stats for: training_step\n")
    assert "aten::addmm" in report and "[pl][profile]run_training_batch" in report
    marks = traces(tmp_path)["fit-training_step"]
    assert [step for step in range(10) if marks[f"ProfilerStep#{step}"]] == [2, 3, 4]
    assert marks["[pl][profile][Strategy]S.training_step"] == marks["[pl][profile][Strategy]S.backward"] == 3
    assert marks["[pl][module]torch.nn.modules.linear.Linear: body.0"] == 3
    assert marks["[pl][module]torch.nn.modules.container.Sequential: body"] == 3


@pytest.mark.parametrize(
    ("flags", "recorded"),
    [
        ({"num_training_batches": 2, "max_epochs": 2, "max_steps": -1}, 4),
        ({"num_training_batches": 100, "max_epochs": -1, "max_steps": 3}, 3),
        ({"num_training_batches": 4, "max_epochs": 1, "max_steps": 1}, 1),
        ({"num_training_batches": 4, "max_epochs": -1, "max_steps": -1}, 3),
        ({"num_training_batches": float("inf"), "max_epochs": 1, "max_steps": -1}, 3),
    ],
)
def test_all_batches_are_recorded_where_there_are_few(tmp_path: Path, flags: dict[str, Any], recorded: int) -> None:
    model = Model()
    model._trainer = SimpleNamespace(sanity_checking=False, accumulate_grad_batches=1, **flags)
    profiler = started(tmp_path, model)
    train(profiler, model, 8)
    profiler.teardown("fit")
    assert traces(tmp_path)["fit-training_step"]["[pl][profile]run_training_batch"] == recorded


def test_training_and_validation_have_a_trace_each(tmp_path: Path) -> None:
    model = Model()
    profiler = started(tmp_path, model, filename="mine")
    for _ in range(4):  # neither has five batches in a row
        train(profiler, model, 3)
        validate(profiler, 2)
    profiler.describe()
    marks = traces(tmp_path)
    assert marks["fit-mine-training_step"]["[pl][profile]run_training_batch"] == 3
    assert marks["fit-mine-validation_step"]["[pl][profile][Strategy]S.validation_step"] == 2
    assert marks["fit-mine-validation_step"]["[pl][profile]run_training_batch"] == 0
    report = (tmp_path / "fit-mine.txt").read_text()
    assert re.findall("Profile stats for: (.+)", report) == ["training_step", "validation_step"]


def test_a_sanity_check_does_not_count(tmp_path: Path) -> None:
    model = Model()
    model._trainer = SimpleNamespace(sanity_checking=True, num_val_batches=[1, 2])
    profiler = started(tmp_path, model)
    validate(profiler, 2)
    model._trainer.sanity_checking = False
    validate(profiler, 3)
    profiler.teardown("fit")
    assert traces(tmp_path)["fit-validation_step"]["[pl][profile][Strategy]S.validation_step"] == 3


def test_each_stage_has_a_report_of_its_own(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(dirpath=tmp_path)
    for stage in ("fit", "validate"):
        profiler.setup(stage)
        validate(profiler, 6)
        assert profiler.summary().startswith(f"{stage.upper()} Profiler Report\nProfile stats for: validation_step")
        profiler.teardown(stage)
    assert sorted(traces(tmp_path)) == ["fit-validation_step", "validate-validation_step"]


def test_a_schedule_of_ones_own_is_followed_to_its_first_end(tmp_path: Path) -> None:
    model = Model()
    profiler = started(tmp_path, model, schedule=schedule(wait=1, warmup=1, active=2))
    train(profiler, model, 9)
    profiler.teardown("fit")
    marks = traces(tmp_path)["fit-training_step"]
    assert [step for step in range(9) if marks[f"ProfilerStep#{step}"]] == [2, 3]


def test_without_a_schedule_the_whole_stage_is_recorded(tmp_path: Path) -> None:
    model = Model()
    profiler = started(tmp_path, model, schedule=None)
    with profiler.profile("loading"):
        pass
    train(profiler, model, 7)
    validate(profiler, 1)
    assert "Profile stats for: stage\n" in profiler.summary()
    marks = traces(tmp_path)["fit-stage"]
    assert marks["[pl][profile]loading"] == marks["[pl][profile][Strategy]S.validation_step"] == 1
    assert marks["[pl][profile]run_training_batch"] == 7


def test_what_was_too_short_to_be_recorded_is_said(tmp_path: Path) -> None:
    profiler = started(tmp_path)
    validate(profiler, 2)
    assert "Nothing was recorded of validation_step: `schedule` has no RECORD among the 2 steps" in profiler.summary()
    profiler.teardown("fit")
    profiler.setup("test")
    assert profiler.summary() == "TEST Profiler Report\nThere was no step to record."
    assert traces(tmp_path) == {}


def test_a_recording_that_is_cut_off_is_saved(tmp_path: Path) -> None:
    """And torch's profiler is free for others, the layers without their marks."""
    model = Model()
    profiler = started(tmp_path, model)
    with pytest.raises(KeyError), profiler.profile("run_training_epoch"):
        train(profiler, model, 3)
        raise KeyError
    profiler.teardown("fit")
    assert traces(tmp_path)["fit-training_step"]["[pl][profile]run_training_batch"] == 1
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())
    with torch.profiler.profile() as other:
        torch.ones(2)
    assert len(other.key_averages()) > 0


def test_layers_are_marked_only_while_recording(tmp_path: Path) -> None:
    model = Model()
    profiler = started(tmp_path, model, schedule=schedule(wait=1, warmup=1, active=1))
    hooked = []
    for _ in range(5):
        train(profiler, model, 1)
        hooked.append(bool(model.body._forward_hooks))
    assert hooked == [True, True, False, False, False]


def test_layers_can_be_left_unmarked(tmp_path: Path) -> None:
    model = Model()
    profiler = started(tmp_path, model, record_module_names=False)
    train(profiler, model, 6)
    profiler.teardown("fit")
    assert not [mark for mark in traces(tmp_path)["fit-training_step"] if "[pl][module]" in mark]


def test_a_mark_ends_with_an_exception() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with RegisterRecordFunction(layers), torch.profiler.profile() as profiler:
        with pytest.raises(RuntimeError, match="shapes"):
            layers(torch.ones(1, 3))
        with torch.profiler.record_function("after"):
            pass
    events = {event.name: event for event in profiler.events()}
    assert events["after"].cpu_parent is None
    assert "[pl][module]torch.nn.modules.linear.Linear: 0" in events


def test_no_trace_is_saved_where_none_is_wanted(tmp_path: Path) -> None:
    ready: list[Any] = []
    for arguments in ({"export_to_chrome": False}, {"on_trace_ready": ready.append}):
        profiler = started(tmp_path, **arguments)
        validate(profiler, 6)
        assert "Profile stats for: validation_step" in profiler.summary()
    assert os.listdir(tmp_path) == []
    assert [type(one) for one in ready] == [torch.profiler.profile]


def test_the_table_is_as_asked_for(tmp_path: Path) -> None:
    table = {"header": "MINE", "max_name_column_width": 20}
    profiler = started(
        tmp_path, row_limit=2, sort_by_key="count", group_by_input_shapes=True, table_kwargs=table, schedule=None
    )
    for size in (1, 2, 2):
        torch.ones(size)
        with profiler.profile("a"):
            torch.ones(size).neg().neg().neg()
    report = profiler.summary()
    assert "MINE" in report and "Input Shapes" in report
    body = report.split("Input Shapes")[1].split("Self CPU time total")[0]
    rows = [line for line in body.splitlines() if "us " in line]
    assert len(rows) == 2 and "aten::neg" in rows[0] and "[[2]]" in rows[0] and " 6 " in rows[0]


@pytest.mark.parametrize("key", sorted(PyTorchProfiler.AVAILABLE_SORT_KEYS))
def test_every_sort_key_works(key: str, tmp_path: Path) -> None:
    profiler = started(tmp_path, sort_by_key=key, schedule=None, export_to_chrome=False, profile_memory=True)
    with profiler.profile("a"):
        torch.ones(2)
    assert "aten::ones" in profiler.summary()


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ({"sort_by_key": "cpu_tim"}, "Did you mean `cpu_time`?"),
        ({"sort_by_key": "zzz"}, "The names are count, cpu_memory_usage"),
        ({"table_kwargs": {"headr": 1}}, "Did you mean `header`?"),
        ({"table_kwargs": {"row_limit": 1}}, "The names are header"),
        ({"record_shape": True}, "Did you mean `record_shapes`?"),
        ({"schedule": 3}, "PyTorchProfiler(schedule=torch.profiler.schedule("),
        ({"schedule": lambda step: 3}, "PyTorchProfiler(schedule=torch.profiler.schedule("),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=re.escape(remedy)):
        PyTorchProfiler(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="NVTX marks work where there is CUDA")
def test_marks_for_nvtx_need_cuda() -> None:
    with pytest.raises(MisconfigurationException, match="Leave it out"):
        PyTorchProfiler(emit_nvtx=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="NVTX marks need CUDA")
def test_marks_for_nvtx_record_nothing_here(tmp_path: Path) -> None:
    profiler = started(tmp_path, emit_nvtx=True)
    with profiler.profile("run_training_batch"):
        torch.ones(2, device="cuda").neg()
    assert profiler.summary() == ""
    profiler.teardown("fit")
    assert os.listdir(tmp_path) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="looks for CUDA kernels")
@pytest.mark.filterwarnings("ignore:.*Profiler clears events at the end of each cycle:UserWarning")
def test_kernels_are_recorded_and_sorted_by(tmp_path: Path) -> None:
    profiler = started(tmp_path)
    for _ in range(6):
        with profiler.profile("run_training_batch"):
            (torch.ones(64, 64, device="cuda") @ torch.ones(64, 64, device="cuda")).sum().item()
    assert "CUDA total" in profiler.summary()
    events = next(tmp_path.glob("*.pt.trace.json"))
    assert any(event.get("cat") == "kernel" for event in json.loads(events.read_text())["traceEvents"])


def test_a_schedule_may_be_any_function(tmp_path: Path) -> None:
    seen: list[int] = []

    def last(step: int) -> ProfilerAction:
        seen.append(step)
        return ProfilerAction.RECORD_AND_SAVE if step == 3 else ProfilerAction.NONE

    profiler = started(tmp_path, schedule=last)
    validate(profiler, 2)
    train(profiler, Model(), 1)
    validate(profiler, 6)
    profiler.teardown("fit")
    assert max(seen) == 3, "steps are counted over the passes, and not beyond the end"
    assert traces(tmp_path)["fit-validation_step"]["[pl][profile][Strategy]S.validation_step"] == 1
