"""Whether processes see the same files, with threads that agree as processes do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.utilities import distributed
from fulmen.utilities.distributed import is_shared_filesystem


class Meeting:
    """What the processes have told each other."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=20)
        self.told: dict[int, Any] = {}


class Rank(SingleDeviceStrategy):
    def __init__(self, rank: int, meeting: Meeting) -> None:
        super().__init__()
        self.global_rank, self.world_size, self.meeting = rank, 2, meeting

    def _exchange(self, value: Any) -> dict[int, Any]:
        self.meeting.told[self.global_rank] = value
        self.meeting.barrier.wait()
        told = dict(self.meeting.told)
        self.meeting.barrier.wait()
        return told

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return self._exchange(obj)[src]

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        self._exchange(None)

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        return min(self._exchange(decision).values())


def ask(path_of: Callable[[int], Any], **options: Any) -> list[Any]:
    meeting = Meeting(2)

    def one(rank: int) -> Any:
        try:
            return is_shared_filesystem(Rank(rank, meeting), path_of(rank), **options)
        except FileNotFoundError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(2)))


def test_one_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert ask(lambda rank: tmp_path) == ask(lambda rank: tmp_path / "file") == ask(lambda rank: None) == [True, True]
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_two_folders(tmp_path: Path) -> None:
    for name in "01":
        (tmp_path / name).mkdir()
    assert ask(lambda rank: tmp_path / str(rank)) == [False, False]


def test_a_file_that_gets_to_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(distributed, "_appears", lambda path, timeout: next(answers))
    assert ask(lambda rank: tmp_path) == [False, False]
    assert not list(tmp_path.iterdir())


def test_a_file_that_never_comes(tmp_path: Path) -> None:
    assert not distributed._appears(str(tmp_path / "nothing"), 0.1)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    found = ask(lambda rank: tmp_path / "nothing")
    assert all("make the folder on each machine" in text for text in found)


@pytest.mark.parametrize("path", ["/nowhere", None])
def test_one_process_shares_with_itself(path: str | None) -> None:
    assert is_shared_filesystem(SingleDeviceStrategy(), path)


def test_addresses_are_shared() -> None:
    assert is_shared_filesystem(Rank(0, Meeting(2)), "s3://bucket")
