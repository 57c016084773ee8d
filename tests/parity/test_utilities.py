"""Utilities that other packages import give what Lightning's give."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import schedule
from torch.utils.data import DataLoader, IterableDataset

from .differing import both


def part(pl: Any, module: str) -> Any:
    return importlib.import_module(f"{pl.__name__}.{module}")


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or what kinds of error and warning it gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = call()
        except Exception as error:
            kinds = {kind.__name__ for kind in type(error).__mro__}  # ours are of Lightning's kind and one more
            found = next(name for name in ERRORS if name in kinds)
    return found, len(caught)


ERRORS = ("ValueError", "AttributeError", "NotImplementedError", "FileNotFoundError", "MisconfigurationException")


class Endless(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        yield 1


class Counted(Endless):
    def __len__(self) -> int:
        return 3


BATCHES = [
    *(torch.zeros(3, 2), torch.tensor(1.0), "abc", ["a", "bb"], [torch.zeros(5), torch.zeros(5)], (1, 2), {}, None),
    *({"a": torch.zeros(4), "b": torch.zeros(2)}, {"a": "text"}, {"a": [[torch.zeros(3)]]}),
]


@pytest.mark.parametrize("batch", BATCHES)
def test_batch_sizes(lightning: ModuleType, fulmen: ModuleType, batch: Any) -> None:
    theirs, ours = both(
        lightning, fulmen, lambda pl: outcome(lambda: part(pl, "utilities.data").extract_batch_size(batch))
    )
    assert theirs == ours


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(range(3)),  # type: ignore[arg-type]
        lambda: DataLoader(Endless()),
        lambda: DataLoader(Counted()),
        lambda: DataLoader([]),
        lambda: range(4),
        lambda: iter([1]),
        lambda: 5,
    ],
)
def test_lengths(lightning: ModuleType, fulmen: ModuleType, make: Callable[[], Any]) -> None:
    def script(pl: Any) -> Any:
        strategy = pl.strategies.SingleDeviceStrategy()
        return outcome(lambda: part(pl, "utilities.data").has_len_all_ranks(make(), strategy))

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours


@pytest.mark.parametrize("cores", [1, 2, 8, 15])
def test_workers(lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)

    def script(pl: Any) -> Any:
        suggest = part(pl, "utilities").suggested_max_num_workers
        return [outcome(lambda n=n: suggest(n)) for n in (0, 1, 2, 3, 8)]

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours


def test_overrides(lightning: ModuleType, fulmen: ModuleType) -> None:
    def script(pl: Any) -> Any:
        is_overridden = part(pl, "utilities.model_helpers").is_overridden
        module = type("Module", (pl.LightningModule,), {"training_step": lambda *args: None})()
        callback = type("Callback", (pl.Callback,), {"on_fit_start": lambda *args: None})()
        data = type("Data", (pl.LightningDataModule,), {"setup": lambda *args: None})()
        cases: list[tuple[Any, ...]] = [
            *(("training_step", module), ("validation_step", module), ("nothing", module), ("setup", data)),
            *(("teardown", data), ("on_fit_start", callback), ("on_fit_end", callback), ("x", None), ("x", object())),
            *(("forward", nn.Linear(1, 1), nn.Module), ("training_step", module, pl.LightningModule)),
        ]
        return [outcome(lambda case=case: is_overridden(*case)) for case in cases]

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours


def test_shared_parameters(lightning: ModuleType, fulmen: ModuleType) -> None:
    def script(pl: Any) -> Any:
        tools = part(pl, "utilities.parameter_tying")
        net = nn.Module()
        net.a, net.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
        net.c = nn.Sequential(net.a, nn.Linear(2, 2))
        net.b.weight = net.a.weight
        found = tools.find_shared_parameters(net)
        net.b.weight = nn.Parameter(torch.zeros(2, 2))
        tools.set_shared_parameters(net, found)
        wrong = outcome(lambda: tools.set_shared_parameters(net, [["a.nothing", "b.weight"]]))
        return found, net.b.weight is net.a.weight, wrong

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours


def test_compiled_modules(lightning: ModuleType, fulmen: ModuleType) -> None:
    def script(pl: Any) -> Any:
        tools, model = part(pl, "utilities.compile"), part(pl, "demos.boring_classes").BoringModel()
        wrong = [outcome(lambda x=x: tools.from_compiled(x)) for x in (model, nn.Linear(1, 1))]
        wrong += [outcome(lambda x=x: tools.to_uncompiled(x)) for x in (model, 5)]
        compiled = torch.compile(model, backend="eager")
        back = tools.from_compiled(compiled)
        context = back._compiler_ctx["compiler"]
        return wrong, back is model, context, tools.to_uncompiled(back) is model, model._compiler_ctx

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours


@pytest.mark.parametrize("kind", ["training_step", "test_step", "predict_step", "on_train_start"])
def test_schedules(lightning: ModuleType, fulmen: ModuleType, kind: str) -> None:
    def script(pl: Any) -> Any:
        wrapper = part(pl, "profilers.pytorch").ScheduleWrapper(schedule(wait=1, warmup=1, active=2))
        wrapper.setup("on_fit_start")
        wrapper.pre_step(f"[Strategy]X.{kind}")
        return [(wrapper(step), wrapper.num_step, wrapper.has_finished, wrapper.is_training) for step in range(5)]

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours


READ = ("creates_processes_externally", "main_address", "main_port")
CALLED = ("world_size", "global_rank", "local_rank", "node_rank")
COMMON = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234", "WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("TorchElasticEnvironment", {**COMMON, "GROUP_RANK": "1", "TORCHELASTIC_RUN_ID": "x"}),
        ("TorchElasticEnvironment", COMMON),
        ("KubeflowEnvironment", COMMON),
        ("LightningEnvironment", COMMON),
        ("LSFEnvironment", COMMON),
        ("LSFEnvironment", {"WORLD_SIZE": "4"}),
    ],
)
def test_environments(
    lightning: ModuleType,
    fulmen: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    variables: dict[str, str],
) -> None:
    import socket

    (tmp_path / "hosts").write_text(f"batch\nfirst\n{socket.gethostname()}\n")
    lsf = {"LSB_DJOB_RANKFILE": str(tmp_path / "hosts"), "LSB_JOBID": "71234", "JSM_NAMESPACE_SIZE": "4"}
    lsf |= {"JSM_NAMESPACE_RANK": "3", "JSM_NAMESPACE_LOCAL_RANK": "1"}

    def script(pl: Any) -> Any:
        kind = getattr(part(pl, "plugins.environments"), name)
        with monkeypatch.context() as patch:
            for variable in (*COMMON, *lsf, "GROUP_RANK", "TORCHELASTIC_RUN_ID", "NODE_RANK"):
                patch.delenv(variable, raising=False)
            for variable, value in {**variables, **(lsf if name.startswith("LSF") else {})}.items():
                patch.setenv(variable, value)
            environment = kind()
            found: list[Any] = [outcome(kind.detect)]
            found += [outcome(lambda read=read: getattr(environment, read)) for read in READ]
            found += [outcome(getattr(environment, called)) for called in CALLED]
            found += [outcome(lambda n=n: environment.validate_settings(n, 1)) for n in (2, 4)]
            return found

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours
