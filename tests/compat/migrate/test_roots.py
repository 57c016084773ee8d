"""What becomes of Lightning's import names: all imports that bind a name, or none of them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("libcst")

from fulmen.compat.migrate.command import _settled
from fulmen.compat.migrate.findings import Finding
from fulmen.compat.migrate.project import Project
from fulmen.compat.migrate.rewrite import rewrite


def migrated(text: str, old: bool = True, **others: str) -> tuple[list[Finding], str]:
    project = Project({"a.py": text} | {f"{name}.py": other for name, other in others.items()})
    notes, new = rewrite(project, "a.py", text, True, old)
    return notes, _settled(project, "a.py", new, True, old)


WHOLE = {
    "import lightning\nx = lightning.pytorch.seed_everything":
        "import fulmen as lightning\nx = lightning.seed_everything",
    "import lightning as L\nx = L.pytorch.callbacks.Timer, L.Trainer":
        "import fulmen as L\nx = L.callbacks.Timer, L.Trainer",
    "import lightning as L\nx = L.pytorch": "import fulmen as L\nx = L",
    "import lightning as L\ndef f(L): return L.pytorch\nx = L.Trainer":
        "import fulmen as L\ndef f(L): return L.pytorch\nx = L.Trainer",
    "import lightning as L\nx = L.pytorch.core.lightning.LightningModule":
        "import fulmen as L\nx = L.core.LightningModule",
    "import lightning as L\nx = L.pytorch.Trainer(gpus=0, logger=False).num_nodes":
        'import fulmen as L\nx = L.Trainer(accelerator="cpu", logger=False).num_nodes',
    "from lightning import pytorch as pl\nx = pl.Trainer": "import fulmen as pl\nx = pl.Trainer",
    "from lightning import Trainer, pytorch\nx = pytorch.Trainer":
        "from fulmen import Trainer\nimport fulmen as pytorch\nx = pytorch.Trainer",
    "if True:\n    import lightning.pytorch as pl, os  # both\nx = pl.Trainer":
        "if True:\n    import fulmen as pl, os  # both\nx = pl.Trainer",
}  # fmt: skip


@pytest.mark.parametrize("text", WHOLE)
def test_the_package_within_lightning_goes(text: str) -> None:
    notes, new = migrated(text)
    assert new == WHOLE[text] and all(note.safe for note in notes if "lightning" in note.what)
    names: dict[str, Any] = {}
    exec(new, names)  # it runs
    assert names["x"] and migrated(new) == ([], new)


STAYS = {
    "import lightning as L\nL.Fabric()": "Fulmen has no `Fabric`",
    "import lightning\nlightning.fabric.Fabric\nlightning.pytorch.Trainer": "Fulmen has no `fabric.Fabric`",
    "import pytorch_lightning as pl\npl.metrics.F1": "Fulmen has no `metrics.F1`",
    "import pytorch_lightning as pl\npl.utilities.rank_zero.rank_zero_only":
        "write `from pytorch_lightning.utilities.rank_zero import rank_zero_only`",
    "import lightning.app as app": "Fulmen has no `app`",
    "from lightning.app import LightningApp": "Fulmen has no `app.LightningApp`",
    "from lightning.app import *": "Fulmen has no `app`",
    "from lightning import pytorch as pl\npl.nothing": "Fulmen has no `nothing`",
    "import lightning as L\ndef f(t: 'L.pytorch.Trainer'): ...\nL.pytorch.Trainer":
        "is written in a string or another file, too",
    "import pytorch_lightning\nimport pytorch_lightning.callbacks\npytorch_lightning.callbacks.Timer":
        "write `import pytorch_lightning.callbacks as ...`",
    "def f():\n    import lightning.pytorch\nimport lightning": "write `import lightning.pytorch as ...`",
}  # fmt: skip


@pytest.mark.parametrize("text", STAYS)
def test_what_fulmen_has_not_stays(text: str) -> None:
    notes, new = migrated(text)
    assert new == text
    assert any(STAYS[text] in note.remedy for note in notes) and not any(note.safe for note in notes)


def test_of_one_statement_what_is_there_is_taken() -> None:
    notes, new = migrated("from lightning import (\n    Fabric,  # theirs\n    Trainer,  # ours\n)\n")
    assert "from fulmen import (\n    Trainer,  # ours\n)" in new and "from lightning import (\n    Fabric," in new
    assert [(note.what, note.safe) for note in notes] == [("lightning", True), ("lightning.Fabric", False)]


@pytest.mark.parametrize("start", ["from a import *", "from a import L"])
@pytest.mark.parametrize(("use", "stays"), [("L.pytorch.Trainer", True), ("L.Fabric", True), ("L.Trainer", False)])
def test_a_name_that_another_file_uses_stays_if_that_would_break(start: str, use: str, stays: bool) -> None:
    notes, new = migrated("import lightning as L\n", b=f"{start}\n{use}\n")
    assert [note.safe for note in notes] == [not stays] and (new == "import lightning as L\n") == stays


def test_import_paths_in_strings_are_named() -> None:
    lines = {
        'm = import_module("pytorch_lightning.callbacks")': '`"fulmen.callbacks"`',
        'c = {"_target_": "lightning.pytorch.Trainer"}': '`"fulmen.Trainer"`',
        'l = getLogger("pytorch_lightning")': '`"fulmen"`',
        'p = "lightning.ckpt", "lightning", "a pytorch_lightning.Trainer", b"lightning.pytorch"': None,
        "def f(t: 'pytorch_lightning.Trainer'): 'pytorch_lightning'": '`"fulmen"`',
    }
    text = "\n".join(lines)
    notes, new = migrated(text, old=False)
    assert new == text and not any(note.safe for note in notes)
    wanted = [(line, remedy) for line, remedy in enumerate(lines.values(), 1) if remedy]
    assert [(note.line, note.remedy.partition(",")[0]) for note in notes] == wanted
    assert rewrite(Project({"a.py": text}), "a.py", text)[0] == []
