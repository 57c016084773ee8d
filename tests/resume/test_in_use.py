"""What people do with checkpoints in scripts: odd metrics, saves in any hook, restarts of runs that are over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*ModelChec.*")
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)
        self.mean = torchmetrics.MeanMetric()
        self.events: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.events.append(f"train {self.current_epoch}.{batch_idx}")
        loss = self.layer(batch).square().mean()
        self.mean(loss)  # its sum keeps the graph
        self.log("train_loss", self.mean, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.events.append(f"val {self.current_epoch}.{batch_idx}")
        self.log("val_loss", float(self.current_epoch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


def data() -> Any:
    return DataLoader(torch.arange(8.0).view(8, 1), 2)  # type: ignore[arg-type]


def fit(module: Any, callbacks: list[Any], path: Any = None, **flags: Any) -> pl.Trainer:
    trainer = pl.Trainer(callbacks=callbacks, **{**QUIET, "max_epochs": 3, **flags})
    trainer.fit(module, data(), data(), ckpt_path=path)
    return trainer


@pytest.mark.parametrize("trigger", [{}, {"every_n_train_steps": 3}])
def test_a_metric_of_a_loss_with_its_graph(tmp_path: Path, trigger: Any) -> None:
    saving = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, auto_insert_metric_name=False, **trigger)
    whole = fit(Net(), [saving])
    for path in sorted(tmp_path.iterdir()):
        again = fit(Net(), [], path, enable_checkpointing=False)
        assert again.callback_metrics["train_loss"] == whole.callback_metrics["train_loss"]


HOOKS = [
    "on_validation_start", "on_validation_epoch_start", "on_validation_batch_start", "on_validation_batch_end",
    "on_validation_epoch_end", "on_validation_end", "on_train_epoch_start", "on_train_epoch_end", "on_train_batch_end",
]  # fmt: skip


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.filterwarnings("ignore:.*states of callbacks.*")
def test_nothing_is_left_out_whatever_hook_saves(tmp_path: Path, hook: str) -> None:
    class Saver(pl.Callback):
        count = 0

        def note(self, trainer: Any, module: Any, *_: Any) -> None:
            if not trainer.sanity_checking:
                module.events.append(f"saved {self.count}")
                trainer.save_checkpoint(tmp_path / f"{self.count}.ckpt")
                self.count += 1

    setattr(Saver, hook, Saver.note)
    whole = Net()
    fit(whole, [Saver()], enable_checkpointing=False)
    events = [event for event in whole.events if not event.startswith("saved")]
    for number in range(len(list(tmp_path.iterdir()))):
        again = Net()
        fit(again, [], tmp_path / f"{number}.ckpt", enable_checkpointing=False)
        place = whole.events.index(f"saved {number}")
        left = [event for event in whole.events[place:] if not event.startswith("saved")]
        if hook in ("on_validation_start", "on_validation_epoch_start", "on_train_epoch_start"):
            assert again.events == left
        else:  # a batch that has begun begins again
            assert again.events in (left, events[len(events) - len(left) - 1 :])


@pytest.mark.parametrize("settings", [{}, {"monitor": "val_loss", "save_last": True}, {"every_n_train_steps": 2}])
def test_early_stopping_has_ended_the_run_once_and_for_all(tmp_path: Path, settings: Any) -> None:
    def start() -> tuple[pl.Trainer, Net]:
        module = Net()
        stop = EarlyStopping("val_loss", patience=2)
        return fit(module, [stop, ModelCheckpoint(tmp_path, **settings)], "auto", max_epochs=20), module

    first, _ = start()
    assert (first.current_epoch, first.global_step) == (3, 12)
    for _ in range(2):
        again, module = start()
        assert again.global_step == 12
        assert not [event for event in module.events if event.startswith("train")]
    module = Net()
    with pytest.warns(UserWarning, match="does not have"):  # without it, training goes on
        trainer = fit(module, [ModelCheckpoint(tmp_path, **settings)], "auto", max_epochs=5)
    assert trainer.global_step == 20


def test_early_stopping_in_the_first_epoch_has_ended_the_run(tmp_path: Path) -> None:
    def start() -> tuple[pl.Trainer, Net]:
        module = Net()
        stop = EarlyStopping("val_loss", stopping_threshold=1e9)
        return fit(module, [stop, ModelCheckpoint(tmp_path)], "auto", max_epochs=20), module

    assert start()[0].global_step == 4
    again, module = start()
    assert again.global_step == 4
    assert not [event for event in module.events if event.startswith("train")]


def test_a_run_that_is_over_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(Net(), [ModelCheckpoint(tmp_path)])
    with caplog.at_level("INFO"):
        fit(Net(), [ModelCheckpoint(tmp_path)], "auto")
    assert "come to its end (3 epochs, 12 steps): nothing is left to train" in caplog.text


def test_a_hyper_parameter_that_nothing_can_name(tmp_path: Path) -> None:
    class Odd(Net):
        def __init__(self, values: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    logger = pl.loggers.CSVLogger(tmp_path)
    with pytest.warns(UserWarning, match=r"ignore=\['values'\]"):
        fit(Odd(number for number in range(3)), [ModelCheckpoint(tmp_path)], logger=logger, max_epochs=1)
    assert "values" in (Path(logger.log_dir) / "hparams.yaml").read_text()


def test_another_kind_of_optimizer(tmp_path: Path) -> None:
    def with_optimizer(kind: Any) -> Any:
        class Other(Net):
            def configure_optimizers(self) -> Any:
                return kind(self.parameters(), 0.01)

        return Other()

    fit(with_optimizer(torch.optim.Adam), [ModelCheckpoint(tmp_path, "file")], max_epochs=1)
    path = tmp_path / "file.ckpt"
    saving = ModelCheckpoint(tmp_path, "other")
    with pytest.raises(ValueError, match=r"(?s)what Adam remembered, and SGD.*momentum.*What to do: Return the same"):
        fit(with_optimizer(torch.optim.SGD), [saving], path)
    with pytest.warns(UserWarning, match="what Adam remembered, and AdamW.*What to do: Return the same"):
        fit(with_optimizer(torch.optim.AdamW), [saving], path)


@pytest.mark.parametrize("content", [b"", b"a text, and no checkpoint"])
def test_what_is_no_checkpoint_is_named_in_words(tmp_path: Path, content: bytes) -> None:
    fit(Net(), [ModelCheckpoint(tmp_path, "whole")], max_epochs=1)
    (tmp_path / "folder.ckpt").mkdir()
    (tmp_path / "odd.ckpt").write_bytes(content)
    with pytest.raises(pl.utilities.exceptions.MisconfigurationException) as caught:
        fit(Net(), [], tmp_path / "odd.ckpt", enable_checkpointing=False)
    assert "nothing in it" in str(caught.value) or "another kind" in str(caught.value) or content
    assert "whole.ckpt" in str(caught.value)


def test_a_restart_into_its_own_folder_is_no_reason_to_warn(tmp_path: Path) -> None:
    fit(Net(), [ModelCheckpoint(tmp_path)], max_epochs=1)
    fit(Net(), [ModelCheckpoint(tmp_path)], "auto", max_epochs=2)  # a warning would be an error
    with pytest.warns(UserWarning, match="is not empty"):
        fit(Net(), [ModelCheckpoint(tmp_path)], max_epochs=1)
