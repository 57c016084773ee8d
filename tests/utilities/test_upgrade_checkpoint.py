"""The command that rewrites old checkpoints, run as a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen
from fulmen.utilities import upgrade_checkpoint
from fulmen.utilities.migration.utils import CURRENT
from fulmen.utilities.seal import check_seal

from .migration.old import checkpoint, loops


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.ckpt"
    torch.save(checkpoint("1.5.0", loops=loops()), path)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> int:
    monkeypatch.setattr(sys, "argv", ["upgrade_checkpoint", *map(str, arguments)])
    try:
        upgrade_checkpoint.main()
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def test_a_file_is_rewritten_and_kept(old: Path) -> None:
    before = old.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "fulmen.utilities.upgrade_checkpoint", str(old)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(fulmen.__file__).parents[1])},
    )
    assert done.returncode == 0 and "the original is old.ckpt.bak" in done.stdout, done.stderr
    assert (old.parent / "old.ckpt.bak").read_bytes() == before
    made = torch.load(old, weights_only=True)
    assert made["pytorch-lightning_version"] == CURRENT and made["legacy_pytorch-lightning_version"] == "1.5.0"
    with open(old, "rb") as file:
        seal = check_seal(file)
    assert seal is not None and seal.resumable and seal.step == 10


def test_originals_are_never_lost(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old.read_bytes()
    (old.parent / "old.ckpt.bak").write_bytes(b"somebody's")
    assert [run(monkeypatch, old) for _ in range(3)] == [0, 0, 0]
    assert (old.parent / "old.ckpt.bak").read_bytes() == b"somebody's"
    assert (old.parent / "old.ckpt.bak1").read_bytes() == before
    assert len(list(old.parent.iterdir())) == 3


def test_files_in_a_folder(old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (old.parent / "sub").mkdir()
    other, third = old.parent / "sub" / "b.ckpt", old.parent / "c.pt"
    for path in (other, third):
        path.write_bytes(old.read_bytes())
    assert run(monkeypatch, old.parent) == 0
    assert torch.load(other)["pytorch-lightning_version"] == CURRENT
    assert torch.load(third)["pytorch-lightning_version"] == "1.5.0"
    assert run(monkeypatch, old.parent, "--extension", ".pt", "--map-to-cpu") == 0
    assert torch.load(third)["pytorch-lightning_version"] == CURRENT
    assert run(monkeypatch, old.parent) == 0
    assert "has the layout of today" in capsys.readouterr().out


def test_what_cannot_be_rewritten_is_named_and_left(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are rewritten all the same."""
    bad = {"a_torn": old.read_bytes()[:-99], "b_list": None, "c_code": None}
    torch.save([1], old.parent / "b_list.ckpt")
    torch.save(checkpoint("1.5.0", hook=subprocess.Popen), old.parent / "c_code.ckpt")
    (old.parent / "a_torn.ckpt").write_bytes(bad["a_torn"] or b"")
    before = {path.name: path.read_bytes() for path in old.parent.iterdir()}
    assert run(monkeypatch, old.parent) == 1
    shown = capsys.readouterr().err
    for text in ("or it is damaged", "it holds something else", "What to do: If you trust the file, pass `--trust`"):
        assert text in shown
    assert all((old.parent / f"{name}.ckpt").read_bytes() == before[f"{name}.ckpt"] for name in bad)
    assert torch.load(old)["pytorch-lightning_version"] == CURRENT


class Ran:
    """Code in a file: leaves a trace when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.trace)!r}, 'w').close()",)


def test_code_in_a_file_runs_only_where_it_is_trusted(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = old.parent / "trace"
    torch.save(checkpoint("1.5.0", loops=loops()) | {"callbacks": {"x": Ran(trace)}}, old)
    assert run(monkeypatch, old) == 1 and not trace.exists()
    run(monkeypatch, old, "--trust")
    assert trace.exists()


def test_a_path_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path / "nothing") == 1
    assert "pass a checkpoint, or a folder" in capsys.readouterr().err
