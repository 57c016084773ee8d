from __future__ import annotations

import random
import threading
from collections import OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from fulmen.utilities.memento import Memento


class Thing:
    """An object of the user's own."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Slotted:
    __slots__ = ("__hidden", "shown")

    def __init__(self) -> None:
        self.__hidden, self.shown = [1], 2

    def change(self) -> None:
        self.__hidden.append(3)
        self.__hidden, self.shown = [], 4

    def values(self) -> tuple[list[int], int]:
        return self.__hidden, self.shown


CONTAINERS: dict[str, tuple[Any, Any]] = {
    "list": ([1, [2]], lambda one: (one[1].append(3), one.reverse())),
    "dict": ({"a": {"b": 1}}, lambda one: (one["a"].clear(), one.update(c=2))),
    "ordered": (OrderedDict(a=1, b=2), lambda one: (one.move_to_end("a"), one.popitem())),
    "default": (defaultdict(list, a=[1]), lambda one: (one["b"].append(1), one["a"].append(2))),
    "set": ({1, 2}, lambda one: (one.add(3), one.discard(1))),
    "deque": (deque([1, 2], maxlen=2), lambda one: one.append(5)),
    "bytes": (bytearray(b"ab"), lambda one: one.extend(b"c")),
    "tuple": (([1],), lambda one: one[0].append(2)),
    "array": (numpy.arange(3.0), lambda one: one.fill(7)),
    "object": (Thing(a=[1], b=2), lambda one: (one.a.append(1), one.__dict__.update(b=3, c=4))),
    "slots": (Slotted(), lambda one: one.change()),
}


def shown(thing: Any) -> str:
    if isinstance(thing, Slotted):
        return repr(thing.values())
    return repr(vars(thing)) if isinstance(thing, Thing) else repr(thing)


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("within", [False, True])
def test_containers_and_objects(name: str, within: bool) -> None:
    thing, change = CONTAINERS[name]
    root = nn.Linear(1, 1) if within else thing
    if within:
        root.part = Thing(inner=[thing])  # type: ignore[assignment]
    before = shown(thing)
    note = Memento([root])
    for _ in range(2):
        change(thing)
        assert shown(thing) != before
        note.put_back()
        assert shown(thing) == before


def test_generators() -> None:
    own: tuple[Any, ...] = (
        torch.Generator().manual_seed(1), random.Random(2), numpy.random.default_rng(3), numpy.random.RandomState(4)
    )  # fmt: skip

    def draw() -> list[float]:
        return [torch.rand((), generator=own[0]).item(), own[1].random(), own[2].random(), own[3].rand()]

    note = Memento([Thing(own=own)])
    first = draw()
    assert draw() != first
    note.put_back()
    assert draw() == first


def test_tensors() -> None:
    """In place, replaced, resized, of another type, with another gradient; views go on being views."""
    module = nn.BatchNorm1d(3)
    base = torch.arange(6.0)
    module.view, module.wide = base[2:], torch.ones(1).expand(4)  # type: ignore[assignment]
    module.bias.grad = torch.ones(3)
    weight, bias, mean = module.weight, module.bias, module.running_mean
    before = {key: value.clone() for key, value in module.state_dict().items()}
    note = Memento([module])
    for _ in range(2):
        with torch.no_grad():
            weight.fill_(5)
            base.zero_()
            module.wide[0] = 9  # type: ignore[index, operator]
        module.running_mean = torch.zeros(7)
        module.double()
        module.bias.grad = None
        weight.grad = torch.ones(3, dtype=torch.float64)
        weight.requires_grad_(False)
        del module.num_batches_tracked
        note.put_back()
        assert module.weight is weight and module.bias is bias and module.running_mean is mean
        assert weight.grad is None and bias.grad is not None and bias.grad.tolist() == [1, 1, 1]
        assert weight.requires_grad
        assert list(before) == list(module.state_dict())
        for key, value in module.state_dict().items():
            assert value.dtype == before[key].dtype and torch.equal(value, before[key])
        assert base.tolist() == [0, 1, 2, 3, 4, 5] and module.wide.tolist() == [1] * 4  # type: ignore[operator, union-attr]
        assert module.view.data_ptr() == base[2:].data_ptr()  # type: ignore[operator, union-attr]


def test_lazy_layers_wait_for_their_first_batch_again() -> None:
    """They draw their weights then, so that it must happen in the run and not in a trial before it."""
    module = nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())
    note = Memento([module])
    for width in (3, 4):
        module(torch.ones(5, width)).sum().backward()
        assert type(module[0]) is nn.Linear and module[0].weight.shape == (2, width)
        note.put_back()
        assert type(module[0]) is nn.LazyLinear and type(module[1]) is nn.LazyBatchNorm1d


def test_optimizers_forget_what_they_learnt() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

    def step() -> None:
        parameter.sum().backward()
        optimizer.step()
        schedule.step()

    note = Memento([optimizer, schedule])
    step()
    note.put_back()
    assert optimizer.state == {} and optimizer.param_groups[0]["lr"] == 0.1 and schedule.last_epoch == 0
    step()
    kept, rate = optimizer.state[parameter]["exp_avg"].clone(), optimizer.param_groups[0]["lr"]
    note = Memento([optimizer, schedule])
    step()
    note.put_back()
    assert torch.equal(optimizer.state[parameter]["exp_avg"], kept) and optimizer.param_groups[0]["lr"] == rate


def test_what_lives_is_left_alone(tmp_path: Path) -> None:
    """Objects with a lock or a file as a whole, and of modules only those parts."""
    module = nn.Linear(1, 1)
    with (tmp_path / "open").open("w") as file:
        writer = Thing(count=0, lines=Thing(kept=[], lock=threading.Lock()))
        module.writer, module.file, module.count = writer, file, 0  # type: ignore[assignment]
        note = Memento([module])
        writer.count, module.count = 5, 5  # type: ignore[assignment, attr-defined]
        writer.lines.kept.append(1)  # type: ignore[attr-defined]
        note.put_back()
    assert (writer.count, writer.lines.kept, module.count) == (5, [1], 0)  # type: ignore[attr-defined]
    assert writer in note.left and module in note.left


def test_samples_are_not_copied() -> None:
    """Of a data set what is small is noted, and what is large is for reading."""

    class Data(Dataset[Any]):
        def __init__(self) -> None:
            self.large, self.small = torch.zeros(1 << 20), torch.zeros(3)
            self.names: list[Any] = [[0]] * 20_000
            self.array = numpy.zeros(1 << 20)
            self.asked = 0

    data = Data()
    note = Memento([data])
    data.large.fill_(1)
    data.small.fill_(1)
    data.array.fill(1)
    data.names[0].append(1)
    data.names.append(2)
    data.asked = 4
    note.put_back()
    assert data.asked == 0 and data.small.sum() == 0 and len(data.names) == 20_000
    assert data.large.sum() == 1 << 20 and data.array[0] == 1 and data.names[0] == [0, 1]


def test_left_out_and_circles() -> None:
    trainer, module = Thing(count=0), nn.Linear(1, 1)
    own = Thing(trainer=trainer, module=module, count=0)
    own.itself = own  # type: ignore[attr-defined]
    module.own = own  # type: ignore[assignment]
    note = Memento([module], leave=[trainer])
    trainer.count = own.count = 1  # type: ignore[attr-defined]
    note.put_back()
    assert (trainer.count, own.count) == (1, 0)  # type: ignore[attr-defined]


def test_read_only_memory_is_not_written_to(tmp_path: Path) -> None:
    numpy.arange(8, dtype=numpy.float32).tofile(tmp_path / "values")
    mapped = numpy.memmap(tmp_path / "values", dtype=numpy.float32, mode="r")
    pytest.importorskip("torch")
    with pytest.warns(UserWarning, match="not writable"):
        module = Thing(values=torch.from_numpy(mapped), mapped=mapped)
    note = Memento([module])
    note.put_back()
    assert module.values.tolist() == list(range(8))  # type: ignore[attr-defined]
