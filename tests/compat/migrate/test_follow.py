"""Classes of the project: Trainers with arguments of their own, and names that come of `import *`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("libcst")

from fulmen.compat.migrate.command import look
from fulmen.compat.migrate.project import Project
from fulmen.compat.migrate.rewrite import rewrite


def both(**files: str) -> tuple[list[tuple[str, str, bool]], dict[str, str]]:
    """What is found, with the file, and the files afterwards."""
    project = Project({f"{name}.py": text for name, text in files.items()})
    made = {name: rewrite(project, f"{name}.py", text) for name, text in files.items()}
    found = [(name, note.what, note.safe) for name, (notes, _) in made.items() for note in notes]
    return found, {name: new for name, (_, new) in made.items()}


OWN = """import pytorch_lightning as pl
class Mine(pl.Trainer):
    def __init__(self, *args, gpus=7, resume_from_checkpoint=None, **kwargs):
        super().__init__(*args, {flags}**kwargs)
"""


def test_what_a_trainer_of_ones_own_takes_stays() -> None:
    uses = "t = Mine(gpus=0, resume_from_checkpoint='x', weights_summary=None, **{'gpus': 1, 'num_processes': 2})\n"
    uses += "t.fit(1)\n"
    later = f"from a import Mine\nclass Next(Mine): ...\n{uses.replace('Mine', 'Next')}"
    files = {"a": f"{OWN.format(flags='')}{uses}", "b": later}
    found, new = both(**files)
    rest = [("weights_summary", False), ("num_processes", False)]  # such an `__init__` may do anything with them
    assert sorted(found) == sorted((name, *one) for name in "ab" for one in rest) and new == files
    assert both(a="import fulmen\nclass T(fulmen.Trainer): ...\nT(gpus=0)\n")[0] == [("a", "gpus", True)]


def test_the_call_of_the_trainer_within_one_of_ones_own() -> None:
    assert both(a=OWN.format(flags="gpus=gpus, logger=False, "))[0] == [("a", "gpus", False)]
    head = "from pytorch_lightning import Trainer\nclass T(Trainer):\n    def __init__(self):\n"
    text = f"{head}        super().__init__({{}})\n"
    found, new = both(a=text.format("gpus=0, progress_bar_refresh_rate=5"))
    assert found == [("a", "gpus", True), ("a", "progress_bar_refresh_rate", True)]
    assert 'accelerator="cpu", callbacks=[TQDMProgressBar(refresh_rate=5)]' in new["a"]
    assert "from pytorch_lightning.callbacks import TQDMProgressBar" in new["a"]
    inner = f"{OWN.format(flags='')}class Next(Mine):\n    def __init__(self):\n        super().__init__(gpus=1)\n"
    assert both(a=inner)[0] == []
    assert both(a="class T(Other):\n    def __init__(self):\n        super().__init__(gpus=0)\n")[0] == []


BASE = (
    "import pytorch_lightning as pl\nfrom pytorch_lightning import Trainer as T\nclass Base(pl.LightningModule): ...\n"
)
USE = "class N(Base):\n    def on_hpc_save(self, c): ...\nt = pl.Trainer(gpus=0)\nT(gpus=0)\nt.tune()\n"
FOUND = [("on_hpc_save", False), ("gpus", True), ("gpus", True), ("trainer.tune", False)]


@pytest.mark.parametrize("between", ["", "from base import *\n", "from base import *\nfrom middle import *\n"])
def test_stars_are_followed(between: str) -> None:
    first = "middle" if between else "base"
    found, new = both(base=BASE, middle=between, use=f"from {first} import *\n{USE}")
    assert found == [("use", *one) for one in FOUND]
    assert new["use"].count('(accelerator="cpu")') == 2


def test_what_a_file_defines_itself_is_not_the_stars() -> None:
    mine = "from base import *\ndef T(**flags): ...\npl = 1\nclass Base: ...\n"
    assert both(base=BASE, use=f"{mine}{USE.replace('t = pl.Trainer', 'T')}")[0] == []


def test_a_star_means_the_file_beside(tmp_path: Path) -> None:
    """And the package's own by a relative import; where it may be one of several, that is said."""
    other = "class Base: ...\nT = pl = t = None\n"
    files = {
        "a/base.py": BASE, "b/base.py": other, "a/use.py": f"from base import *\n{USE}", "c/d/use.py": USE,
        "b/use.py": f"from base import *\n{USE}", "a/rel.py": f"from .base import *\n{USE}", "a/__init__.py": "",
        "c/use.py": f"from base import *\n{USE}", "c/rel.py": f"from .base import *\n{USE}",
        "c/plain.py": "from numpy import *\nfrom os.path import *\nclass A(ndarray): ...\n",
        "c/known.py": "from os.path import *\nfrom torch.nn import *\nclass A(Module): ...\n",
        "c/idle.py": "from base import *\nprint(join('a'))\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found: dict[str, list[str]] = {}
    for one in look([tmp_path])[0]:
        found.setdefault(str(Path(one.path).relative_to(tmp_path)), []).append(one.what)
    names = [what for what, _ in FOUND]
    assert found == {
        "a/use.py": names, "a/rel.py": names, "c/use.py": ["from base import *"], "c/rel.py": ["from .base import *"],
        "c/plain.py": ["from numpy import *"],
    }  # fmt: skip
    alone = look([tmp_path / "a" / "use.py"])[0]
    assert [one.what for one in alone] == ["from base import *"] and "pass that module's file" in alone[0].remedy


def test_a_file_without_a_word_of_lightning_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import fulmen\nclass Mine(fulmen.Trainer): ...\n")
    (tmp_path / "b.py").write_text("from a import Mine\nMine(gpus=0)\n")
    assert [(Path(one.path).name, one.what) for one in look([tmp_path])[0]] == [("b.py", "gpus")]
