from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fulmen.profilers.passthrough import PassThroughProfiler
from fulmen.profilers.profiler import Profiler
from fulmen.utilities.rank_zero import rank_zero_only
from fulmen.utilities.states import TrainerFn


class Noting(Profiler):
    """Written as a user would, without a call of `super().__init__`."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def start(self, action_name: str) -> None:
        self.events.append(f"start {action_name}")

    def stop(self, action_name: str) -> None:
        self.events.append(f"stop {action_name}")

    def summary(self) -> str:
        return f"{self._title}: {len(self.events)} events"


def test_profile_starts_and_stops() -> None:
    profiler = Noting()
    with profiler.profile("a") as name:
        profiler.events.append("inside")
    assert name == "a"
    assert profiler.events == ["start a", "inside", "stop a"]


def test_profile_stops_after_an_exception() -> None:
    profiler = Noting()
    with pytest.raises(KeyError), profiler.profile("a"):
        raise KeyError
    assert profiler.events == ["start a", "stop a"]


def test_profile_stops_only_what_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    profiler = Noting()

    def refuse(action_name: str) -> None:
        raise ValueError(action_name)

    monkeypatch.setattr(profiler, "start", refuse)
    with pytest.raises(ValueError, match="a"), profiler.profile("a"):
        pass
    assert profiler.events == []


def test_start_and_stop_must_be_defined() -> None:
    with pytest.raises(TypeError, match="start"):
        Profiler()  # type: ignore[abstract]


@pytest.mark.parametrize(("rank", "shown"), [(0, "FIT Profiler Report: 0 events\n"), (1, "")])
def test_describe_prints_on_rank_0(
    rank: int, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", rank, raising=False)
    profiler = Noting()
    profiler.setup("fit", rank, None)
    profiler.describe()
    assert capsys.readouterr().out == shown
    assert profiler.local_rank == rank


@pytest.mark.parametrize("rank", [None, 1])
@pytest.mark.parametrize("dirpath", [None, "given"])
def test_describe_saves_on_every_rank(
    tmp_path: Path, rank: int | None, dirpath: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", rank or 0, raising=False)
    profiler = Noting()
    profiler.filename = "mine"
    profiler.dirpath = None if dirpath is None else tmp_path / dirpath
    profiler.setup(TrainerFn.TESTING, rank, str(tmp_path / "logs"))
    profiler.describe()
    folder = tmp_path / (dirpath or "logs")
    name = "test-mine.txt" if rank is None else "test-mine-1.txt"
    assert os.listdir(folder) == [name]
    assert (folder / name).read_text() == "TEST Profiler Report: 0 events"


def test_describe_saves_at_a_remote_address() -> None:
    fsspec = pytest.importorskip("fsspec")
    profiler = Noting()
    profiler.filename, profiler.dirpath = "mine", "memory://reports/deep"
    profiler.describe()
    with fsspec.open("memory://reports/deep/mine.txt", "r") as file:
        assert file.read() == "Profiler Report: 0 events"


def test_no_report_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profiler = PassThroughProfiler(dirpath=tmp_path / "logs", filename="mine")
    profiler.setup("fit")
    with profiler.profile("a") as name:
        pass
    profiler.describe()
    profiler.teardown("fit")
    assert name == "a"
    assert not os.listdir(tmp_path)
    assert capsys.readouterr().out == ""


def test_the_package_is_lazy() -> None:
    import subprocess

    code = "import sys, fulmen.profilers as p; assert 'fulmen.profilers.simple' not in sys.modules; print(p.__all__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = ["AdvancedProfiler", "PassThroughProfiler", "Profiler", "PyTorchProfiler", "SimpleProfiler"]
    assert shown.strip() == str(sorted(names))
