"""Each rule: what is found, what is rewritten, and that it is the same afterwards."""

from __future__ import annotations

import ast
import re
import tokenize
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("libcst")

from fulmen.compat.migrate import table
from fulmen.compat.migrate.command import _settled
from fulmen.compat.migrate.findings import Finding
from fulmen.compat.migrate.project import Project
from fulmen.compat.migrate.rewrite import rewrite


def migrated(text: str) -> tuple[list[Finding], str]:
    project = Project({"a.py": text})
    found, new = rewrite(project, "a.py", text)
    return found, _settled(project, "a.py", new, False, True) if new != text else text


def found(text: str) -> dict[str, bool]:
    return {one.what: one.safe for one in rewrite(Project({"a.py": text}), "a.py", text)[0]}


FLAGS = {
    "gpus=2": 'devices=2, accelerator="gpu"',
    "gpus=[1, 2]": 'devices=[1, 2], accelerator="gpu"',
    "gpus=-1": 'devices=-1, accelerator="gpu"',
    "gpus=0": 'accelerator="cpu"',
    "gpus=None": 'accelerator="cpu"',
    'gpus=None, accelerator="gpu"': 'accelerator="gpu"',
    'gpus=None, accelerator="ddp"': 'accelerator="cpu", strategy="ddp"',
    "gpus=None, accelerator=mine": None,
    "gpus=None, tpu_cores=8": 'devices=8, accelerator="tpu"',
    "gpus=None, num_processes=2": 'accelerator="cpu", devices=2',
    "gpus=n": None,
    'gpus="3"': None,
    'gpus=1, accelerator="gpu"': 'devices=1, accelerator="gpu"',
    'gpus=1, accelerator="ddp"': 'devices=1, accelerator="gpu", strategy="ddp"',
    'gpus=1, accelerator="dp"': None,
    'accelerator="ddp"': 'strategy="ddp"',
    'distributed_backend="ddp", gpus=1': 'strategy="ddp", devices=1, accelerator="gpu"',
    'strategy="horovod"': None,
    "tpu_cores=8": 'devices=8, accelerator="tpu"',
    "ipus=4": None,
    "num_processes=2": 'devices=2, accelerator="cpu"',
    "num_processes=1": "",
    "auto_select_gpus=False": "",
    "auto_select_gpus=True": None,
    "checkpoint_callback=False": "enable_checkpointing=False",
    "checkpoint_callback=pl.callbacks.ModelCheckpoint()": "callbacks=[pl.callbacks.ModelCheckpoint()]",
    "checkpoint_callback=mine": None,
    "progress_bar_refresh_rate=0": "enable_progress_bar=False",
    "progress_bar_refresh_rate=5": "callbacks=[pl.callbacks.TQDMProgressBar(refresh_rate=5)]",
    "progress_bar_refresh_rate=5, callbacks=mine": None,
    "progress_bar_refresh_rate=5, process_position=1": None,
    "process_position=1": "callbacks=[pl.callbacks.TQDMProgressBar(process_position=1)]",
    'weights_summary="top"': "",
    'weights_summary="full", callbacks=[a, b]': "callbacks=[a, b, pl.callbacks.ModelSummary(max_depth=-1)]",
    "weights_summary=None": "enable_model_summary=False",
    'weights_save_path="x"': None,
    "auto_lr_find=False, max_epochs=1": "max_epochs=1",
    "auto_lr_find=True": None,
    "auto_scale_batch_size=False": "",
    "track_grad_norm=2": None,
    "track_grad_norm=-1": "",
    "terminate_on_nan=True": None,
    "terminate_on_nan=False": "",
    "stochastic_weight_avg=True": None,
    "stochastic_weight_avg=False": "",
    "flush_logs_every_n_steps=10": None,
    "reload_dataloaders_every_epoch=True": "reload_dataloaders_every_n_epochs=1",
    "reload_dataloaders_every_epoch=False": "",
    "replace_sampler_ddp=False": "use_distributed_sampler=False",
    "move_metrics_to_cpu=True": None,
    'multiple_trainloader_mode="max_size_cycle"': "",
    'multiple_trainloader_mode="min_size"': None,
    'amp_backend="native", precision=16': 'precision="16-mixed"',
    'amp_backend="apex"': None,
    'amp_level="O2"': None,
    'precision="bf16"': 'precision="bf16-mixed"',
    "accumulate_grad_batches={4: 2}": "callbacks=[pl.callbacks.GradientAccumulationScheduler(scheduling={4: 2})]",
    'log_gpu_memory="all"': "callbacks=[pl.callbacks.DeviceStatsMonitor()]",
    "prepare_data_per_node=True": "",
    "prepare_data_per_node=False": None,
    "max_steps=None": "",
    "max_nb_epochs=3, min_nb_epochs=1": "max_epochs=3, min_epochs=1",
    "overfit_pct=0.1": None,
    "profiler=True": 'profiler="simple"',
    "truncated_bptt_steps=4": None,
    "gpus=1, **more": None,
}


def test_flags() -> None:
    """What is rewritten; where None, it is named with what to do and left as it is."""
    calls = [f"pl.Trainer({flags})\n" for flags in FLAGS]
    notes, new = migrated("import pytorch_lightning as pl\n" + "".join(calls))
    wanted = [call if new is None else f"pl.Trainer({new})\n" for call, new in zip(calls, FLAGS.values(), strict=True)]
    assert new == "import pytorch_lightning as pl\n" + "".join(wanted)
    by_line: dict[int, set[bool]] = {}
    for note in notes:
        assert note.remedy == table.TRAINER_FLAGS[note.what]
        by_line.setdefault(note.line - 1, set()).add(note.safe)
    assert by_line == {line: {new is not None} for line, new in enumerate(FLAGS.values(), 1)}


def test_every_flag_is_tried() -> None:
    tried = {part.partition("=")[0].strip() for flags in FLAGS for part in flags.split(", ")}
    untried = set(table.TRAINER_FLAGS) - tried
    assert untried <= {*table.RENAMED_FLAGS, "automatic_optimization", "early_stop_callback", "log_save_interval",
                       "resume_from_checkpoint"}  # fmt: skip


def test_a_callback_is_imported_where_the_trainer_was() -> None:
    text = '"""Docs."""\n\nfrom pytorch_lightning import Trainer\n\nTrainer(progress_bar_refresh_rate=5)\n'
    _, new = migrated(text)
    assert "from pytorch_lightning.callbacks import TQDMProgressBar\n" in new
    assert "Trainer(callbacks=[TQDMProgressBar(refresh_rate=5)])" in new


def test_what_comes_of_everything_is_known() -> None:
    text = "from pytorch_lightning import *\nclass N(LightningModule):\n    def on_hpc_save(self, c): ...\n"
    assert found(f"{text}t = Trainer(gpus=0)\nt.tune()\n") == {
        "on_hpc_save": False,
        "gpus": True,
        "trainer.tune": False,
    }
    assert found(f"{text.replace('pytorch_', 'other_')}t = Trainer(gpus=0)\nt.tune()\n") == {}
    text = "from pytorch_lightning.callbacks import *\nclass C(Callback):\n    def on_init_end(self, t): ...\n"
    assert found(f"{text}Trainer(gpus=1)\n") == {"on_init_end": False}


def test_flags_in_a_dictionary_on_the_spot() -> None:
    text = "import fulmen\nfulmen.Trainer(**{'gpus': 1, 'max_epochs': 1}, **dict(amp_level='O2', precision=16))\n"
    assert found(text) == {"gpus": False, "amp_level": False}
    assert migrated(text)[1] == text


def test_flags_in_a_dictionary() -> None:
    text = "import fulmen\nsettings = {'gpus': 1, 'max_epochs': 2}\nmore = dict(weights_summary=None)\n"
    assert found(f"{text}fulmen.Trainer(**settings)\nfulmen.Trainer(**more)\nother(**settings)") == {
        "gpus": False,
        "weights_summary": False,
    }


RESUMED = "import fulmen\n{}t = fulmen.Trainer(resume_from_checkpoint={})\n{}"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (RESUMED.format("", "'x.ckpt'", "t.fit(m)\n"), True),
        (RESUMED.format("", "args.path", "t.fit(m, data)\n"), True),
        (RESUMED.format("", "None", "t.fit(m)\n"), True),
        (RESUMED.format("", "find()", "t.fit(m)\n"), False),
        (RESUMED.format("", "'x.ckpt'", "t.fit(m)\nt.fit(m)\n"), False),
        (RESUMED.format("", "'x.ckpt'", "t.test(m)\n"), False),
        (RESUMED.format("", "'x.ckpt'", "def later():\n    t.fit(m)\n"), False),
    ],
)
def test_resumption_moves_to_fit(text: str, safe: bool) -> None:
    notes, new = migrated(text)
    assert [note.safe for note in notes] == [safe]
    if not safe:
        assert new == text
    elif "None" in text:
        assert new.endswith("fulmen.Trainer()\nt.fit(m)\n")
    else:
        assert "fulmen.Trainer()" in new and "ckpt_path=" in new


CLASS = {"module": "LightningModule", "callback": "Callback", "data": "LightningDataModule", "logger": "loggers.Logger"}


def test_methods_are_found_in_classes_of_lightning_alone() -> None:
    """Also through a base of the project's."""
    rules = {
        "module": table.MODULE_METHODS, "callback": table.CALLBACK_METHODS, "data": table.DATAMODULE_METHODS,
        "logger": table.LOGGER_METHODS,
    }  # fmt: skip
    pairs = [(kind, name) for kind, names in rules.items() for name in names]
    text = "import {} as pl\n"
    for number, (kind, name) in enumerate(pairs):
        text += f"class Base{number}(pl.{CLASS[kind]}): ...\n"
        text += f"class Mine{number}(Base{number}):\n    def {name}(self, *a): ...\n"
    notes, _ = migrated(text.format("pytorch_lightning"))
    assert [(note.what, note.remedy) for note in notes] == [(name, rules[kind][name]) for kind, name in pairs]
    assert found(text.format("other_lightning")) == {}


PARAMETERS = [
    (kind, method, name)
    for kind, methods in (("module", table.MODULE_PARAMETERS), ("callback", table.CALLBACK_PARAMETERS))
    for method, names in methods.items()
    for name in names
]


def test_parameters() -> None:
    """One that is not used is taken out; one that is used tells something."""

    def classes(used: bool) -> str:
        text = "import fulmen as pl\n"
        for number, (kind, method, name) in enumerate(PARAMETERS):
            first = "closure" if method == "optimizer_step" else "a"
            text += f"class Mine{number}(pl.{CLASS[kind]}):\n    def {method}(self, {first}, {name}):\n"
            text += (
                f"        {'closure()' if first == 'closure' else 'pass'}\n        return {name if used else first}\n"
            )
        return text

    notes, new = migrated(classes(used=True))
    assert [note.what for note in notes] == [f"{method}({name})" for _, method, name in PARAMETERS]
    assert not any(note.safe for note in notes) and new == classes(used=True)
    notes, new = migrated(classes(used=False))
    telling = [
        name in ("hiddens", "callback_state") or (method, name) == ("training_step", "optimizer_idx")
        for _, method, name in PARAMETERS
    ]
    assert [note.safe for note in notes] == [not one for one in telling]
    assert new.count("(self, a):") + new.count("(self, closure):") == telling.count(False)


def test_what_a_trainer_had() -> None:
    names = [*table.TRAINER_ATTRIBUTES, *table.TRAINER_METHODS]
    uses = "; ".join(f"{{0}}.{name}" for name in names)
    text = (
        f"import fulmen as pl\n\ntrainer = pl.Trainer()\n{uses.format('trainer')}\n\n"
        f"class A(pl.LightningModule):\n    def f(self): {uses.format('self.trainer')}\n\n"
        f"class B(pl.Callback):\n    def on_fit_end(self, trainer, pl_module): {uses.format('trainer')}\n\n"
        f"def f(trainer): {uses.format('trainer')}\n\n"
        f"class C:\n    def on_fit_end(self, trainer, pl_module): {uses.format('self.trainer')}\n"
    )
    notes, new = migrated(text)
    assert sorted({note.line for note in notes}) == [4, 7, 10]
    assert sorted(note.what for note in notes) == sorted(f"trainer.{name}" for name in names for _ in range(3))
    for old, now in table.RENAMED_TRAINER_ATTRIBUTES.items():
        assert len(re.findall(rf"trainer\.{now}\b", new)) == 3 and len(re.findall(rf"trainer\.{old}\b", new)) == 2


@pytest.mark.parametrize("form", ["from pytorch_lightning{dot}{home} import {name} as x{number}", "x = pl.{old}"])
def test_names_that_are_gone(form: str) -> None:
    """From an import, and as an attribute; rewritten where something takes the same place."""
    lines = []
    for number, old in enumerate(table.GONE):
        home, _, name = old.rpartition(".")
        lines.append(form.format(old=old, home=home, name=name, number=number, dot="." if home else ""))
    notes, new = migrated("\n".join(["import pytorch_lightning as pl", *lines]))
    assert [note.what for note in notes] == list(table.GONE)
    changed = [before != after for before, after in zip(lines, new.splitlines()[1:], strict=True)]
    assert changed == [note.safe for note in notes] == [old in table.MOVED for old in table.GONE]


def test_what_has_moved_is_there_today() -> None:
    lines = [f"from fulmen.{old.rpartition('.')[0]} import {old.rpartition('.')[2]}" for old in table.MOVED]
    _, new = migrated("\n".join(lines))
    for before, after in zip(lines, new.splitlines(), strict=True):
        assert before != after
        try:
            exec(after, {})
        except ImportError as error:  # strategies for several devices come later, and TPUs have their own packages
            assert any(word in str(error) for word in ("DDPStrategy", "XLAProfiler")), error


STATEMENTS = [
        ("m = torchmetrics.Accuracy()", "torchmetrics.Accuracy", False),
        ("m = torchmetrics.functional.accuracy(a, b)", "torchmetrics.functional.accuracy", False),
        ("m = pl.metrics.F1()", "metrics.F1", False),
        ("pl.callbacks.ModelCheckpoint(period=2)", "ModelCheckpoint(period)", True),
        ("pl.callbacks.EarlyStopping('a', mode='auto')", "EarlyStopping(mode)", False),
        ("pl.callbacks.ModelCheckpoint(mode='auto')", "ModelCheckpoint(mode)", False),
        ("pl.callbacks.ModelCheckpoint(filepath='x')", "ModelCheckpoint(filepath)", False),
        ("pl.Trainer.add_argparse_args(p)", "Trainer.add_argparse_args", False),
        ("t = pl.Trainer()\nt.test(test_dataloaders=d)", "test(test_dataloaders)", True),
        ("class D(pl.LightningDataModule):\n    def __init__(self):\n        super().__init__(dims=1)",
         "LightningDataModule(dims)", False),
        ("class N(pl.LightningModule):\n    def f(self): self.log('a', 1, sync_dist_op='mean')",
         "self.log(sync_dist_op)", False),
        ("class N(pl.LightningModule):\n    def f(self): self.toggle_optimizer(a, 0)",
         "toggle_optimizer(optimizer_idx)", True),
        ("class N(pl.LightningModule):\n    def training_step(self, b, i):\n        return {'loss': 1, 'log': {}}",
         "training_step returning 'log'", False),
        ("class N(pl.LightningModule):\n    def f(self): return self.on_gpu", "self.on_gpu", False),
        ("class N(pl.LightningModule):\n    def __init__(self, h):\n        self.hparams = h", "self.hparams =", True),
        ("class N(pl.LightningModule):\n    def f(self):\n        self.hparams = f()", "self.hparams =", False),
]  # fmt: skip


def test_calls_and_statements() -> None:
    text, lines = "import fulmen as pl\nimport torchmetrics\n", {}
    for one, what, safe in STATEMENTS:
        lines.update(dict.fromkeys(range(text.count("\n") + 1, text.count("\n") + one.count("\n") + 2), (what, safe)))
        text += f"{one}\n"
    notes, new = migrated(text)
    assert [(note.what, note.safe) for note in notes] == [(what, safe) for _, what, safe in STATEMENTS]
    assert all(lines[note.line] == (note.what, note.safe) for note in notes)
    assert [one in new for one, _, _ in STATEMENTS] == [not safe for _, _, safe in STATEMENTS]


EPOCH_END = """
class {name}(pl.{base}):
    {init}
    def validation_step(self, batch, batch_idx{more}):
        {step}
    def validation_epoch_end(self, outputs):
        {body}
"""
INIT = "def __init__(self):\n        super().__init__()"
SAFE = {"base": "LightningModule", "init": INIT, "more": "", "step": "return 1", "body": "print(outputs)"}


CHANGES: list[dict[str, str]] = [
        {}, {"step": "return None"}, {"step": "yield 1"}, {"init": "x = 1"}, {"more": ", dataloader_idx"},
        {"body": "return {'log': outputs}"}, {"body": "super().validation_epoch_end(outputs)"},
        {"step": "if batch: return 1\n        return 2"},
        {"init": f"{INIT}\n    def on_validation_epoch_end(self): ..."},
        {"init": f"{INIT}\n    def validation_step_end(self, out): ..."},
        {"init": f"{INIT}\n    def val_dataloader(self): return [1, 2]"},
        {"body": "print(outputs)\n\nclass M(N): ..."},
]  # fmt: skip


def test_outputs_are_collected_where_that_is_certain() -> None:
    text = "import fulmen as pl\n"
    for number, change in enumerate(CHANGES):
        text += EPOCH_END.format(name=f"N{number}", **{**SAFE, **change}).replace("class M(N)", f"class M(N{number})")
    notes, new = migrated(text)
    mine = [note.safe for note in notes if note.what == "validation_epoch_end"]
    assert mine == [not change for change in CHANGES] and True in mine
    assert new.count("def validation_epoch_end") == len(CHANGES) - 1


# -- any call with any flags, however it is laid out

SAFE_FLAGS = [
    flags for flags, new in FLAGS.items() if new is not None and "mine" not in flags and "callbacks=[a" not in flags
]


few = settings(max_examples=6)


@st.composite
def trainers(draw: Any) -> str:
    """A call, on one line or several, with comments."""
    taken: dict[str, str] = {}
    for flags in draw(st.lists(st.sampled_from(SAFE_FLAGS), max_size=5, unique=True)):
        for part in flags.split(", "):
            if "=" in part and part.count("[") == part.count("]"):
                taken.setdefault(part.partition("=")[0], part)
    words = draw(st.permutations(["max_epochs=3", *taken.values()]))
    if draw(st.booleans()):
        return f"pl.Trainer({', '.join(words)})"
    comments = draw(
        st.lists(st.sampled_from(["", "  # why", "  # {gpus=1}"]), min_size=len(words), max_size=len(words))
    )
    return "pl.Trainer(\n" + "".join(f"    {w},{c}\n" for w, c in zip(words, comments, strict=True)) + ")"


@few
@given(trainers())
def test_any_trainer(call: str) -> None:
    """It parses, keeps all comments and all other flags, and a second time there is nothing to do."""
    text = f"# first\nimport pytorch_lightning as pl\n\nx  =  1 # odd\ntrainer = {call}  # last\n"
    notes, new = migrated(text)
    ast.parse(new)
    assert comments_of(new) == comments_of(text)
    assert "max_epochs=3" in new and new.startswith("# first\nimport pytorch_lightning as pl\n\nx  =  1 # odd\n")
    again, same = migrated(new)
    assert same == new and not [note for note in again if note.safe]
    assert len(again) <= len(notes)


def comments_of(text: str) -> list[str]:
    return [one.string for one in tokenize.generate_tokens(StringIO(text).readline) if one.type == tokenize.COMMENT]


RUNS = ("gpus=0", "gpus=None", "num_processes=1", "checkpoint_callback=False", "progress_bar_refresh_rate=0",
        "progress_bar_refresh_rate=5", 'weights_summary="full"', "weights_summary=None", "terminate_on_nan=False",
        "reload_dataloaders_every_epoch=True", "replace_sampler_ddp=False", "accumulate_grad_batches={4: 2}",
        'precision="bf16"', "profiler=True", "max_steps=None", "track_grad_norm=-1")  # fmt: skip


@few
@given(st.lists(st.sampled_from(RUNS), unique_by=lambda flag: flag.partition("=")[0]))
def test_what_is_written_runs(flags: list[str]) -> None:
    """Every Trainer that comes out is one that Fulmen makes."""
    flags = [flag for flag in flags if flag != "gpus=None" or "gpus=0" not in flags]
    _, new = migrated(f"import fulmen as pl\ntrainer = pl.Trainer({', '.join([*flags, 'logger=False'])})\n")
    names: dict[str, Any] = {}
    exec(new, names)
    trainer = names["trainer"]
    assert ("TQDMProgressBar" in new) == any(type(one).__name__ == "TQDMProgressBar" for one in trainer.callbacks) or (
        "refresh_rate" not in new
    )


API = Path(__file__).parents[2] / "data"


def test_every_name_of_1_x_that_is_gone_has_a_rule() -> None:
    import json

    old = json.loads((API / "lightning-1.x.json").read_text())
    today = json.loads((API / "lightning-2.6.json").read_text())["pytorch_lightning"]
    classes = {name: what for names in today.values() for name, what in names.items() if "members" in what}
    exports = {name for names in today.values() for name in names}
    rules: dict[str, Any] = {
        "Trainer": {**table.TRAINER_ATTRIBUTES, **table.TRAINER_METHODS},
        "LightningModule": {**table.MODULE_METHODS, **table.MODULE_ATTRIBUTES},
        "LightningDataModule": {**table.DATAMODULE_METHODS, **table.DATAMODULE_ATTRIBUTES},
        "Callback": table.CALLBACK_METHODS,
        "Logger": table.LOGGER_METHODS,
    }
    owners = {"ModelHooks": "LightningModule", "DataHooks": "LightningModule", "LightningLoggerBase": "Logger",
              "ModelCheckpoint": "Callback", "EarlyStopping": "Callback"}  # fmt: skip
    # loops may be read and not set; these two of loggers are each logger's own, not the base's
    known = {"fit_loop", "validate_loop", "test_loop", "predict_loop", "experiment", "log_text", "log_image",
             "save_checkpoint"}  # fmt: skip
    missing = []
    for version in ("1.5.10", "1.9.5"):
        for name, members in old[version].items():
            if name == "exports":
                gone = [f"{home}.{one}" for home, ones in members.items() for one in ones if one not in exports]
                missing += [one for one in gone if one not in table.GONE]
                continue
            owner = owners.get(name, name)
            if owner not in rules:
                continue
            cls = name if name in ("ModelCheckpoint", "EarlyStopping") else owner
            now = {*classes[cls]["members"], "__init__"}
            missing += [f"{name}.{one}" for one in members if one not in {*now, *rules[owner], *known}]
    flags = {one.partition("=")[0] for version in ("1.5.10", "1.9.5") for one in old[version]["Trainer"]["__init__"]}
    has = {one.partition("=")[0] for one in classes["Trainer"]["init"]}
    missing += sorted(flags - has - set(table.TRAINER_FLAGS))
    assert missing == []
