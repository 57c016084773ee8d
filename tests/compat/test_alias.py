"""Lightning's import names mean Fulmen where that is asked for, and nowhere else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fulmen.compat.alias import AliasFinder
from fulmen.compat.run import environment

SCRIPT = """
import importlib.metadata, multiprocessing, pickle, subprocess, sys

import lightning
import lightning.pytorch as pl
import pytorch_lightning
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.core.module import LightningModule as Deep
from pytorch_lightning.callbacks.early_stopping import EarlyStopping as Other
import lightning.pytorch.loggers
import pytorch_lightning.core.lightning

import fulmen
import fulmen.callbacks.early_stopping

assert pl.LightningModule is lightning.LightningModule is pytorch_lightning.LightningModule is fulmen.LightningModule
assert Deep is fulmen.LightningModule is pytorch_lightning.core.lightning.LightningModule
assert EarlyStopping is Other is fulmen.callbacks.EarlyStopping
assert sys.modules["pytorch_lightning.callbacks.early_stopping"] is fulmen.callbacks.early_stopping
assert fulmen.callbacks.early_stopping.__name__ == fulmen.callbacks.early_stopping.__spec__.name
assert pl.__version__ == lightning.__version__ == importlib.metadata.version("pytorch_lightning") == "2.6.6"
assert importlib.metadata.version("lightning") == "2.6.6"
assert "pytorch-lightning" in {d.metadata["Name"] for d in importlib.metadata.distributions()}
assert importlib.metadata.version("torch")
assert pickle.loads(pickle.dumps(EarlyStopping)) is EarlyStopping
try:
    import pytorch_lightning.nothing_of_the_kind
except ModuleNotFoundError as error:
    assert "pytorch_lightning.nothing_of_the_kind" in str(error)
else:
    raise AssertionError


def child(queue):
    import pytorch_lightning
    queue.put(pytorch_lightning.Trainer.__module__)


if __name__ == "__main__":
    for way in ("fork", "spawn"):
        context = multiprocessing.get_context(way)
        queue = context.Queue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        assert queue.get(timeout=60) == "fulmen.trainer.trainer", way
        process.join()
    ask = "import pytorch_lightning; print(pytorch_lightning.Trainer.__module__)"
    print(subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.strip())
    print(sys.argv[1:], __file__)
"""


def python(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


def test_a_program_and_its_children(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ran = python("-c", f"from fulmen.compat.run import run; run([{str(script)!r}, 'a', '--b'])")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["fulmen.trainer.trainer", f"['a', '--b'] {script}"]


def test_a_module_and_the_code_that_it_ends_with(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys, lightning\nsys.exit(len(sys.argv))\n")
    ran = python("-c", "from fulmen.compat.run import run; run(['-m', 'mine', 'x'])", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (2, "")


def test_the_first_line_of_a_program() -> None:
    ran = python("-c", "import fulmen.as_lightning, lightning.fabric, lightning_fabric, pytorch_lightning as pl; "
                       "print(pl.Trainer.__module__, lightning_fabric.seed_everything.__module__)")  # fmt: skip
    assert (ran.stdout, ran.stderr) == ("fulmen.trainer.trainer fulmen.utilities.seed\n", "")


def test_too_late() -> None:
    lines = "import sys, types; sys.modules['lightning'] = types.ModuleType('lightning'); import fulmen.as_lightning"
    ran = python("-c", lines)
    assert ran.returncode == 1 and "the first line of the program" in ran.stderr


def test_nothing_is_touched_without_it() -> None:
    lines = (
        "import sys, fulmen; fulmen.LightningModule; "
        "from fulmen.demos.boring_classes import BoringModel; "
        "fulmen.Trainer(fast_dev_run=True, accelerator='cpu', enable_progress_bar=False, enable_model_summary=False)"
        ".fit(BoringModel()); "
        "assert not any('AliasFinder' in repr(finder) for finder in sys.meta_path); "
        "assert [finder for finder in sys.meta_path if type(finder).__module__.startswith('fulmen')] == []; "
        "there = [name for name in sys.modules if name.startswith('fulmen.compat')]; "
        "assert there == ['fulmen.compat', 'fulmen.compat.v1'], there"
    )
    ran = python("-c", lines)
    assert ran.returncode == 0, ran.stderr


def test_it_can_be_taken_back() -> None:
    lines = (
        "import sys; before = list(sys.meta_path); from fulmen.compat import alias; alias.install(); alias.install(); "
        "import lightning.pytorch.callbacks; assert alias.installed(); alias.uninstall(); "
        "assert sys.meta_path == before and 'lightning' not in sys.modules"
    )
    assert python("-c", lines).stderr == ""


def test_a_startup_file_of_the_users_own_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.mine = 'ran'\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        env = environment()
    assert environment()["PYTHONPATH"].split(":")[0].endswith("startup")
    ran = python("-c", "import lightning; print(mine, lightning.Trainer.__module__)", env=env)
    assert (ran.stdout, ran.stderr) == ("ran fulmen.trainer.trainer\n", "")


@pytest.mark.parametrize(("words", "code"), [([], 2), (["--help"], 0)])
def test_usage(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    from fulmen.compat.run import run

    with pytest.raises(SystemExit) as ended:
        run(words)
    assert ended.value.code == code
    assert "fulmen run -m module" in "".join(capsys.readouterr())


def test_every_module_of_the_list_has_a_counterpart() -> None:
    data = json.loads((Path(__file__).parents[1] / "data" / "lightning-2.6.json").read_text(encoding="utf-8"))
    later = re.compile(r"xla|deepspeed|fsdp|model_parallel|transformer_engine|bitsandbytes")
    names = [name for package in ("pytorch_lightning", "lightning_fabric") for name in data[package]]
    names = [name for name in names if not later.search(name)]
    assert len(names) > 80
    finder = AliasFinder()
    assert [name for name in names if finder.find_spec(name) is None] == []
    assert finder.find_spec("torch") is None and finder.find_spec("lightning_utilities") is None
