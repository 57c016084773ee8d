"""What stays as it is, because other parts of the project hold on to it."""

from __future__ import annotations

import pytest

pytest.importorskip("libcst")

from fulmen.compat.migrate.findings import Finding
from fulmen.compat.migrate.project import Project
from fulmen.compat.migrate.rewrite import rewrite


def migrated(*texts: str) -> tuple[list[Finding], list[str]]:
    """All findings, and what becomes of each file; the files are `f0.py`, `f1.py`, ..."""
    texts = tuple(f"import pytorch_lightning as pl\n{text}" for text in texts)
    project = Project({f"f{number}.py": text for number, text in enumerate(texts)})
    both = [rewrite(project, f"f{number}.py", text) for number, text in enumerate(texts)]
    return [note for notes, _ in both for note in notes], [new.partition("\n")[2] for _, new in both]


HOOKS = {
    "backward": ("loss, optimizer, optimizer_idx", "loss"),
    "on_train_batch_end": ("outputs, batch, batch_idx, dataloader_idx", "outputs, batch, batch_idx"),
    "optimizer_step": ("epoch, i, optimizer, optimizer_idx, closure, on_tpu=False", "epoch, i, optimizer, closure"),
}
OLD = [
    "from f0 import Par\nclass K(Par):\n    def {hook}(self, {given}):\n        super().{hook}({passed})\n",
    "import f0\nclass K(f0.Par):\n    def {hook}(self, {given}):\n        f0.Par.{hook}(self, {passed})\n",
    "class Calls:\n    def run(self, {given}):\n        self.cb.{hook}({passed})\n",
    "def run(model, {first}):\n    model.{hook}({first}, {gone}=0)\n",
    "def run(model, args):\n    model.{hook}(*args)\n",
    "def run(model, **more):\n    model.{hook}(**more)\n",
    "def run(model):\n    return getattr(model, '{hook}')\n",
    "def run(model):\n    call(model.{hook})\n",
]
TODAY = [
    "class K(pl.LightningModule):\n    def {hook}(self, {given}):\n        super().{hook}({passed})\n",
    "class K(pl.LightningModule):\n    def {hook}(self, {given}):\n        pl.LightningModule.{hook}(self, {passed})\n",
    "from f0 import Par\nclass K(Par):\n    def {hook}(self, *a, **k):\n        super().{hook}(*a, **k)\n",
    "from f0 import Par\nclass K(Par):\n    def {hook}(self, {first}):\n        super().{hook}({first})\n",
    "def other(a, b, c, d, e, f): return other(a, b, c, d, e, f)\n",
]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_signature_stays_while_somebody_calls_it_as_of_old(hook: str) -> None:
    given, first = HOOKS[hook]
    passed = given.replace("=False", "")
    gone = next(name for name in passed.split(", ") if name not in first.split(", "))
    body = "closure()" if "closure" in given else "pass"
    par = f"class Par(pl.LightningModule):\n    def {hook}(self, {given}):\n        {body}\n"
    for forms, stays in ((OLD, True), (TODAY, False)):
        for form in forms:
            other = form.format(hook=hook, given=given, passed=passed, first=first, gone=gone)
            notes, (new, same) = migrated(par, other)
            mine = [note.safe for note in notes if note.path == "f0.py"]
            assert mine and set(mine) == {not stays}, other
            assert (new == par) == stays and same == other, other


def test_parameters_with_defaults_may_have_been_left_out() -> None:
    """Four arguments in a row are the old ones then; with another name for the fourth, today's."""
    given = "epoch, i, optimizer, optimizer_idx=0, closure=None, on_tpu=False"
    par = f"class N(pl.LightningModule):\n    def optimizer_step(self, {given}):\n        closure()\n"
    for call, stays in (("(1, 2, opt, 0)", True), ("(1, 2, opt, closure=f)", False), ("(1, 2, opt)", False)):
        notes, _ = migrated(par, f"def run(model, opt, f): model.optimizer_step{call}\n")
        assert [note.safe for note in notes] == [not stays] * 2, call


def test_a_toggling_of_its_own_is_called_as_it_is_defined() -> None:
    own = "class Base(pl.LightningModule):\n    def toggle_optimizer(self, optimizer, optimizer_idx): ...\n"
    use = "from f0 import Base\nclass N(Base):\n    def f(self, opt): self.toggle_optimizer(opt, 0)\n"
    notes, texts = migrated(own, use)
    assert [note.safe for note in notes] == [False, False] and texts == [own, use]


CLOSURES = {
    "closure()": True,
    "loss = closure()\noptimizer.step()": True,
    "optimizer.step(closure=closure)": True,
    "optimizer.step(closure)": True,
    "if batch_idx:\n    print(1)\nsuper().optimizer_step(epoch, batch_idx, optimizer, closure)": True,
    "optimizer.step()": False,
    "if batch_idx % 2 == 0:\n    optimizer.step(closure=closure)": False,
    "if batch_idx % 2 == 0:\n    return\noptimizer.step(closure=closure)": False,
    "for _ in range(2):\n    closure()": False,
    "done = batch_idx or closure()": False,
}


@pytest.mark.parametrize("body", CLOSURES)
def test_an_optimizer_step_that_may_leave_out_the_closure_keeps_its_signature(body: str) -> None:
    lines = body.replace("\n", "\n        ")
    head = (
        "class N(pl.LightningModule):\n    def optimizer_step(self, epoch, batch_idx, optimizer, {}closure):\n        "
    )
    notes, (new,) = migrated(head.format("optimizer_idx, ") + f"{lines}\n")
    assert [note.safe for note in notes] == [CLOSURES[body]]
    assert new == head.format("" if CLOSURES[body] else "optimizer_idx, ") + f"{lines}\n"


RENAMED = "class C(pl.Callback):\n    def on_batch_end(self, trainer, pl_module): ...\n"


@pytest.mark.parametrize(
    "call", ["self.on_batch_end(trainer, pl_module)", "C.on_batch_end(c, t, m)", "getattr(c, 'on_batch_end')(t, m)"]
)
def test_a_hook_that_is_called_by_its_old_name_keeps_it(call: str) -> None:
    notes, (new, _) = migrated(RENAMED, f"def f(self, trainer, pl_module, c, t, m):\n    {call}\n")
    assert [(note.what, note.safe) for note in notes] == [("on_batch_end", False)] and new == RENAMED
    assert "def on_train_batch_end(" in migrated(RENAMED, "on_batch_end = 1\n")[1][0]


def test_old_hooks_of_a_mixin_are_found() -> None:
    """Also of one behind another, in another file; and never rewritten."""
    first = (
        "class First:\n    def training_epoch_end(self, outputs): ...\n    def backward(self, loss, optimizer): ...\n"
    )
    mix = "from f0 import First\nclass Mix(First):\n    def on_batch_end(self): ...\n    def other(self): ...\n"
    use = "import f1\nclass B(pl.LightningModule): ...\nclass K(f1.Mix, B): ...\n"
    notes, texts = migrated(first, mix, use)
    assert [note.what for note in notes] == ["training_epoch_end", "backward(optimizer)", "on_batch_end"]
    assert not any(note.safe for note in notes) and texts == [first, mix, use]
    assert migrated(first, mix, use.replace("f1.Mix, ", ""))[0] == []


COLLECTS = """class N(pl.LightningModule):
    def __init__(self):
        super().__init__()
    def validation_step(self, batch, batch_idx):
        return 1
    def validation_epoch_end(self, outputs):
        print(outputs)
"""


@pytest.mark.parametrize("call", ["validation_step(batch, 0)", "validation_epoch_end([1])"])
def test_outputs_are_not_collected_where_the_project_calls_the_methods_itself(call: str) -> None:
    assert migrated(COLLECTS)[1] != [COLLECTS]
    notes, (new, _) = migrated(COLLECTS, f"def f(model, batch):\n    model.{call}\n")
    assert [(note.what, note.safe) for note in notes] == [("validation_epoch_end", False)] and new == COLLECTS
