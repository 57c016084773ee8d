"""The command `fulmen`: any module by its class path, also of the current folder; what is said without the extra."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from tests import warm

from fulmen.cli import command

from .runs import QUIET

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
MODULE = (Path(__file__).parent / "models.py").read_text()


def test_trains_what_lies_in_the_folder(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine_for_tests.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    words = ["fit", "--model", "mine_for_tests.Net", "--data=mine_for_tests.Data", "--model.width", "6", *QUIET]
    try:
        command.main(words)
        (path,) = Path("run").rglob("*.ckpt")
        with pytest.raises(SystemExit) as end:
            command.main([*words, "--print_config=skip_default"])
        assert end.value.code == 0
        printed = capsys.readouterr().out
        Path("saved.yaml").write_text(printed)
        command.main(["test", "--config=saved.yaml", f"--ckpt_path={path}", "--trainer.default_root_dir=tested"])
        assert "test_loss" in capsys.readouterr().out
    finally:
        sys.modules.pop("mine_for_tests", None)
    assert "class_path: mine_for_tests.Net" in printed and "width: 6" in printed


def test_as_a_process() -> None:
    """A fresh one: `python -m fulmen`, with a mistake, without a traceback."""
    Path("mine_for_tests.py").write_text(MODULE)
    words = [sys.executable, "-m", "fulmen", "fit", "--model=mine_for_tests.Net", "--data=mine_for_tests.Data", *QUIET]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ran = subprocess.run([*words, "--model.widht=3"], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 2 and "Traceback" not in ran.stderr
    assert "fulmen fit: error: `Net` has no argument `widht`." in ran.stderr and "Did you mean `width`?" in ran.stderr


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(words)
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("fit", "validate", "test", "predict", "--config run.yaml"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out.startswith("fulmen ")


def test_a_misspelled_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(["tset"])
    assert end.value.code == 2
    assert "no subcommand `tset`" in (said := capsys.readouterr().err) and "Did you mean `test`?" in said


def test_without_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "available", lambda package: False)
    with pytest.raises(SystemExit) as end:
        command.main(["fit"])
    assert end.value.code == 2
    assert 'pip install "fulmen[cli]"' in capsys.readouterr().err


def test_without_the_extra_the_package_is_there() -> None:
    """`import fulmen.cli` works; its names say what is missing."""
    code = """
import sys
sys.modules["jsonargparse"] = None
import fulmen.cli
try:
    fulmen.cli.LightningCLI
except ModuleNotFoundError as error:
    print(error)
"""
    ran = warm.run(code, cwd=Path.cwd())
    assert ran.returncode == 0, ran.stderr
    assert "pip install fulmen[cli]" in ran.stdout


def test_others_are_run_beside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[list[str]] = []
    monkeypatch.setitem(command.OTHERS, "greet", ("says hello", lambda words: heard.append(list(words))))
    command.main(["greet", "--loud"])
    assert heard == [["--loud"]]
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "says hello" in capsys.readouterr().out


def test_the_script_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["fulmen"] == f"{command.__name__}:{command.main.__name__}"
