"""Going on from a checkpoint: at the end of an epoch it is as if nothing had happened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint
from fulmen.utilities.exceptions import MisconfigurationException

EPOCHS, BATCHES = 4, 6
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=True),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.1, max_iter=3),
}
SCHEDULES = ["none", "steps", "epochs", "plateau"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*"),
    pytest.mark.filterwarnings("ignore:.*is not empty.*"),
]


class Model(pl.LightningModule):
    """It draws nothing at random, and writes down what happens to it."""

    def __init__(self, optimizer: str = "adam", schedule: str = "none") -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))
        self.optimizer, self.schedule = optimizer, schedule
        self.losses: list[tuple[int, Tensor]] = []
        self.events: list[tuple[str, int, int]] = []

    def loss(self, batch: Any) -> Tensor:
        output: Tensor = self.body(batch[0])
        error: Tensor = output.squeeze(-1) - batch[1]
        return error.square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.losses.append((self.global_step, loss.detach().clone()))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("value", self.loss(batch))

    def configure_optimizers(self) -> Any:
        optimizer = OPTIMIZERS[self.optimizer](self.parameters())
        if self.schedule == "steps":
            scheduler: Any = OneCycleLR(optimizer, 0.05, total_steps=EPOCHS * BATCHES, cycle_momentum=False)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]
        if self.schedule == "epochs":
            return [optimizer], [CosineAnnealingLR(optimizer, EPOCHS)]
        if self.schedule == "plateau":
            scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=0.9)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "value"}}
        return optimizer

    def _note(self, event: str) -> None:
        self.events.append((event, self.current_epoch, self.global_step))

    def on_fit_start(self) -> None:
        self._note("fit start")

    def on_validation_start(self) -> None:
        self._note("validation start")

    def on_train_start(self) -> None:
        self._note("train start")

    def on_train_epoch_start(self) -> None:
        self._note("epoch start")

    def on_train_epoch_end(self) -> None:
        self._note("epoch end")

    def on_train_end(self) -> None:
        self._note("train end")


def loader() -> DataLoader[Any]:
    fixed = torch.Generator().manual_seed(11)
    inputs = torch.randn(BATCHES * 4 - 1, 5, generator=fixed)  # the last batch is short
    return DataLoader(TensorDataset(inputs, inputs.sum(1)), 4)


def fit(module: Any, ckpt_path: Any = None, **flags: Any) -> pl.Trainer:
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": "callbacks" in flags,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": EPOCHS,
    }
    trainer = pl.Trainer(**{**quiet, **flags})
    trainer.fit(module, loader(), loader(), ckpt_path=ckpt_path)
    return trainer


def each_epoch(folder: Path, **flags: Any) -> ModelCheckpoint:
    """Saves at the end of each epoch, as ``0.ckpt``, ``1.ckpt``, ..."""
    return ModelCheckpoint(folder, "{epoch}", save_top_k=-1, auto_insert_metric_name=False, **flags)


def assert_same_end(ours: pl.Trainer, theirs: pl.Trainer) -> None:
    assert (ours.current_epoch, ours.global_step) == (theirs.current_epoch, theirs.global_step)
    mine, its = ours.lightning_module, theirs.lightning_module
    torch.testing.assert_close(dict(mine.state_dict()), dict(its.state_dict()), rtol=0, atol=0)
    for one, other in zip(ours.optimizers, theirs.optimizers):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    for mine_config, its_config in zip(ours.lr_scheduler_configs, theirs.lr_scheduler_configs):
        assert plain_state(mine_config.scheduler) == plain_state(its_config.scheduler)


def plain_state(scheduler: Any) -> dict[str, Any]:
    """Its state; some keep bound methods in it, which are equal to none but themselves."""
    return {name: callable(value) or value for name, value in scheduler.state_dict().items()}


@given(
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    schedule=st.sampled_from(SCHEDULES),
    cut=st.integers(0, EPOCHS - 2),
    precision=st.sampled_from(["32-true", "64-true", "bf16-mixed", "bf16-true"]),
    accumulate=st.sampled_from([1, 2, 4]),
    clip=st.sampled_from([None, 0.1]),
    sanity=st.sampled_from([0, 2]),
)
def test_the_end_of_an_epoch_is_a_seam_that_cannot_be_seen(
    tmp_path_factory: pytest.TempPathFactory,
    optimizer: str,
    schedule: str,
    cut: int,
    precision: str,
    accumulate: int,
    clip: float | None,
    sanity: int,
) -> None:
    accumulate = 1 if optimizer == "lbfgs" else accumulate  # it needs the whole gradient each time
    folder = tmp_path_factory.mktemp("run")
    flags = {
        "precision": precision,
        "accumulate_grad_batches": accumulate,
        "gradient_clip_val": clip,
        "num_sanity_val_steps": sanity,
    }
    whole = Model(optimizer, schedule)
    uncut = fit(whole, callbacks=[each_epoch(folder)], **flags)
    resumed = Model(optimizer, schedule)
    resumed.load_state_dict({name: 0 * value for name, value in resumed.state_dict().items()})  # this gives way
    again = fit(resumed, ckpt_path=folder / f"{cut}.ckpt", **flags)
    assert_same_end(again, uncut)
    steps = -(-BATCHES // accumulate) * (cut + 1)
    expected = [loss for step, loss in whole.losses if step >= steps]
    assert len(expected) >= BATCHES
    torch.testing.assert_close([loss for _, loss in resumed.losses], expected, rtol=0, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_a_run_that_is_cut_after_each_epoch(tmp_path: Path, optimizer: str, schedule: str) -> None:
    uncut = fit(Model(optimizer, schedule))
    path = None
    for epochs in range(1, EPOCHS + 1):
        again = fit(Model(optimizer, schedule), path, max_epochs=epochs)
        path = tmp_path / f"{epochs}.ckpt"
        again.save_checkpoint(path)
    assert_same_end(again, uncut)


def test_counters_and_events(tmp_path: Path) -> None:
    whole, resumed = Model(), Model()
    fit(whole, callbacks=[each_epoch(tmp_path)])
    trainer = fit(resumed, tmp_path / "1.ckpt", num_sanity_val_steps=0)
    steps = 2 * BATCHES
    assert resumed.events[:2] == [("fit start", 0, 0), ("train start", 2, steps)]
    assert resumed.events[2:] == whole.events[whole.events.index(("epoch start", 2, steps)) :]
    assert (trainer.current_epoch, trainer.global_step) == (EPOCHS, EPOCHS * BATCHES)
    assert resumed.losses[0][0] == steps


def test_the_sanity_check_comes_before_the_epoch_is_counted(tmp_path: Path) -> None:
    fit(Model(), callbacks=[each_epoch(tmp_path)])
    resumed = Model()
    fit(resumed, tmp_path / "0.ckpt")
    assert resumed.events[:3] == [
        ("fit start", 0, 0),
        ("validation start", 0, BATCHES),
        ("train start", 1, BATCHES),
    ]


def test_steps_go_on_being_counted(tmp_path: Path) -> None:
    fit(Model(), max_epochs=1, callbacks=[each_epoch(tmp_path)])
    resumed = Model()
    trainer = fit(resumed, tmp_path / "0.ckpt", max_epochs=-1, max_steps=BATCHES + 2)
    assert (trainer.current_epoch, trainer.global_step) == (2, BATCHES + 2)
    assert len(resumed.losses) == 2


def test_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    whole = fit(Model())
    whole.save_checkpoint(tmp_path / "end.ckpt")
    resumed = Model()
    trainer = fit(resumed, tmp_path / "end.ckpt")
    assert not resumed.losses
    assert_same_end(trainer, whole)


def test_a_finished_run_goes_on_with_more_epochs(tmp_path: Path) -> None:
    fit(Model(), max_epochs=2).save_checkpoint(tmp_path / "end.ckpt")
    assert_same_end(fit(Model(), tmp_path / "end.ckpt"), fit(Model()))


@pytest.mark.parametrize("every", [1, 2, 4])
def test_in_the_middle_the_epoch_goes_on(tmp_path: Path, every: int) -> None:
    saves = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=every, auto_insert_metric_name=False)
    whole = Model()
    uncut = fit(whole, max_epochs=2, callbacks=[saves])
    step = BATCHES + 2 if every != 4 else 8
    resumed = Model()
    trainer = fit(resumed, tmp_path / f"{step}.ckpt", max_epochs=2)
    assert [count for count, _ in resumed.losses] == list(range(step, 2 * BATCHES))
    assert (trainer.current_epoch, trainer.global_step) == (2, 2 * BATCHES)
    assert not [event for event in resumed.events if event[0] == "epoch start"]
    assert_same_end(trainer, uncut)


def test_in_the_middle_of_a_window_its_gradients_go_on(tmp_path: Path) -> None:
    class Saves(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2 and trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    uncut = fit(Model(), callbacks=[Saves()], accumulate_grad_batches=2, max_epochs=1)
    trainer = fit(Model(), tmp_path / "middle.ckpt", accumulate_grad_batches=2, max_epochs=1)
    assert trainer.global_step == BATCHES // 2
    assert_same_end(trainer, uncut)


@pytest.mark.parametrize("how", ["callback", "trainer"])
def test_weights_alone_are_no_state_of_training(tmp_path: Path, how: str) -> None:
    if how == "callback":
        fit(Model(), max_epochs=1, callbacks=[each_epoch(tmp_path, save_weights_only=True)])
    else:
        fit(Model(), max_epochs=1).save_checkpoint(tmp_path / "0.ckpt", weights_only=True)
    with pytest.raises(
        MisconfigurationException, match=r"(?s)weights.alone.*load_from_checkpoint.*save_weights_only=False"
    ):
        fit(Model(), tmp_path / "0.ckpt")


def test_weights_alone_can_be_evaluated(tmp_path: Path) -> None:
    whole = fit(Model(), callbacks=[each_epoch(tmp_path, save_weights_only=True)])
    expected = whole.callback_metrics["value"].item()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    [found] = trainer.validate(Model(), loader(), ckpt_path=tmp_path / f"{EPOCHS - 1}.ckpt", verbose=False)
    assert found["value"] == expected


def test_fewer_epochs_than_are_behind(tmp_path: Path) -> None:
    fit(Model()).save_checkpoint(tmp_path / "end.ckpt")
    with pytest.raises(MisconfigurationException, match=rf"(?s)current_epoch={EPOCHS}.*(Set|set) `max_epochs`"):
        fit(Model(), tmp_path / "end.ckpt", max_epochs=2)


def test_another_number_of_schedulers(tmp_path: Path) -> None:
    fit(Model(schedule="epochs"), max_epochs=1, callbacks=[each_epoch(tmp_path)])
    with pytest.raises(MisconfigurationException, match=r"1 optimizers and 1 schedulers in the file, 1 and 0"):
        fit(Model(), tmp_path / "0.ckpt")


def test_callbacks_go_on_with_their_states(tmp_path: Path) -> None:
    def callbacks() -> list[Any]:
        best = ModelCheckpoint(tmp_path, "{epoch}-{value}", monitor="value", save_top_k=2)
        return [EarlyStopping("value", patience=10, min_delta=100.0), best]

    stopping, best = callbacks()
    uncut = fit(Model(), callbacks=[stopping, best, each_epoch(tmp_path / "all")])
    kept = {path: value.item() for path, value in best.best_k_models.items()}
    shutil.copytree(tmp_path / "all", tmp_path / "copies")
    for path in kept:
        Path(path).unlink()

    fit(Model(), max_epochs=2, callbacks=callbacks())
    stopping_again, best_again = callbacks()
    last = each_epoch(tmp_path / "all")
    again = fit(Model(), tmp_path / "copies" / "1.ckpt", callbacks=[stopping_again, best_again, last])
    assert (stopping_again.wait_count, stopping_again.best_score) == (stopping.wait_count, stopping.best_score)
    assert {path: value.item() for path, value in best_again.best_k_models.items()} == kept
    assert best_again.best_model_path == best.best_model_path
    assert_same_end(again, uncut)


def test_the_module_and_the_data_have_their_say(tmp_path: Path) -> None:
    class Talks(Model):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["note"] = f"saved at {self.global_step}"

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.note = checkpoint["note"]

    class Data(pl.LightningDataModule):
        passes = 0

        def train_dataloader(self) -> Any:
            self.passes += 1
            return loader()

        def state_dict(self) -> dict[str, Any]:
            return {"passes": self.passes}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.passes = state_dict["passes"]

        def val_dataloader(self) -> Any:
            return loader()

    def run(module: Any, data: Any, epochs: int, path: Any = None) -> pl.Trainer:
        trainer = pl.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, max_epochs=epochs,
        )  # fmt: skip
        trainer.fit(module, datamodule=data, ckpt_path=path)
        return trainer

    run(Talks(), Data(), 1).save_checkpoint(tmp_path / "one.ckpt")
    module, data = Talks(), Data()
    run(module, data, 2, tmp_path / "one.ckpt")
    assert module.note == f"saved at {BATCHES}"
    assert data.passes == 2


def test_the_last_checkpoint_is_found(tmp_path: Path) -> None:
    def saves() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path, save_last=True)

    fit(Model(), max_epochs=2, callbacks=[saves()])
    resumed = Model()
    trainer = fit(resumed, "last", callbacks=[saves()])
    assert len(resumed.losses) == (EPOCHS - 2) * BATCHES
    assert_same_end(trainer, fit(Model()))


def test_a_second_fit_of_the_same_trainer_goes_on(tmp_path: Path) -> None:
    trainer = fit(Model(), max_epochs=2, callbacks=[each_epoch(tmp_path)])
    trainer.fit_loop.max_epochs = EPOCHS
    again = Model()
    trainer.fit(again, loader(), loader(), ckpt_path=tmp_path / "0.ckpt")
    assert len(again.losses) == (EPOCHS - 1) * BATCHES
    assert_same_end(trainer, fit(Model()))


def test_a_compiled_module_leaves_no_trace_in_its_checkpoints(tmp_path: Path) -> None:
    torch.compiler.reset()
    plain = fit(Model())
    module = Model()
    compiled = torch.compile(module, backend="eager")
    trainer = fit(compiled, callbacks=[each_epoch(tmp_path)])
    saved = torch.load(tmp_path / "1.ckpt")
    assert saved["state_dict"].keys() == module.state_dict().keys()
    assert "_orig_mod" not in str(saved)
    assert_same_end(trainer, plain)

    assert_same_end(fit(Model(), tmp_path / "1.ckpt"), plain)  # it goes on without being compiled ...
    assert_same_end(fit(torch.compile(Model(), backend="eager"), tmp_path / "1.ckpt"), plain)  # ... and compiled
    loaded = Model.load_from_checkpoint(tmp_path / f"{EPOCHS - 1}.ckpt")
    torch.testing.assert_close(dict(loaded.state_dict()), dict(module.state_dict()), rtol=0, atol=0)


def test_lightnings_own_checkpoint_serves(tmp_path: Path) -> None:
    """A file without Fulmen's own entry, as others write it."""
    uncut = fit(Model(schedule="epochs"), callbacks=[each_epoch(tmp_path)])
    content = torch.load(tmp_path / "1.ckpt")
    del content["fulmen"]
    torch.save(content, tmp_path / "foreign.ckpt")
    assert_same_end(fit(Model(schedule="epochs"), tmp_path / "foreign.ckpt"), uncut)


def test_a_resume_that_fails_touches_nothing_that_was_saved(tmp_path: Path) -> None:
    fit(Model(), max_epochs=1, callbacks=[each_epoch(tmp_path)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert list(before) == ["0.ckpt"]
    with pytest.raises(MisconfigurationException, match="Return the same ones"):
        fit(Model(schedule="epochs"), tmp_path / "0.ckpt", callbacks=[each_epoch(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"(?s)no checkpoint at.*check the path"):
        fit(Model(), tmp_path / "1.ckpt", callbacks=[each_epoch(tmp_path)])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
