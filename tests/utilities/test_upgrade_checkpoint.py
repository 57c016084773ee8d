"""The command that rewrites old checkpoints, run as a command."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests import warm

import fulmen
from fulmen.cli import command
from fulmen.utilities import upgrade_checkpoint
from fulmen.utilities.codec import decode_checkpoint
from fulmen.utilities.migration.utils import CURRENT
from fulmen.utilities.seal import check_seal

from .migration.old import checkpoint, loops
from .nested import save_nested


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
    code = "import runpy; runpy.run_module('fulmen.utilities.upgrade_checkpoint', run_name='__main__')"
    done = warm.run(code, str(old), cwd=old.parent)
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


def test_no_file_stops_the_others(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_nested(checkpoint("1.5.0"), "hyper_parameters", old.parent / "a_deep.ckpt")
    torch.save(checkpoint("1.5.0") | {"callbacks": 3}, old.parent / "b_odd.ckpt")
    before = {path.name: path.read_bytes() for path in old.parent.glob("*_*")}
    assert run(monkeypatch, old.parent) == 1
    shown = capsys.readouterr().err
    assert "a_deep.ckpt: left as it is" in shown and "Received: `hyper_parameters`, which is nested deeper" in shown
    assert "b_odd.ckpt: left as it is" in shown and "Received: AttributeError: 'int' object" in shown
    assert "What to do: If the file is not yours, leave it." in shown and "What to do: Leave the file out" in shown
    assert {path.name: path.read_bytes() for path in old.parent.glob("*_*")} == before
    assert torch.load(old)["pytorch-lightning_version"] == CURRENT


def test_files_of_another_kind(old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No other file of the folder is offered in their place, nor in that of a damaged one."""
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (old.parent / "tensors.ckpt").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (old.parent / "plain.ckpt").write_bytes(pickle.dumps({"state_dict": {}}))
    (old.parent / "torn.ckpt").write_bytes(old.read_bytes()[:-99])
    assert run(monkeypatch, old.parent) == 1
    shown = capsys.readouterr().err
    assert "a safetensors file" in shown and "model.load_state_dict(safetensors.torch.load_file(path))" in shown
    assert "a plain pickle" in shown and "read it with `pickle.load`" in shown
    assert "What to do: Put a whole copy of it in its place" in shown
    assert "weights_only" not in shown and "Load the newest" not in shown


@pytest.mark.skipif(os.name == "nt", reason="has no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o444, 0o664])
@pytest.mark.parametrize("linked", [True, False])
def test_nobody_can_read_more_than_before(old: Path, mode: int, linked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no time; also where a killed process has left something."""
    seen: list[int] = []

    def look(*_: Any) -> None:
        seen.extend(stat.S_IMODE(path.stat().st_mode) for path in old.parent.iterdir() if path != old)

    if not linked:
        monkeypatch.setattr(os, "link", lambda *_: os.open(old.parent / "none" / "none", os.O_RDONLY))
    monkeypatch.setattr(os, "fsync", look)
    monkeypatch.setattr(upgrade_checkpoint.shutil, "copystat", look)
    (old.parent / ".old.ckpt.part").touch(0o666)
    old.chmod(mode)
    assert run(monkeypatch, old) == 0
    assert seen and set(seen) <= {0o600, mode}
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in old.parent.iterdir()} == {
        "old.ckpt": mode,
        "old.ckpt.bak": mode,
    }


@pytest.mark.skipif(os.name == "nt", reason="has no groups")
def test_a_group_that_cannot_be_kept_gets_no_more_than_all(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    for mode, kept in ((0o640, 0o600), (0o664, 0o644)):
        torch.save(checkpoint("1.5.0", loops=loops()), old)
        old.chmod(mode)
        assert run(monkeypatch, "--no-backup", old) == 0
        assert stat.S_IMODE(old.stat().st_mode) == kept


def test_links_stay_links(old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What they lead to is rewritten once; outside of a folder only where a link itself is named."""
    before, folder = old.read_bytes(), old.parent / "folder"
    folder.mkdir()
    (folder / "zz.ckpt").write_bytes(before)
    links = {"last.ckpt": "zz.ckpt", "away.ckpt": "../old.ckpt"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    assert run(monkeypatch, folder) == 0
    shown = capsys.readouterr().out
    assert shown.count("upgraded from") == 1 and "zz.ckpt: upgraded from the layout of 1.5.0" in shown
    assert f"away.ckpt: left as it is, since it leads out of the folder, to {old.resolve()}" in shown
    assert "What to do: name the file itself" in shown
    assert (folder / "zz.ckpt.bak").read_bytes() == before == old.read_bytes()
    assert run(monkeypatch, folder / "away.ckpt") == 0
    assert (old.parent / "old.ckpt.bak").read_bytes() == before
    assert {path.name: os.readlink(path) for path in folder.iterdir() if path.is_symlink()} == links
    assert (
        torch.load(old)["pytorch-lightning_version"]
        == CURRENT
        == torch.load(folder / "zz.ckpt")["pytorch-lightning_version"]
    )
    assert len(list(folder.iterdir())) == 4


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


def test_as_a_subcommand(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several paths at once, and no originals where nobody wants them."""
    folder = old.parent / "more"
    folder.mkdir()
    (folder / "b.ckpt").write_bytes(old.read_bytes())
    command.main(["upgrade-checkpoint", "--no-backup", str(old), str(folder)])
    assert capsys.readouterr().out.count("upgraded from the layout of 1.5.0 to that of") == 2
    assert sorted(path.name for path in old.parent.rglob("*.*")) == ["b.ckpt", "old.ckpt"]
    with pytest.raises(SystemExit) as end:
        command.main(["upgrade-checkpoint", str(old), str(folder / "nothing.ckpt")])
    assert end.value.code == 1


def test_a_file_system_without_links(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old.read_bytes()

    def refuse(*_: Any) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert run(monkeypatch, old) == 0
    assert (old.parent / "old.ckpt.bak").read_bytes() == before


def test_classes_that_are_gone_stay_in_the_file(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As data; the file can be read without them, before and after."""
    home = ModuleType("somebodys_old_project")
    home.Config = type("Config", (), {"__module__": home.__name__})  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, home.__name__, home)
        torch.save(checkpoint("1.5.0", loops=loops()) | {"hyper_parameters": {"config": home.Config()}}, old)
    with pytest.warns(UserWarning, match="somebodys_old_project"):
        upgrade_checkpoint.command([str(old)])
    assert "kept as data" in capsys.readouterr().out
    made = decode_checkpoint(torch.load(old, weights_only=True))
    assert "somebodys_old_project:Config" in repr(made["hyper_parameters"]["config"])


@pytest.mark.soak
@pytest.mark.parametrize("keep", [True, False])
def test_a_kill_loses_nothing(old: Path, keep: bool) -> None:
    """Of a process that dies at each step of the writing, the old file or the new one is there, whole."""
    code = (
        "import os, sys; from fulmen.utilities import upgrade_checkpoint as u\n"
        "name, words = sys.argv[1], sys.argv[2:]\n"
        "setattr(os, name, lambda *_: os._exit(9))\n"
        "u.command(words)"
    )
    before = old.read_bytes()
    for name in ("fsync", "link", "replace"):
        words = [str(old)] if keep else ["--no-backup", str(old)]
        done = subprocess.run(
            [sys.executable, "-c", code, name, *words],
            env={**os.environ, "PYTHONPATH": str(Path(fulmen.__file__).parents[1])},
        )
        assert done.returncode == (0 if name == "link" and not keep else 9)
        if done.returncode:
            assert old.read_bytes() == before
        else:
            break
