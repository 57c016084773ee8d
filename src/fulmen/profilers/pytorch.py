"""What PyTorch did in a few steps: every operator, on the host and on the device."""

from __future__ import annotations

import inspect
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerAction, record_function

from fulmen.profilers.profiler import Profiler
from fulmen.profilers.schedule_wrapper import ScheduleWrapper as ScheduleWrapper
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.suggest import did_you_mean

Schedule = Callable[[int], ProfilerAction]

_RECORDING = (ProfilerAction.WARMUP, ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
_BATCH = "run_training_batch"  # a training step ends with the batch: its backward and its update belong to it
_STAGE = "stage"  # what is recorded where there is no schedule
_TABLE_OWN = ("self", "sort_by", "row_limit")


class RegisterRecordFunction:
    """Marks the forward of every layer with its name in a trace, inside the ``with`` block.

    Args:
        model: The module whose layers are marked.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._records: dict[str, list[record_function]] = defaultdict(list)
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        for name, layer in self._model.named_modules():
            if not name or isinstance(layer, torch.jit.ScriptModule):
                continue
            kind = f"{type(layer).__module__}.{type(layer).__name__}"
            label = f"[pl][module]{kind}: {name}"
            self._handles.append(layer.register_forward_pre_hook(partial(self._begin, label)))
            self._handles.append(layer.register_forward_hook(partial(self._end, label), always_call=True))

    def _begin(self, label: str, *_: Any) -> None:
        record = record_function(label)
        record.__enter__()
        self._records[label].append(record)

    def _end(self, label: str, *_: Any) -> None:
        if self._records[label]:
            self._records[label].pop().__exit__(None, None, None)

    def __exit__(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


class PyTorchProfiler(Profiler):
    """Records the operators of a few steps with ``torch.profiler``: a table of them, and a trace to look at.

    Each kind of step (``STEP_FUNCTIONS``) is recorded once a stage, as its `schedule` says: by default the third to
    the fifth batch, or all where there are fewer than five. A step is a batch with all that belongs to it, and what
    comes before the next one. The steps of a sanity check do not count. Open a trace in https://ui.perfetto.dev, in
    ``chrome://tracing`` or in TensorBoard.

    Args:
        dirpath: The folder for files; None for the logger's.
        filename: Saves the report as ``<stage>-<filename>.txt``; None prints it.
        group_by_input_shapes: Whether the table tells calls with different shapes apart.
        emit_nvtx: Marks operators and actions for an external profiler, which must be running, and records nothing
            here: ``nsys profile -t cuda,nvtx python train.py``. Needs CUDA.
        export_to_chrome: Whether to save traces, as ``<stage>-<filename>-<step>.<time>.pt.trace.json``.
        row_limit: Rows of the table; -1 for all.
        sort_by_key: The column that the table is sorted by, one of ``AVAILABLE_SORT_KEYS``; None for the time on the
            device where there is one, else on the host, with what an operator calls.
        record_module_names: Whether layers are named in the trace.
        table_kwargs: More for ``torch.autograd.profiler_util.EventList.table``, such as ``header``.
        **profiler_kwargs: For ``torch.profiler.profile``. ``schedule`` is a function from the number of a step, from
            0, to a ``torch.profiler.ProfilerAction``; its first ``RECORD_AND_SAVE`` ends the recording of a kind of
            step. ``schedule=None`` records whole stages. ``on_trace_ready`` takes the place of saving traces.

    Raises:
        MisconfigurationException: If an argument is unknown or has a wrong value.
    """

    STEP_FUNCTIONS = {"training_step", "validation_step", "test_step", "predict_step"}
    AVAILABLE_SORT_KEYS = {
        "cpu_time", "cuda_time", "cpu_time_total", "cuda_time_total", "cpu_memory_usage", "cuda_memory_usage",
        "self_cpu_memory_usage", "self_cuda_memory_usage", "count",
    }  # fmt: skip

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        emit_nvtx: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = 20,
        sort_by_key: str | None = None,
        record_module_names: bool = True,
        table_kwargs: dict[str, Any] | None = None,
        **profiler_kwargs: Any,
    ) -> None:
        super().__init__(dirpath=dirpath, filename=filename)
        _check_name("sort_by_key", sort_by_key, self.AVAILABLE_SORT_KEYS)
        for name in table_kwargs or {}:
            _check_name("table_kwargs", name, set(inspect.signature(EventList.table).parameters) - set(_TABLE_OWN))
        for name in profiler_kwargs:
            _check_name("PyTorchProfiler", name, set(inspect.signature(torch.profiler.profile).parameters))
        self._given_schedule = "schedule" in profiler_kwargs
        self._schedule: Schedule | None = profiler_kwargs.pop("schedule", None)
        _check_schedule(self._schedule)
        if emit_nvtx and not torch.cuda.is_available():
            raise MisconfigurationException(
                "`emit_nvtx` marks what happens on a CUDA device, and there is none.",
                got="emit_nvtx=True",
                fix="Leave it out: the profiler records on the host itself.",
            )
        self._on_trace_ready = profiler_kwargs.pop("on_trace_ready", None)
        self._profiler_kwargs = {"record_shapes": group_by_input_shapes, **profiler_kwargs}
        self._group_by_input_shapes = group_by_input_shapes
        self._emit_nvtx = emit_nvtx
        self._export_to_chrome = export_to_chrome
        self._table_kwargs = {
            "sort_by": sort_by_key or ("cuda_time_total" if torch.accelerator.is_available() else "cpu_time_total"),
            "row_limit": row_limit,
            **(table_kwargs or {}),
        }
        self._record_module_names = record_module_names
        self._records: dict[str, list[record_function]] = defaultdict(list)
        self._session: torch.profiler.profile | None = None  # torch's profiler, which takes part in one kind of step
        self._kind = ""
        self._layers: RegisterRecordFunction | None = None
        self._nvtx: AbstractContextManager[Any] | None = None
        self._forget()

    def _forget(self) -> None:
        self._step: str | None = None  # the action that the running step began with
        self._recorded = 0  # steps in the recording
        self._done: dict[str, int] = defaultdict(int)  # steps so far, by kind
        self._schedules: dict[str, Schedule] = {}
        self._finished: set[str] = set()
        self._tables: dict[str, str] = {}

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        self._forget()

    def start(self, action_name: str) -> None:
        if self._emit_nvtx:
            self._begin_nvtx()
        elif self._given_schedule and self._schedule is None:
            self._begin(_STAGE)
        elif self._step is None and (kind := self._kind_of(action_name)) is not None:
            self._step = action_name
            self._begin(kind)
        record = record_function(f"[pl][profile]{action_name}")
        record.__enter__()
        self._records[action_name].append(record)

    def stop(self, action_name: str) -> None:
        if self._records[action_name]:
            self._records[action_name].pop().__exit__(None, None, None)
        if action_name == self._step:
            self._step = None
            self._advance(self._kind_of(action_name))

    def _kind_of(self, action_name: str) -> str | None:
        name = "training_step" if action_name == _BATCH else action_name.rpartition(".")[2]
        return name if name in self.STEP_FUNCTIONS else None

    def _begin(self, kind: str) -> None:
        """Sees to it that torch's profiler is there for a step, unless it is busy with one around this one."""
        trainer = getattr(self._lightning_module, "_trainer", None)
        if kind == self._kind or (trainer is not None and trainer.sanity_checking):
            return
        if self._session is not None:
            if self._kind == "training_step" and self._action() is not ProfilerAction.NONE:
                return  # validation in the middle of what is recorded of training
            self._end_session()
        if kind in self._finished:
            return
        self._kind, self._recorded = kind, 0
        schedule: Schedule | None = None
        if kind != _STAGE:
            schedule = self._schedules.setdefault(kind, self._schedule or _default_schedule(kind, trainer))
            schedule = partial(_later, schedule, self._done[kind])
        self._session = torch.profiler.profile(
            schedule=schedule, on_trace_ready=partial(self._collect, kind), **self._profiler_kwargs
        )
        self._session.__enter__()
        self._mark_layers()

    def _action(self) -> ProfilerAction:
        assert self._session is not None
        return self._session.current_action

    def _advance(self, kind: str | None) -> None:
        """Counts a step, and goes on to what the schedule has for the next."""
        if kind is None or kind != self._kind or self._session is None:
            return
        self._done[kind] += 1
        self._recorded += self._action() in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        if self._action() is ProfilerAction.RECORD_AND_SAVE or kind in self._finished:
            self._end_session()
        else:
            self._session.step()
            self._mark_layers()

    def _mark_layers(self) -> None:
        wanted = self._record_module_names and self._lightning_module is not None
        if wanted and self._layers is None and self._action() in _RECORDING:
            self._layers = RegisterRecordFunction(self._lightning_module)
            self._layers.__enter__()

    def _end_session(self) -> None:
        if self._layers is not None:
            self._layers.__exit__()
            self._layers = None
        session, self._session, self._kind = self._session, None, ""
        if session is not None:
            session.__exit__(None, None, None)

    def _collect(self, kind: str, session: torch.profiler.profile) -> None:
        """Called by torch's profiler when a recording is complete, or cut off, perhaps before its first step."""
        if self._recorded == 0 and kind != _STAGE:
            return
        self._finished.add(kind)
        averages = session.key_averages(group_by_input_shape=self._group_by_input_shapes)
        self._tables[kind] = averages.table(**self._table_kwargs)
        if self._on_trace_ready is not None:
            self._on_trace_ready(session)
        elif self._export_to_chrome:
            self._save(self._file_name(f".{time.time_ns()}.pt.trace.json", kind), session.export_chrome_trace)

    def _begin_nvtx(self) -> None:
        if self._nvtx is None:
            self._nvtx = torch.autograd.profiler.emit_nvtx(record_shapes=self._group_by_input_shapes)
            self._nvtx.__enter__()

    def summary(self) -> str:
        """A table for each kind of step that was recorded. Ends the recording."""
        self._end_session()
        if self._emit_nvtx:
            return ""
        parts = [f"Profile stats for: {kind}\n{table}" for kind, table in self._tables.items()]
        for kind, steps in self._done.items():
            if kind not in self._tables:
                parts.append(
                    f"Nothing was recorded of {kind}: `schedule` has no RECORD among the {steps} steps that there were."
                )
        return "\n".join([self._title, *(parts or ["There was no step to record."])])

    def teardown(self, stage: str | None) -> None:
        """Called when a stage has ended and the report is out.

        Args:
            stage: The stage.
        """
        self._end_session()
        if self._nvtx is not None:
            self._nvtx.__exit__(None, None, None)
            self._nvtx = None
        super().teardown(stage)


def _later(schedule: Schedule, before: int, step: int) -> ProfilerAction:
    return schedule(before + step)


def _default_schedule(kind: str, trainer: Any) -> Schedule:
    """Two steps to get going and three to record; all of them where there are too few for that."""
    steps = _planned_steps(kind, trainer)
    if steps < 5:
        return lambda step: ProfilerAction.RECORD if step < steps - 1 else ProfilerAction.RECORD_AND_SAVE
    return torch.profiler.schedule(wait=1, warmup=1, active=3, repeat=1)


def _planned_steps(kind: str, trainer: Any) -> float:
    """How many steps of a kind will come one after the other, as far as that is known."""
    if trainer is None:
        return float("inf")
    if kind == "training_step":
        epochs = float("inf") if trainer.max_epochs in (None, -1) else trainer.max_epochs
        batches = float(trainer.num_training_batches * epochs)
        return batches if trainer.max_steps == -1 else min(batches, trainer.max_steps * trainer.accumulate_grad_batches)
    batches_of = {
        "validation_step": "num_val_batches",
        "test_step": "num_test_batches",
        "predict_step": "num_predict_batches",
    }
    return float(sum(getattr(trainer, batches_of[kind])))


def _check_name(argument: str, name: str | None, known: set[str]) -> None:
    """Raises unless a name is one of the known ones."""
    if name is not None and name not in known - {"self"}:
        where = "`PyTorchProfiler` has no argument" if argument == "PyTorchProfiler" else f"`{argument}` knows no"
        raise MisconfigurationException(
            f"{where} {name!r}.",
            fix=did_you_mean(name, known) or f"The names are {', '.join(sorted(known - {'self'}))}.",
        )


def _check_schedule(schedule: Any) -> None:
    rule = "`schedule` is a function from the number of a step to a `torch.profiler.ProfilerAction`."
    fix = "`PyTorchProfiler(schedule=torch.profiler.schedule(wait=1, warmup=1, active=3))`."
    if schedule is None:
        return
    if not callable(schedule):
        raise MisconfiguredType(rule, got=schedule, fix=fix)
    action = schedule(0)
    if not isinstance(action, ProfilerAction):
        raise MisconfiguredType(rule, got=f"a function that returns {action!r}", fix=fix)
