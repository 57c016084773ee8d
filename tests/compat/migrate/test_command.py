"""The command, run on code bases of files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("libcst")

from fulmen.cli import command as fulmen_command
from fulmen.compat.migrate.command import look

from .project import FILES


def lay_out(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(*words: Any) -> int:
    try:
        fulmen_command.main(["migrate", *map(str, words)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_project_of_1_5_is_rewritten_and_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lay_out(tmp_path / "project", FILES)
    assert run(folder) == 1
    said = capsys.readouterr().out
    assert f"{folder}/train.py:22: gpus: " in said and "models/base.py:7: on_pretrain_routine_start" in said
    assert all((folder / name).read_text() == text for name, text in FILES.items())  # it was asked to look alone
    assert run(folder, "--write", "--imports") == 0
    assert "0 left to you" in capsys.readouterr().out
    written = {name: (folder / name).read_text() for name in FILES}
    assert look([folder], roots=True) == ([], {}, [])  # a second time there is nothing to do
    for comment in ("# the old home", "# what is learned", "# any other", "# none here", "The mean over the epoch."):
        assert any(comment in text for text in written.values()), comment
    monkeypatch.syspath_prepend(str(folder))
    names: dict[str, Any] = {"__name__": "trained"}
    try:
        exec(compile(written["train.py"], "train.py", "exec"), names)
    finally:
        for name in ("models", "models.net", "models.base"):
            sys.modules.pop(name, None)
    trainer, model, counter = names["result"]
    assert counter.batches == 8 and "loss" not in counter.shown
    assert trainer.global_step == 4 + 2  # each batch, then every second
    assert {"train_mean", "val", "loss"} <= set(trainer.callback_metrics)
    assert model.training_step_outputs == [] and model.said
    other = torch.nn.Linear(2, 1)
    assert type(model.layer) is type(other)


def test_nothing_old(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names that are somebody else's, and today's."""
    text = """
import torch
import torchmetrics
from otherlib import Trainer
from fulmen import Callback, LightningModule, Trainer as Ours


class Model:
    gpus = 1

    def training_epoch_end(self, outputs): ...
    def on_epoch_end(self): ...
    def training_step(self, batch, optimizer_idx): ...


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.model_size = 3
        self.accuracy = torchmetrics.Accuracy(task="binary")

    def on_train_epoch_end(self):
        print(self.model_size, self.trainer.max_epochs)

    def train(self, mode=True):
        def on_epoch_end(outputs): ...
        trainer = make_trainer()
        trainer.tune(3)
        return super().train(mode)


class Said(Callback):
    def on_train_end(self, trainer, pl_module):
        print(pl_module.gpus, trainer.num_devices)


def build(gpus, trainer):
    trainer.tune(gpus=gpus)
    return Trainer(gpus=gpus, weights_summary="top").fit(train_dataloader=1)


ours = Ours(accelerator="cpu", precision="32-true", profiler="simple", accumulate_grad_batches=2)
accelerator = dict(gpus=1)
ModelCheckpoint(period=3)
"""
    folder = lay_out(tmp_path, {"a.py": text, "c.yaml": "gpus: 1\ntrain:\n  gpus: 1\n"})
    assert run(folder) == 0
    assert capsys.readouterr().out == "Nothing old was found.\n"


def test_code_is_read_and_never_run(tmp_path: Path) -> None:
    text = f"open({str(tmp_path / 'ran')!r}, 'w')\nimport pytorch_lightning as pl\npl.Trainer(gpus=0)\n"
    folder = lay_out(tmp_path / "code", {"a.py": text, "pytorch_lightning.py": text, "conftest.py": text})
    assert run(folder) == 1
    assert run(folder, "--write") == 0
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"old.py": "print 'x'\n", "b.py": "import pytorch_lightning as pl\npl.Trainer(gpus=0)\n", "n.ipynb": "{}"}
    folder = lay_out(tmp_path, files)
    (folder / "latin.py").write_bytes(b"# \xff\n")
    assert run(folder, "--write") == 2
    said = capsys.readouterr()
    assert all(name in said.err for name in ("old.py", "n.ipynb", "latin.py"))
    assert 'accelerator="cpu"' in (folder / "b.py").read_text()
    assert run(folder / "nothing.py") == 2 and "What to do: pass files" in capsys.readouterr().out


def test_the_encoding_of_a_file_stays(tmp_path: Path) -> None:
    """A mark at the start, and what PEP 263 allows; line ends, too."""
    text = "import pytorch_lightning as pl  # ü\r\npl.Trainer(gpus=0)\r\n"
    new = text.replace("gpus=0", 'accelerator="cpu"')
    heads = {"utf-8-sig": "", "latin-1": "# -*- coding: latin-1 -*-\r\n", "utf-8": "", "cp1252": "# coding: cp1252\r\n"}
    for coding, head in heads.items():
        (tmp_path / f"{coding}.py").write_bytes((head + text).encode(coding))
    (tmp_path / "c.yaml").write_bytes("trainer:\n  callbacks: pytorch_lightning.callbacks.Timer\n".encode("utf-8-sig"))
    assert run(tmp_path, "--write", "--imports") == 0
    for coding, head in heads.items():
        wanted = head + new.replace("pytorch_lightning", "fulmen")
        assert (tmp_path / f"{coding}.py").read_bytes() == wanted.encode(coding), coding
    assert (tmp_path / "c.yaml").read_bytes().startswith(b"\xef\xbb\xbftrainer:\n  callbacks: fulmen.")


def test_notebooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cells are one program; what is for the notebook alone stays."""
    code = [
        ["%matplotlib inline\n", "import pytorch_lightning as pl\n", "!pip list"],
        ["if True:\n", "    %time pass\n", "trainer = pl.Trainer(gpus=0)  # here\n"],
        ["%%bash\n", "ls gpus"],
        ["trainer.fit(model, train_dataloader=data)"],
    ]
    cells: list[Any] = [{"cell_type": "code", "source": lines, "outputs": [], "metadata": {}} for lines in code]
    cells.insert(1, {"cell_type": "markdown", "source": ["gpus=0"], "metadata": {}})
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    assert run(path) == 1
    said = capsys.readouterr().out
    assert f"{path}:cell 3:3: gpus" in said and f"{path}:cell 5:1: fit(train_dataloader)" in said
    assert run(path, "--write") == 0
    made = [cell["source"] for cell in json.loads(path.read_text())["cells"]]
    assert made[0] == code[0] and made[3] == code[2] and made[1] == ["gpus=0"]
    assert made[2] == ["if True:\n", "    %time pass\n", 'trainer = pl.Trainer(accelerator="cpu")  # here\n']
    assert made[4] == ["trainer.fit(model, train_dataloaders=data)"]


NOTEBOOK_LAYOUTS: list[dict[str, Any]] = [
    {"indent": 1, "ensure_ascii": False}, {"indent": 4}, {"indent": "\t", "ensure_ascii": False}, {},
    {"separators": (",", ":")},
]  # fmt: skip


@pytest.mark.parametrize("layout", NOTEBOOK_LAYOUTS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_notebook_keeps_its_layout(layout: dict[str, Any], end: str, tmp_path: Path) -> None:
    """And each cell its form: one string or a list of lines."""
    code: list[Any] = [
        "import fulmen\nfulmen.Trainer(gpus=0)  # ü\n",
        ["fulmen.Trainer(\n", "gpus=0)"],
        "1\n",
        ["2\n"],
        [],
    ]
    cells = [{"cell_type": "code", "metadata": {}, "source": source} for source in code]
    text = json.dumps({"nbformat": 4, "cells": cells}, **layout).replace("\n", end or "\n") + end
    path = tmp_path / "n.ipynb"
    path.write_bytes(text.encode())
    assert run(path, "--write") == 0
    assert path.read_bytes().decode() == text.replace("gpus=0", 'accelerator=\\"cpu\\"')


def test_a_notebook_that_is_laid_out_by_hand_keeps_that(tmp_path: Path) -> None:
    """Also where lines are added, and where a source stands twice."""
    lines = [r'"from fulmen import Trainer\n"', r'"Trainer(gpus=0, progress_bar_refresh_rate=5)"']
    cells = [f'{{"cell_type": "code", "source": [{gap.join(lines)}]}}' for gap in (", ", ",\n\t", ", ")]
    path = tmp_path / "n.ipynb"
    path.write_text('{"nbformat": 4, "x": 1e-05,\n "cells":[' + ",\n  ".join(cells) + " ] }")
    assert run(path, "--write") == 0
    made = path.read_text()
    new = r'"Trainer(accelerator=\"cpu\", callbacks=[TQDMProgressBar(refresh_rate=5)])"'
    assert made.startswith('{"nbformat": 4, "x": 1e-05,\n "cells":[{') and made.endswith("]} ] }")
    assert made.count(new) == 3 and f",\n\t{new}" in made and "import TQDMProgressBar" in made


def test_configurations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """\
# gpus: 3
fit:
  trainer:
    gpus: 1  # one
    accelerator: ddp
    precision: 32
    callbacks:
      - class_path: pytorch_lightning.callbacks.GPUStatsMonitor
        init_args:
          gpus: 2
  model:
    gpus: 4
"""
    folder = lay_out(tmp_path, {"c.yaml": text})
    assert run(folder) == 1
    lines = [line.partition("c.yaml:")[2].split(":")[:2] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert [(int(line), what.strip()) for line, what in lines] == [
        (4, "gpus"), (5, "accelerator"), (8, "callbacks.GPUStatsMonitor"),
    ]  # fmt: skip
    assert run(folder, "--write", "--imports") == 1
    assert "class_path: fulmen.callbacks.GPUStatsMonitor" in (folder / "c.yaml").read_text()
    assert "gpus: 1  # one" in (folder / "c.yaml").read_text()


IMPORTS = {
    "import pytorch_lightning as pl": "import fulmen as pl",
    "import pytorch_lightning": "import fulmen as pytorch_lightning",
    "import lightning as L": "import fulmen as L",
    "import lightning.pytorch as pl": "import fulmen as pl",
    "from lightning.pytorch import Trainer, seed_everything": "from fulmen import Trainer, seed_everything",
    "from pytorch_lightning.callbacks import (\n    EarlyStopping,  # early\n    Timer,\n)":
        "from fulmen.callbacks import (\n    EarlyStopping,  # early\n    Timer,\n)",
    "from lightning.pytorch.loggers import CSVLogger as Log": "from fulmen.loggers import CSVLogger as Log",
    "from pytorch_lightning.callbacks import *": "from fulmen.callbacks import *",
    "from pytorch_lightning import *  # all": "from fulmen import *  # all",
    "from lightning.fabric import *": None,
    "import pytorch_lightning.callbacks": None,
    "from lightning.fabric import Fabric": None,
}  # fmt: skip


@pytest.mark.parametrize("text", IMPORTS)
def test_import_names(text: str, tmp_path: Path) -> None:
    """Of 2.x code, nothing else is looked at."""
    folder = lay_out(tmp_path, {"a.py": f"{text}\nTrainer(gpus=1)\n"})
    found, new, _ = look([folder], roots=True, old=False)
    assert len(found) == 1 and found[0].safe == (IMPORTS[text] is not None)
    assert list(new.values()) == ([] if IMPORTS[text] is None else [f"{IMPORTS[text]}\nTrainer(gpus=1)\n"])
    if IMPORTS[text] is not None:
        exec(IMPORTS[text], {})  # it is there
    assert look([folder], roots=False, old=False)[0] == []


def test_a_link_and_the_rights_of_a_file_stay(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, {"real.py": "import fulmen\nfulmen.Trainer(gpus=0)\n"})
    (folder / "real.py").chmod(0o755)
    (folder / "link.py").symlink_to("real.py")
    assert run(folder / "link.py", "--write") == 0
    assert (folder / "link.py").is_symlink() and (folder / "real.py").stat().st_mode & 0o777 == 0o755
    assert 'accelerator="cpu"' in (folder / "real.py").read_text()


def test_a_file_outside_of_the_folder_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "import fulmen\nfulmen.Trainer(gpus=0)\n"
    folder = lay_out(tmp_path, {"other/real.py": text, "mine/own.py": text}) / "mine"
    (folder / "link.py").symlink_to(tmp_path / "other" / "real.py")
    (folder / "near.py").symlink_to("own.py")
    assert run(folder, "--write") == 1
    said = capsys.readouterr()
    assert f"{folder / 'link.py'}: is not written" in said.err and "1 left to you" in said.out
    assert (tmp_path / "other" / "real.py").read_text() == text
    assert 'accelerator="cpu"' in (folder / "own.py").read_text() and (folder / "near.py").is_symlink()
    assert run(folder, tmp_path / "other", "--write") == 0


def test_without_libcst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libcst", None)
    with pytest.raises(ModuleNotFoundError, match=r"fulmen\[migrate\]"):
        fulmen_command.main(["migrate", str(tmp_path)])
