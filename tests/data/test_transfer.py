from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import pytest
import torch

from fulmen.data import transfer
from fulmen.data.transfer import has_streams, mover, prefetch

META = torch.device("meta")


class Pair(NamedTuple):
    x: Any
    y: Any


class Custom:
    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def to(self, device: torch.device) -> Custom:
        return Custom(self.value.to(device))


def test_nothing_has_to_move_on_the_cpu() -> None:
    assert mover("cpu") is None
    batches = iter([torch.ones(1)])
    assert prefetch(batches, "cpu") is batches


@pytest.mark.parametrize(
    "batch",
    [
        torch.ones(2),
        [torch.ones(2), torch.ones(3)],
        (torch.ones(2), 3, "text"),
        {"x": [torch.ones(2)], "y": Pair(torch.ones(1), None)},
        Pair(torch.ones(1), torch.ones(2)),
        [Custom(torch.ones(2)), torch.ones(1)],
    ],
)
def test_mover_keeps_the_shape_of_a_batch(batch: Any) -> None:
    move = mover(META)
    assert move is not None
    moved = move(batch)
    assert type(moved) is type(batch)

    def devices(value: Any) -> list[str]:
        if isinstance(value, Custom):
            return [value.value.device.type]
        if isinstance(value, torch.Tensor):
            return [value.device.type]
        inner = value.values() if isinstance(value, dict) else value
        return [found for item in inner if not isinstance(item, (str, int, type(None))) for found in devices(item)]

    assert set(devices(moved)) == {"meta"}
    assert set(devices(batch)) == {"cpu"}


def test_a_device_without_streams_gets_its_batches_when_asked() -> None:
    log: list[int] = []

    def batches() -> Iterator[torch.Tensor]:
        for index in range(3):
            log.append(index)
            yield torch.ones(index)

    assert not has_streams(META)
    moved = prefetch(batches(), META)
    assert log == []
    assert next(moved).device.type == "meta" and log == [0]
    assert [tuple(batch.shape) for batch in moved] == [(1,), (2,)]


class Recorder:
    """Stands for a stream and writes down what is asked of it."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: Recorder) -> None:
        self.log.append(f"{self.name} waits for {other.name}")

    def __enter__(self) -> None:
        self.log.append("copy")

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log: list[str] = []
    work = Recorder("work", log)
    monkeypatch.setattr(transfer, "has_streams", lambda device: True)
    monkeypatch.setattr(torch, "Stream", lambda device: Recorder("copies", log))
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: work)
    return log


def test_the_next_batch_is_copied_beside_the_work_on_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    log = recorded(monkeypatch)

    def batches() -> Iterator[torch.Tensor]:
        for index in range(3):
            log.append(f"read {index}")
            yield torch.ones(index)

    for index, batch in enumerate(prefetch(batches(), META)):
        assert batch.device.type == "meta" and len(batch) == index
        log.append(f"step {index}")
    copy = ["copies waits for work", "copy"]
    assert log == [
        *["read 0", *copy],
        *["work waits for copies", "read 1", *copy, "step 0"],
        *["work waits for copies", "read 2", *copy, "step 1"],
        *["work waits for copies", "step 2"],
    ]


def test_nothing_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    log = recorded(monkeypatch)
    assert list(prefetch(iter(()), META)) == [] == log


@contextmanager
def without_synchronization(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def busy(device: torch.device) -> Iterator[torch.Tensor]:
    """Keeps a device at work, so that copies come due while it computes."""
    weight = torch.ones(1024, 1024, device=device)
    while True:
        for _ in range(20):
            weight = weight @ weight * 1e-3
        yield weight


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
@pytest.mark.parametrize("pinned", [False, True])
def test_batches_arrive_whole_and_nobody_waits_for_them(pinned: bool) -> None:
    device = torch.accelerator.current_accelerator()
    assert device is not None
    rows = [torch.full((1 << 20,), float(index)) for index in range(12)]
    rows = [row.pin_memory() for row in rows] if pinned else rows
    work, found = busy(device), []
    next(work)
    with without_synchronization(device):
        for x, y in prefetch(([row, -row] for row in rows), device):
            next(work)
            found.append(torch.stack([x.min(), x.max(), y.min(), y.max()]))
            del x, y
    assert [one.tolist() for one in found] == [[i, i, -i, -i] for i in range(12)]


@pytest.mark.gpu
def test_objects_with_tensors_inside_arrive_whole() -> None:
    device = torch.accelerator.current_accelerator()
    assert device is not None
    work, found = busy(device), []
    for custom in prefetch((Custom(torch.full((1 << 20,), float(index))) for index in range(12)), device):
        next(work)
        found.append(torch.stack([custom.value.min(), custom.value.max()]))
    assert [one.tolist() for one in found] == [[i, i] for i in range(12)]


@pytest.mark.gpu
def test_sparse_and_moved_tensors_are_taken_as_they_are() -> None:
    device = torch.accelerator.current_accelerator()
    assert device is not None
    batches = [[torch.eye(3).to_sparse(), torch.ones(2, device=device)]]
    sparse, there = next(prefetch(iter(batches), device))
    assert sparse.device.type == there.device.type == device.type
    assert there is batches[0][1]
