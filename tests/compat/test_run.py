"""``fulmen run``: the program is the one that was asked for, and what it starts has Lightning's names as well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fulmen.compat.paths import PACKAGES
from fulmen.compat.startup import sitecustomize

SOAK = os.environ.get("FULMEN_SOAK") == "1"
RUN = (sys.executable, "-m", "fulmen", "run")
SERVED = "import sys; print(int(any(type(finder).__name__ == 'OnDemand' for finder in sys.meta_path)))"


def run(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *words], capture_output=True, text=True, timeout=200, **options)  # type: ignore[call-overload, no-any-return]


CHILDREN = f"""
import json, os, subprocess, sys

import helper, paths  # of this folder: Fulmen's own modules of these names are not in the way
import sitecustomize

served = {SERVED!r}
assert not any(name.startswith("fulmen") for name in sys.modules), "paid for without having asked"


def child(*words, **options):
    return subprocess.run([sys.executable, *words, "-c", served], capture_output=True, text=True, **options).stdout


print(json.dumps({{
    "argv": sys.argv,
    "children": [child(), child(env=dict(os.environ)), child("-u")],
    "limits": [child("-I"), child("-E"), child("-S"), child(env={{"PATH": os.environ["PATH"]}})],
    "path": sys.path[0],
    "stdin": sys.stdin.read(),
    "mine": [helper.NAME, paths.NAME, sitecustomize.__file__],
}}))
import lightning.pytorch
assert lightning.pytorch.__version__ == "2.6.6"
sys.exit(3)
"""


def test_the_program_and_what_it_starts(tmp_path: Path) -> None:
    """Those processes that do not inherit the environment have nothing of it; the help says so."""
    script = tmp_path / "script.py"
    script.write_text(CHILDREN)
    (tmp_path / "helper.py").write_text("NAME = 'helper'\n")
    (tmp_path / "paths.py").write_text("NAME = 'paths'\n")
    ran = run(script, "--lr", "0.1", input="typed\n")
    assert (ran.returncode, ran.stderr) == (3, "")
    said = json.loads(ran.stdout)
    assert said["argv"] == [str(script), "--lr", "0.1"] and said["path"] == str(tmp_path)
    assert said["children"] == ["1\n"] * 3 and said["limits"] == ["0\n"] * 4
    assert said["stdin"] == "typed\n" and said["mine"] == ["helper", "paths", sitecustomize.__file__]


def test_one_line_of_code() -> None:
    ran = run(
        "-c", "import sys, importlib.metadata as m; print(sys.argv, m.version('lightning')); sys.exit('bad')", "x"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "['-c', 'x'] 2.6.6\n", "bad\n")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_program_itself(tmp_path: Path, number: signal.Signals) -> None:
    lines = "import time\ntry: print('ready', flush=True); time.sleep(60)\nfinally: print('cleaned', flush=True)"
    process = subprocess.Popen([*RUN, "-c", lines], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == -number
    assert said == ("cleaned\n" if number == signal.SIGINT else "")  # as with Python alone


def test_a_command_that_is_no_file_here(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "mycommand"
    command.parent.mkdir()
    command.write_text(f'#!{sys.executable}\nimport sys\nprint(sys.argv[1:])\nexec("""{SERVED}""")\n')
    command.chmod(0o755)
    env = {**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    ran = run("mycommand", "a", env=env, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "['a']\n1\n")
    (tmp_path / "mycommand").write_text("print('the file')")
    assert run("mycommand", env=env, cwd=tmp_path).stdout == "the file\n"
    lost = run("nothing_of_the_kind.py", cwd=tmp_path)
    assert lost.returncode == 2 and "can't open file" in lost.stderr


def test_the_names_that_are_waited_for() -> None:
    assert sitecustomize.PACKAGES == PACKAGES


@pytest.mark.skipif(not SOAK, reason="starts many processes that import torch: FULMEN_SOAK=1")
def test_launchers_workers_and_runners_of_tests(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\nimport pytorch_lightning as pl\n\n\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_it(n):\n    assert pl.Trainer.__module__ == 'fulmen.trainer.trainer'\n"
    )
    for words in (["-m", "pytest"], ["-m", "pytest", "-n", "2"], ["pytest", "-n", "2"]):
        ran = run(*words, "-q", "-p", "no:cacheprovider", cwd=tmp_path)
        assert ran.returncode == 0 and "2 passed" in ran.stdout, ran.stdout + ran.stderr
    (tmp_path / "ranks.py").write_text(
        "import os\nimport lightning.pytorch as pl\nprint(os.environ['RANK'], pl.seed_everything.__module__)\n"
    )
    for words in (["-m", "torch.distributed.run"], ["torchrun"]):
        ran = run(*words, "--standalone", "--nproc_per_node=2", "ranks.py", cwd=tmp_path)
        assert sorted(ran.stdout.splitlines()) == ["0 fulmen.utilities.seed", "1 fulmen.utilities.seed"], ran.stderr
    (tmp_path / "workers.py").write_text(
        "from torch.utils.data import DataLoader, Dataset\n\n\n"
        "class Asks(Dataset):\n"
        "    def __len__(self):\n        return 4\n\n"
        "    def __getitem__(self, index):\n"
        "        import lightning.pytorch as pl\n"
        "        return int(pl.seed_everything.__module__ == 'fulmen.utilities.seed')\n\n\n"
        "if __name__ == '__main__':\n"
        "    for way in ('spawn', 'fork'):\n"
        "        loader = DataLoader(Asks(), 2, num_workers=2, multiprocessing_context=way)\n"
        "        print(way, [batch.tolist() for batch in loader])\n"
    )
    ran = run("workers.py", cwd=tmp_path)
    assert ran.stdout.splitlines() == ["spawn [[1, 1], [1, 1]]", "fork [[1, 1], [1, 1]]"], ran.stderr
