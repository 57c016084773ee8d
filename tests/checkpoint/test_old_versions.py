"""Files of every version of Lightning: a run that goes on from one ends as one that never stopped."""

from __future__ import annotations

import argparse
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint
from fulmen.precision.amp import MixedPrecision
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.parsing import AttributeDict
from fulmen.utilities.unresolved import Unresolved

from .old_layouts import VERSIONS, before, write

BATCHES, EPOCHS, SAVED = 4, 4, 2
OFF: dict[str, Any] = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)


class Model(pl.LightningModule):
    def __init__(self, width: int = 3, names: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(1)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = (self.net(batch[0]).squeeze(-1) - batch[1]).square().mean()
        return {"first": loss, "second": loss * 2} if self.hparams.names else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", (self.net(batch[0]).squeeze(-1) - batch[1]).square().mean())

    def configure_optimizers(self) -> Any:
        if self.hparams.names:
            first, second = self.net[0].parameters(), self.net[2].parameters()
            return {"first": torch.optim.Adam(first, 0.1), "second": torch.optim.SGD(second, 0.1)}
        optimizer = torch.optim.Adam(self.parameters(), 0.1)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


def loader() -> Any:
    inputs = torch.randn(2 * BATCHES, 2, generator=torch.Generator().manual_seed(3))
    return DataLoader(TensorDataset(inputs, inputs.sum(1)), 2)


class Save(pl.Callback):
    """Keeps what a checkpoint would hold at one place of a run."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.found: dict[str, Any] = {}

    def save(self, trainer: Any) -> None:
        if trainer.global_step == self.steps and not self.found:
            folder = Path(trainer.checkpoint_callback.dirpath)
            shutil.copytree(folder, folder.with_name("then"))
            trainer.save_checkpoint(folder.with_name("ours.ckpt"))
            self.found = torch.load(folder.with_name("ours.ckpt"), weights_only=True)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if self.steps % BATCHES:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer)


class Last(Save, Checkpoint):
    """Hears of an epoch's end after the callback that ranks files."""


def fit(folder: Path, start: Any = None, names: bool = False, save: int = 0) -> tuple[Any, Any, Any]:
    """The Trainer, its best files, and when it would stop."""
    best = ModelCheckpoint(folder, "{epoch}", monitor="val", save_top_k=1)
    stopping = EarlyStopping("val", patience=99)
    keeping = Last(save)
    trainer = pl.Trainer(max_epochs=EPOCHS, accelerator="cpu", callbacks=[best, stopping, keeping], **OFF)
    data = loader()
    trainer.fit(Model(names=names), data, data, ckpt_path=start)
    return trainer, (best, stopping), keeping.found


def state(trainer: Any) -> list[Any]:
    found: list[Any] = list(trainer.lightning_module.state_dict().values())
    for optimizer in trainer.optimizers:
        found += [value for one in optimizer.state.values() for value in one.values()]
        found += [torch.tensor(group["lr"]) for group in optimizer.param_groups]
    return found


def old_file(folder: Path, version: str, run: Any, saved: Any = None, **more: Any) -> Path:
    """A file beside those that the run had written until then, as if it had gone on here."""
    _, (best, _), found = run
    before = Path(best.dirpath)
    shutil.copytree(before.with_name("then"), folder)
    write(folder / "old.ckpt", version, moved(found if saved is None else saved, str(before), str(folder)), **more)
    return folder / "old.ckpt"


def moved(value: Any, before: str, now: str) -> Any:
    if isinstance(value, str):
        return value.replace(before, now)
    if isinstance(value, list):
        return [moved(item, before, now) for item in value]
    return {moved(k, before, now): moved(v, before, now) for k, v in value.items()} if type(value) is dict else value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    made: dict[Any, Any] = {}

    def run(steps: int = SAVED * BATCHES, names: bool = False) -> Any:
        if (steps, names) not in made:
            made[steps, names] = fit(tmp_path_factory.mktemp("whole") / "files", names=names, save=steps)
        return made[steps, names]

    return run


def assert_same(again: Any, trainer: Any) -> None:
    assert (again.current_epoch, again.global_step) == (trainer.current_epoch, trainer.global_step)
    assert all(torch.equal(one, other) for one, other in zip(state(again), state(trainer), strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_goes_on_from_the_end_of_an_epoch(version: str, whole: Any, tmp_path: Path) -> None:
    """Weights, optimizers, rates, counts, and what callbacks had seen."""
    trainer, (best, stopping), _ = whole()
    path = old_file(tmp_path / "files", version, whole())
    again, (best_again, stopping_again), _ = fit(path.parent, path)
    assert_same(again, trainer)
    assert again.progress.windows == trainer.progress.windows
    assert stopping_again.best_score == stopping.best_score and stopping_again.wait_count == stopping.wait_count
    assert best_again.best_model_score == best.best_model_score
    assert Path(best_again.best_model_path).name == Path(best.best_model_path).name
    assert {file.name for file in path.parent.iterdir()} == {Path(best.best_model_path).name, "old.ckpt"}


@pytest.mark.parametrize("version", ["1.5.10", "1.6.5", "1.9.5", "2.2.5"])
def test_a_run_goes_on_from_the_midst_of_an_epoch(version: str, whole: Any, tmp_path: Path) -> None:
    """The file says how many batches were used; the rest of the epoch follows."""
    run = whole(SAVED * BATCHES - 2)
    path = old_file(tmp_path / "files", version, run)
    assert_same(fit(path.parent, path)[0], run[0])


@pytest.mark.parametrize("version", ["1.0.8", "1.4.9"])
def test_the_midst_of_an_epoch_before_1_5(version: str, whole: Any, tmp_path: Path) -> None:
    """The file has no more than the number of the next epoch, with which the run goes on."""
    path = old_file(tmp_path / "files", version, whole(SAVED * BATCHES - 2))
    again, _, _ = fit(path.parent, path)
    assert (again.current_epoch, again.global_step) == (EPOCHS, EPOCHS * BATCHES - 2)


@pytest.mark.parametrize("version", ["1.4.9", "1.5.10", "1.6.5", "1.9.5"])
def test_several_optimizers(version: str, whole: Any, tmp_path: Path) -> None:
    """Before 1.6 an update counted once; then each optimizer's step did. With names, an update counts once."""
    trainer, _, saved = whole(names=True)
    steps = saved["fulmen"]["course"]["progress"]["steps"]
    assert steps == SAVED * BATCHES
    if not before(version, "1.6.0"):
        course = {"progress": {**saved["fulmen"]["course"]["progress"], "steps": 2 * steps}}
        saved = {**saved, "fulmen": {"course": course}}
    path = old_file(tmp_path / "files", version, whole(names=True), saved)
    again, _, _ = fit(path.parent, path, names=True)
    assert_same(again, trainer)
    assert again.progress.windows == trainer.progress.windows


def test_a_rate_that_was_to_fall_after_the_file_was_written(whole: Any, tmp_path: Path) -> None:
    """So it was in early versions: the schedulers of an epoch stepped when its checkpoint was there already."""
    trainer, _, saved = whole()
    schedules = [{**saved["lr_schedulers"][0], "last_epoch": SAVED - 1, "_step_count": SAVED, "_last_lr": [0.05]}]
    states = [{**saved["optimizer_states"][0]}]
    states[0]["param_groups"] = [{**states[0]["param_groups"][0], "lr": 0.05}]
    saved = {**saved, "lr_schedulers": schedules, "optimizer_states": states}
    path = old_file(tmp_path / "files", "1.2.10", whole(), saved)
    assert_same(fit(path.parent, path)[0], trainer)


@pytest.mark.parametrize(
    "key",
    [
        "native_amp_scaling_state", "NativeMixedPrecisionPlugin", "ShardedNativeMixedPrecisionPlugin",
        "MixedPrecisionPlugin", "MixedPrecision",
    ],
)  # fmt: skip
def test_the_scale_of_losses(key: str, whole: Any, tmp_path: Path) -> None:
    """Under each name that it has had."""
    _, _, saved = whole()
    scaler = {
        "scale": 512.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 7,
    }
    write(tmp_path / "old.ckpt", "1.5.10", {**saved, "callbacks": {}}, **{key: scaler})
    precision = MixedPrecision("16-mixed", "cpu")
    trainer = pl.Trainer(max_epochs=SAVED, accelerator="cpu", plugins=precision, enable_checkpointing=False, **OFF)
    trainer.fit(Model(), loader(), loader(), ckpt_path=tmp_path / "old.ckpt")
    assert precision.scaler is not None and precision.scaler.state_dict()["scale"] == 512.0


def test_one_state_for_several_callbacks_of_a_class(whole: Any, tmp_path: Path) -> None:
    """The last one's, which is about its metric."""
    _, _, saved = whole()
    write(tmp_path / "old.ckpt", "1.2.10", saved)
    saving = [ModelCheckpoint(tmp_path, name, monitor=name) for name in ("val", "other")]
    stopping = [EarlyStopping("val", patience=patience) for patience in (5, 6)]
    stopping[1].mode = "max"
    trainer = pl.Trainer(max_epochs=SAVED, accelerator="cpu", callbacks=[*saving, *stopping], **OFF)
    with pytest.warns(UserWarning, match="only `best_model_path` is taken over"):
        trainer.fit(Model(), loader(), loader(), ckpt_path=tmp_path / "old.ckpt")
    assert saving[0].best_model_path and not saving[1].best_model_path
    assert stopping[0].patience == 5 and stopping[1].patience == 99


HPARAMS = {
    "of 0.7": {"hparams": {"width": 5}, "hparams_type": "dict"},
    "of 0.8": {"module_arguments": {"width": 5}},
    "a namespace": {"hparams": argparse.Namespace(width=5), "hparams_type": "Namespace"},
    "a namespace under today's key": {"hyper_parameters": argparse.Namespace(width=5)},
    "old and new": {"hparams": {"width": 4}, "hyper_parameters": {"width": 5}},
    "a dict": {"hyper_parameters": {"width": 5}, "hparams_name": "kwargs"},
    "an attribute dict": {"hyper_parameters": AttributeDict(width=5)},
}


@pytest.mark.parametrize("layout", HPARAMS)
def test_hyper_parameters(layout: str, whole: Any, tmp_path: Path) -> None:
    content = {"state_dict": Model(5).state_dict(), "pytorch-lightning_version": "1.0.0", "epoch": 1, "global_step": 1}
    torch.save({**content, **HPARAMS[layout]}, tmp_path / "old.ckpt")
    model = Model.load_from_checkpoint(tmp_path / "old.ckpt")
    assert model.hparams.width == 5 and model.net[0].out_features == 5


class Gone:
    """What pickles an object of a class that will not be there when the file is read."""

    def __init__(self, path: str) -> None:
        module, _, name = path.rpartition(".")
        self.module = ModuleType(module)
        self.cls = type(name, (), {"__module__": module})
        setattr(self.module, name, self.cls)

    def write(self, path: Path, content: Callable[[type], dict[str, Any]]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for end in range(1, self.module.__name__.count(".") + 2):
                name = ".".join(self.module.__name__.split(".")[:end])
                patch.setitem(sys.modules, name, self.module)
            torch.save(content(self.cls), path)


GONE = ("pytorch_lightning.metrics.classification.Accuracy", "somebodys_old_project.models.Config")


@pytest.mark.parametrize("name", GONE)
@pytest.mark.parametrize("version", ["1.2.10", "1.9.5", "2.6.6"])
@pytest.mark.parametrize("trusted", [False, True])
def test_classes_that_are_gone(name: str, version: str, trusted: bool, whole: Any, tmp_path: Path) -> None:
    """Weights are there, and so is what else is data; who uses the rest is told what it was."""

    def content(cls: type) -> dict[str, Any]:
        thing = cls()
        thing.threshold = 0.5  # type: ignore[attr-defined]
        hparams = {"width": 3, "metric": thing, "kind": cls}
        return {**base, "hyper_parameters": hparams, "callbacks": {cls: {"count": 1}}}

    base = {
        "state_dict": Model(3).state_dict(), "pytorch-lightning_version": version, "epoch": 1, "global_step": 4,
        "optimizer_states": [], "lr_schedulers": [],
    }  # fmt: skip
    Gone(name).write(tmp_path / "old.ckpt", content)

    class Taking(Model):
        def __init__(self, width: int, **rest: Any) -> None:
            super().__init__(width)

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.seen = checkpoint

    with pytest.warns(UserWarning, match=name.replace(".", r"\.")):
        model = Taking.load_from_checkpoint(
            tmp_path / "old.ckpt", metric=None, kind=None, weights_only=False if trusted else None
        )
    assert torch.equal(model.net[0].weight, base["state_dict"]["net.0.weight"])  # type: ignore[index]
    assert model.seen["callbacks"] == {name.rpartition(".")[2]: {"count": 1}}
    with pytest.raises(MisconfigurationException, match=r"metric=\.\.\."), pytest.warns(UserWarning):
        (tmp_path / "again.ckpt").write_bytes((tmp_path / "old.ckpt").read_bytes())
        Taking.load_from_checkpoint(tmp_path / "again.ckpt", weights_only=False if trusted else None)


def test_what_is_left_can_be_looked_at(tmp_path: Path, recwarn: Any) -> None:
    def content(cls: type) -> dict[str, Any]:
        thing = cls()
        thing.threshold = 0.5  # type: ignore[attr-defined]
        return {"state_dict": {}, "pytorch-lightning_version": "1.3.0", "callbacks": {"mine": {"thing": thing}}}

    Gone(GONE[1]).write(tmp_path / "old.ckpt", content)
    from fulmen.utilities.codec import decode_checkpoint, encode_checkpoint
    from fulmen.utilities.safe_load import load

    found = decode_checkpoint(load(tmp_path / "old.ckpt"))
    thing = found["callbacks"]["mine"]["thing"]
    assert type(thing) is Unresolved and "threshold" in repr(thing) and "models:Config" in repr(thing)
    torch.save(encode_checkpoint(found), tmp_path / "again.ckpt")
    assert repr(decode_checkpoint(torch.load(tmp_path / "again.ckpt"))["callbacks"]["mine"]["thing"]) == repr(thing)


class Attack:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("open('ran', 'w').close()",)


PLACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "hyper_parameters": lambda value: {"hyper_parameters": {"width": 3, "x": value}},
    "past hyper-parameters": lambda value: {"hparams": {"width": 3, "x": value}},
    "callbacks": lambda value: {"callbacks": {"ModelCheckpoint": {"best_model_path": value, "monitor": "val"}}},
    "scale": lambda value: {"native_amp_scaling_state": value},
    "version": lambda value: {"hparams_type": value},
}


@pytest.mark.parametrize(
    ("version", "place"),
    [
        *[(version, list(PLACES)[index % len(PLACES)]) for index, version in enumerate(VERSIONS)],
        *[("1.5.10", place) for place in PLACES],
        *[pytest.param(version, place, marks=pytest.mark.soak) for version in VERSIONS for place in PLACES],
    ],
)
def test_an_attack_does_nothing(
    version: str, place: str, whole: Any, tmp_path: Path, recwarn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, saved = whole()
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "old.ckpt", version, saved, **PLACES[place](Attack()))
    quiet = {**OFF, "enable_checkpointing": False}
    ways: list[Callable[[], Any]] = [
        lambda: Model.load_from_checkpoint("old.ckpt"),
        lambda: pl.Trainer(accelerator="cpu", max_epochs=2, **quiet).fit(Model(), loader(), ckpt_path="old.ckpt"),
        lambda: pl.Trainer(accelerator="cpu", **quiet).validate(Model(), loader(), ckpt_path="old.ckpt", verbose=False),
    ]
    for way in ways:
        try:
            way()
            assert before(version, "2.6.0")
        except MisconfigurationException as error:
            assert "exec" in str(error)
    assert not Path("ran").exists()
    pickle.loads(pickle.dumps(Attack()))
    assert Path("ran").exists()  # so the test would notice
