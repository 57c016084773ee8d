"""optuna-integration: its pruning callback in a search, in memory and over a file."""

from __future__ import annotations

import optuna
import pytest
import pytorch_lightning as pl
import torch
from optuna_integration import PyTorchLightningPruningCallback
from torch.utils.data import DataLoader, TensorDataset


class Line(pl.LightningModule):
    def __init__(self, rate):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.rate)


def loader():
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16)


@pytest.mark.parametrize("stored", [False, True])
def test_bad_trials_are_pruned(stored, tmp_path, record_property):
    def objective(trial):
        torch.manual_seed(0)
        pruning = PyTorchLightningPruningCallback(trial, monitor="loss")
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = pl.Trainer(**quiet, max_epochs=6, enable_checkpointing=False, callbacks=[pruning])
        trainer.fit(Line(trial.suggest_float("rate", 1e-4, 1.0, log=True)), loader(), loader())
        pruning.check_pruned()
        return trainer.callback_metrics["loss"].item()

    storage = f"sqlite:///{tmp_path}/study.db" if stored else None
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(0), pruner=pruner)
    study.optimize(objective, n_trials=8)
    states = [trial.state.name for trial in study.trials]
    assert "PRUNED" in states
    record_property("states", states)
    record_property("values", [trial.intermediate_values for trial in study.trials])


def test_a_monitor_that_is_missing_is_said(record_property):
    trial = optuna.create_study().ask()
    pruning = PyTorchLightningPruningCallback(trial, monitor="nothing")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(**quiet, max_epochs=1, enable_checkpointing=False, callbacks=[pruning])
    with pytest.warns(UserWarning, match="nothing"):
        trainer.fit(Line(0.1), loader(), loader())
