"""Runs in new processes: afterwards, the one that started them has what it would have had in one of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.strategies.launchers.processes import CLEAN
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fulmen import Callback, LightningDataModule, LightningModule, Trainer
from fulmen.callbacks import BackboneFinetuning, EarlyStopping, ModelCheckpoint
from fulmen.tuner import Tuner
from fulmen.utilities.exceptions import MisconfigurationException

from .test_parts import BARE, Net, loader

FORK: dict[str, Any] = {**BARE, "strategy": "ddp_fork"}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._dynamo  # noqa: F401  (optimizers import it, which takes each process seconds)

    for name in CLEAN:
        monkeypatch.delenv(name, raising=False)


class Momentum(Net):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)}


def weights(module: nn.Module) -> list[float]:
    return [number for value in module.state_dict().values() for number in value.flatten().tolist()]


def test_a_rate_is_found_in_new_processes() -> None:
    net, trainer = Net(), Trainer(**FORK)
    before = weights(net)
    found = Tuner(trainer).lr_find(net, num_training=20, early_stop_threshold=None)
    assert found is not None and len(found.results["loss"]) == 20
    assert net.lr == found.suggestion() != 0.01
    assert weights(net) == before and trainer.lightning_module is None


def test_a_batch_size_is_not_searched_for_in_new_processes() -> None:
    with pytest.raises(MisconfigurationException, match=r"(?s)works on one process.*devices=1"):
        Tuner(Trainer(**FORK)).scale_batch_size(Net())


class Late(Net):
    """Its layer is made when a run begins."""

    def __init__(self, hook: str = "configure_model", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        del self.layer
        self.hook, self.dtype_of_layer = hook, dtype

    def make(self, hook: str) -> None:
        if hook == self.hook and not hasattr(self, "layer"):
            self.layer = nn.Linear(4, 1)

    def configure_model(self) -> None:
        self.make("configure_model")

    def setup(self, stage: str) -> None:
        self.make("setup")


def test_layers_that_a_run_makes_are_made_here_too(tmp_path: Path) -> None:
    net, trainer = Late(), Trainer(**FORK, default_root_dir=tmp_path)
    trainer.fit(net)
    found = trainer.test(net, loader(4), verbose=False)
    trainer.save_checkpoint("end.ckpt")
    saved = torch.load("end.ckpt")
    assert saved["state_dict"].keys() == net.state_dict().keys() == {"layer.weight", "layer.bias"}
    assert len(saved["optimizer_states"]) == 1  # the test has not made them forgotten
    (alone,) = Trainer(**{**BARE, "devices": 1, "strategy": "auto"}).test(net, loader(4), verbose=False)
    assert found[0]["test_loss"] == pytest.approx(alone["test_loss"])


def test_double_weights_keep_their_digits() -> None:
    class Wide(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return super().training_step([one.double() for one in batch], batch_idx)

        def on_fit_end(self) -> None:
            self.layer.bias.data.fill_(1 / 3)

    net = Wide()
    Trainer(**FORK, precision="64-true").fit(net)
    assert net.layer.bias.item() == 1 / 3


def test_weights_that_do_not_fit_are_kept(tmp_path: Path) -> None:
    trainer = Trainer(**FORK, default_root_dir=tmp_path)
    (tmp_path / "end_of_run.ckpt").touch()
    with pytest.raises(MisconfigurationException, match=r"(?s)Unexpected.*`configure_model`.*lost.*end_of_run1.ckpt"):
        trainer.fit(Late("setup"))
    net = Late("setup")
    alone = Trainer(**{**FORK, "devices": 1, "strategy": "auto", "max_epochs": 2})
    alone.fit(net, ckpt_path=tmp_path / "end_of_run1.ckpt")
    assert alone.global_step == 3 + 6
    with pytest.warns(UserWarning, match="do not fit this process's `Late`"):
        (found,) = Trainer(**FORK).test(Late("setup"), loader(4), verbose=False)
    assert found["test_loss"] > 0


class Data(LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def train_dataloader(self) -> DataLoader[Any]:
        self.asked += 1
        return loader(12)

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.asked = state["asked"]


@pytest.mark.filterwarnings("ignore:Checkpoints went")
def test_a_checkpoint_that_is_saved_afterwards_is_whole() -> None:
    """It is what the processes would have saved, and training goes on from it as if it had not ended."""
    flags = FORK
    kept = ModelCheckpoint("kept", save_last=True)
    trainer = Trainer(**{**flags, "max_epochs": 2, "enable_checkpointing": True}, callbacks=[kept])
    trainer.fit(Momentum(), datamodule=Data())
    trainer.save_checkpoint("end.ckpt")
    ours, theirs = torch.load("end.ckpt"), torch.load(kept.last_model_path)
    assert ours.keys() == theirs.keys() and ours["Data"] == {"asked": 1}
    for name in ("state_dict", "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)
    assert len(ours["optimizer_states"]) == len(ours["lr_schedulers"]) == 1
    straight, resumed = Momentum(), Momentum()
    Trainer(**{**flags, "max_epochs": 4}).fit(straight, datamodule=Data())
    again = Trainer(**{**flags, "max_epochs": 4, "enable_checkpointing": True}, callbacks=[ModelCheckpoint("again")])
    again.fit(resumed, datamodule=Data(), ckpt_path="end.ckpt")
    assert weights(resumed) == weights(straight) and again.global_step == 12


@pytest.mark.soak
def test_a_second_training_leaves_its_own() -> None:
    net, trainer = Momentum(), Trainer(**FORK)
    for epochs in (1, 2):
        trainer.fit_loop.max_epochs = epochs
        trainer.fit(net)
        trainer.save_checkpoint("end.ckpt")
        assert torch.load("end.ckpt")["fulmen"]["course"]["progress"]["steps"] == trainer.global_step == 3 * epochs
    trainer.save_checkpoint("weights.ckpt", weights_only=True)
    assert "optimizer_states" not in torch.load("weights.ckpt")


class Staged(Momentum):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(4, 4)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return super().training_step([self.backbone(batch[0]), batch[1]], batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.layer.parameters(), lr=0.01, momentum=0.9)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:.*backbone")
def test_finetuning_goes_on_from_a_checkpoint_that_is_saved_afterwards() -> None:
    def fit(epochs: int, **options: Any) -> tuple[Staged, Trainer]:
        net, callback = Staged(), BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.01)
        trainer = Trainer(**{**FORK, "max_epochs": epochs}, callbacks=[callback])
        trainer.fit(net, **options)
        return net, trainer

    for epochs, thawed in ((1, False), (2, True)):
        net, trainer = fit(epochs)
        assert net.backbone.weight.requires_grad == thawed
        trainer.save_checkpoint("end.ckpt")
        assert weights(fit(3, ckpt_path="end.ckpt")[0]) == weights(fit(3)[0])


class Diary(Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.noted: dict[str, Any] = {}
        self.handle: Any = open(os.devnull)  # noqa: SIM115
        self.module: Any = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        self.losses.append(float(outputs["loss"]))
        self.noted = {"at": (trainer.global_step, torch.tensor(1.0)), "path": None}
        self.module = pl_module

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.handle.close()


class Bringing(Net):
    def configure_callbacks(self) -> list[Callback]:
        return [EarlyStopping("loss", patience=1, min_delta=100.0)]


def test_callbacks_and_counts_are_as_the_run_left_them(tmp_path: Path) -> None:
    diary, kept = Diary(), ModelCheckpoint()
    trainer = Trainer(
        **{**FORK, "max_epochs": 5, "enable_checkpointing": True}, callbacks=[diary, kept], default_root_dir=tmp_path
    )
    data = Data()
    trainer.fit(Bringing(), data)
    assert kept.dirpath == os.path.dirname(kept.best_model_path) and kept.dirpath.startswith(str(tmp_path))
    assert len(diary.losses) == trainer.global_step == 6
    assert diary.noted["at"] == (6, torch.tensor(1.0)) and diary.module is None and not diary.handle.closed
    diary.handle.close()
    assert trainer.early_stopping_callback is not None and trainer.early_stopping_callback.stopped_epoch == 1
    assert trainer.should_stop and trainer.current_epoch == 2 and trainer.num_training_batches == 3
    assert trainer.is_last_batch and trainer.datamodule is data and data.asked == 1


class Picky(Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"of": os.getpid()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise KeyError("not here")


def test_a_state_that_a_callback_refuses_costs_no_weights() -> None:
    net = Net()
    before = weights(net)
    with pytest.warns(UserWarning, match=r"`Picky.load_state_dict` failed .*KeyError"):
        Trainer(**FORK, callbacks=[Picky()]).fit(net)
    assert weights(net) != before
