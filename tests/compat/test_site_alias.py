"""Packages under Lightning's names in an environment: found by all who look for them, and gone without a trace."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.compat.kill_at_every_step import tree

from fulmen.cli.command import main
from fulmen.compat import alias_command, site_alias
from fulmen.compat.site_alias import install, look, remove
from fulmen.utilities.exceptions import MisconfigurationException

SOAK = os.environ.get("FULMEN_SOAK") == "1"
CHECK = """
import importlib.metadata as metadata, importlib.util, multiprocessing, pickle, pkgutil, sys


def child(kind):
    import pytorch_lightning
    assert type(kind) is pytorch_lightning.utilities.GradClipAlgorithmType
    sys.exit(7)


def main():
    for name in ("lightning", "pytorch-lightning", "pytorch_lightning", "lightning-fabric"):
        assert metadata.version(name) == "2.6.6", name
    found = metadata.distribution("pytorch-lightning")
    assert found.requires == ["fulmen"] and found.read_text("INSTALLER").strip() == "fulmen"
    assert {"pytorch_lightning/__init__.py"} == {str(path) for path in found.files if "dist-info" not in str(path)}
    assert all(path.locate().is_file() for path in found.files)
    assert found.read_text("top_level.txt").split() == ["pytorch_lightning"]
    assert importlib.util.find_spec("lightning.pytorch.callbacks.timer") is not None
    assert importlib.util.find_spec("lightning.pytorch.callbacks.time") is None

    import lightning, lightning_fabric, pytorch_lightning

    from fulmen.utilities.enums import GradClipAlgorithmType, LightningEnum

    names = [item.metadata["Name"] for item in metadata.distributions() if "lightning" in item.name]
    assert names.count("lightning") == 1, names
    for package in (lightning, lightning_fabric, pytorch_lightning):
        assert package.__version__ == "2.6.6" and TARGET in package.__file__, package.__file__
        inner = "lightning.pytorch" if package is lightning else package.__name__
        assert pkgutil.resolve_name(f"{inner}.utilities.enums:LightningEnum") is LightningEnum
    assert pickle.loads(b"cpytorch_lightning.utilities.enums\\nLightningEnum\\n.") is LightningEnum
    assert lightning.pytorch.utilities.LightningEnum is LightningEnum
    kind = GradClipAlgorithmType("norm")
    process = multiprocessing.get_context("spawn").Process(target=child, args=(kind,))
    process.start()
    process.join()
    assert process.exitcode == 7


if __name__ == "__main__":
    main()
"""


def run(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **variables}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=300, env=env, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder of packages with one of Lightning's, and one that has nothing to do with it."""
    folder = tmp_path / "packages"
    for name, text in {
        "pytorch_lightning/__init__.py": "real",
        "pytorch_lightning/__pycache__/__init__.cpython-311.pyc": "compiled",
        "pytorch_lightning-2.5.1.dist-info/METADATA": "Name: pytorch-lightning\nVersion: 2.5.1\n",
        "pytorch_lightning-2.5.1.dist-info/INSTALLER": "pip\n",
        "pytorch_lightning_bolts-0.7.dist-info/METADATA": "Name: pytorch-lightning-bolts\nVersion: 0.7\n",
        "other/__init__.py": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_everything_that_looks_for_the_packages_finds_them(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    assert install(folder) == []
    script = tmp_path / "script.py"
    script.write_text(f"TARGET = {str(folder)!r}\n{CHECK}")
    ran = run(script, PYTHONPATH=os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (folder / "pytorch_lightning" / "__pycache__").is_dir()  # Python has been here
    assert remove(folder) == []
    assert tree(folder) == {}


def test_records_are_those_of_a_wheel(tmp_path: Path) -> None:
    install(tmp_path)
    for one in look(tmp_path):
        (record,) = tmp_path.glob(f"{one.distribution.replace('-', '_')}-*.dist-info/RECORD")
        rows = list(csv.reader(record.read_text().splitlines()))
        for path, digest, size in rows:
            content = (tmp_path / path).read_bytes()
            if path != record.relative_to(tmp_path).as_posix():
                whole = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
                assert (digest, size) == (f"sha256={whole}", str(len(content)))
        there = {path for name in one.folders for path in tree(tmp_path) if path.startswith(f"{name}/")}
        assert {path for path, _, _ in rows} == there


def test_nothing_is_replaced_without_consent(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(real)
    with pytest.raises(SystemExit) as ended:
        main(["alias", "install", "--target", str(real)])
    said = capsys.readouterr().err
    assert ended.value.code == 1 and tree(real) == before
    assert "pytorch-lightning  2.5.1      Lightning's own" in said
    assert "Received: pytorch-lightning 2.5.1\nWhat to do: `fulmen alias install --replace`" in said


def test_what_is_replaced_comes_back(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(real)
    main(["alias", "install", "--replace", "--target", str(real)])
    said = capsys.readouterr().out
    assert "Kept aside: pytorch_lightning, pytorch_lightning-2.5.1.dist-info" in said
    assert [one.kind for one in look(real)] == ["ours"] * 3 and "other" in tree(real)
    main(["alias", "status", "--target", str(real)])
    assert "kept aside: pytorch_lightning-2.5.1.dist-info; `fulmen alias remove` puts back" in capsys.readouterr().out
    main(["alias", "install", "--target", str(real)])  # there is nothing to do
    main(["alias", "remove", "--target", str(real)])
    assert "Put back: pytorch_lightning, pytorch_lightning-2.5.1.dist-info" in capsys.readouterr().out
    assert tree(real) == before
    main(["alias", "remove", "--target", str(real)])
    assert tree(real) == before


def test_nothing_is_lost_when_it_is_killed_at_any_step() -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as work:
        ran = run(Path(__file__).with_name("kill_at_every_step.py"), work)
    assert ran.returncode == 0, ran.stderr
    assert all(int(steps) >= 9 for steps in ran.stdout.split()) and len(ran.stdout.split()) == 4


def test_a_part_that_pip_took_out_is_put_back_by_install(real: Path) -> None:
    before = tree(real)
    install(real, replace=True)
    for name in next(one.folders for one in look(real) if one.distribution == "pytorch-lightning"):
        shutil.rmtree(real / name)  # as `pip uninstall pytorch-lightning` does
    assert [one.kind for one in look(real)] == ["ours", "nothing", "ours"]
    install(real)
    assert [one.kind for one in look(real)] == ["ours"] * 3
    remove(real)
    assert tree(real) == before


def test_what_others_put_there_is_not_removed(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "lightning" / "mine.py").write_text("")
    with pytest.raises(MisconfigurationException, match=r"lightning/mine\.py[\s\S]*Move these files elsewhere"):
        remove(tmp_path)
    assert (tmp_path / "lightning" / "__init__.py").is_file()


@pytest.mark.parametrize("action", [remove, lambda folder: install(folder, replace=True)])
def test_what_was_kept_goes_back_only_where_its_place_is_free(real: Path, action: Callable[[Path], object]) -> None:
    install(real, replace=True)
    for name in ("pytorch_lightning", "pytorch_lightning-2.6.6.dist-info"):
        shutil.rmtree(real / name)
    (real / "pytorch_lightning").mkdir()  # another one has been installed since
    before = tree(real)
    with pytest.raises(MisconfigurationException, match=r"Uninstall the packages that are there now, or delete"):
        action(real)
    assert tree(real) == before


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(site_alias, "_write", refuse)
    with pytest.raises(SystemExit):
        main(["alias", "install", "--target", str(tmp_path)])
    assert "What to do: Use an environment of your own" in capsys.readouterr().err


def test_others_that_come_first_would_hide_it(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "later"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(real), str(folder)])
    with pytest.raises(MisconfigurationException, match=r"pytorch-lightning 2\.5\.1 in [\s\S]*Uninstall those"):
        alias_command._refuse_hidden(folder)
    monkeypatch.setattr(sys, "path", [str(folder), str(real)])
    alias_command._refuse_hidden(folder)


def test_others_that_come_later_are_hidden_only_with_consent(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, checkout = tmp_path / "environment", tmp_path / "checkout"
    (checkout / "lightning").mkdir(parents=True)
    (checkout / "lightning" / "__init__.py").touch()
    (folder / "other").mkdir(parents=True)
    (checkout / "lightning_fabric").mkdir()  # some folder: no package
    rest = [place for place in sys.path if not alias_command._elsewhere([place])]
    monkeypatch.setattr(sys, "path", [*rest, str(folder), str(real), str(checkout), str(real)])
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"purelib": str(folder)})
    before = tree(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["alias", "install"])
    said = capsys.readouterr().err
    assert ended.value.code == 1 and tree(tmp_path) == before
    assert f"Received: pytorch-lightning 2.5.1 in {real}, lightning in {checkout}\nWhat to do: `fulmen alias" in said
    assert "--replace` keeps them aside, hides those in other folders, and `fulmen alias remove`" in said
    main(["alias", "install", "--replace"])
    shown = f"  pytorch-lightning  2.5.1      Lightning's own, in {real}"
    assert f"{shown}, hidden\n" in capsys.readouterr().out
    assert [one.kind for one in look(folder)] == ["ours"] * 3
    main(["alias", "install"])  # there is nothing to do
    main(["alias", "remove"])
    assert tree(tmp_path) == before
    capsys.readouterr()
    main(["alias", "status"])
    assert f"{shown}\n" in capsys.readouterr().out
    monkeypatch.setattr(sys, "path", [*rest, str(real), str(folder)])
    main(["alias", "status"])  # so is what comes before
    assert f"{shown}\n" in capsys.readouterr().out


def test_words_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["alias", "instal"])
    assert ended.value.code == 2 and "invalid choice: 'instal'" in capsys.readouterr().err


@pytest.mark.skipif(not SOAK, reason="makes an environment with pip: FULMEN_SOAK=1")
def test_a_real_environment_and_its_pip(tmp_path: Path) -> None:
    home = tmp_path / "venv"
    assert run("-m", "venv", home).returncode == 0
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    (packages,) = home.glob("lib/python*/site-packages")
    import torch

    import fulmen

    source, others = Path(fulmen.__file__).parents[1], Path(torch.__file__).parents[1]
    (packages / "borrowed.pth").write_text(f"{source}\n")

    def inside(*words: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run([python, *words], capture_output=True, text=True, timeout=300, env=clean)

    info = packages / "fulmen-0.1.0.dist-info"  # as an installed Fulmen has
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fulmen\nVersion: 0.1.0\n")
    before = tree(packages)
    ran = inside("-m", "fulmen", "alias", "install")
    assert ran.returncode == 0, ran.stderr
    shown = inside("-m", "pip", "show", "-f", "pytorch-lightning").stdout
    assert "Version: 2.6.6" in shown and "pytorch_lightning/__init__.py" in shown
    assert "lightning-fabric" in inside("-m", "pip", "list").stdout
    assert "No broken requirements" in inside("-m", "pip", "check").stdout
    (packages / "borrowed.pth").write_text(f"{source}\n{others}\n")
    ran = inside("-c", "import pytorch_lightning, lightning.pytorch as pl; print(pl.Trainer.__module__)")
    assert (ran.stdout, ran.stderr) == ("fulmen.trainer.trainer\n", "")
    (packages / "borrowed.pth").write_text(f"{source}\n")
    ran = inside("-m", "pip", "uninstall", "-y", "pytorch-lightning")
    assert ran.returncode == 0, ran.stderr
    assert not (packages / "pytorch_lightning").exists() and "nothing" not in ran.stdout
    assert inside("-m", "fulmen", "alias", "install").returncode == 0
    assert inside("-m", "fulmen", "alias", "remove").returncode == 0
    after = tree(packages)
    compiled = {path for path in after if "__pycache__" in path} - {path for path in before if "__pycache__" in path}
    assert {path: digest for path, digest in after.items() if path not in compiled} == before
