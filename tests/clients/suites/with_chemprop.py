"""chemprop: message passing networks, trained, saved and loaded as its notebooks do, and by its command line."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
import torch
from chemprop import data, models, nn
from lightning import pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

SMILES = ["CCO", "CCC", "CCN", "c1ccccc1", "CC(=O)O", "CCCl", "C1CCCCC1", "CCOC", "CNC", "CC#N", "OCCO", "CCS"] * 3
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


@pytest.fixture
def loaders():
    points = [data.MoleculeDatapoint.from_smi(smiles, [float(len(smiles) + i % 3)]) for i, smiles in enumerate(SMILES)]
    train, rest = data.MoleculeDataset(points[:24]), data.MoleculeDataset(points[24:])
    scaler = train.normalize_targets()
    rest.normalize_targets(scaler)
    return data.build_dataloader(train, batch_size=8, seed=0), data.build_dataloader(rest, shuffle=False), scaler


def network(scaler, predictor=nn.RegressionFFN, **more):
    back = nn.UnscaleTransform.from_standard_scaler(scaler)
    return models.MPNN(
        nn.BondMessagePassing(d_h=16), nn.MeanAggregation(), predictor(input_dim=16, output_transform=back), **more
    )


@pytest.mark.parametrize("predictor", [nn.RegressionFFN, nn.MveFFN, nn.EvidentialFFN])
def test_train_test_predict(predictor, loaders, tmp_path, record_property):
    train, rest, scaler = loaders
    torch.manual_seed(0)
    model = network(scaler, predictor, batch_norm=True, metrics=[nn.metrics.RMSE(), nn.metrics.MAE()])
    checkpoint = ModelCheckpoint(tmp_path, "best-{epoch}-{val_loss:.2f}", "val_loss", mode="min", save_last=True)
    trainer = pl.Trainer(**QUIET, max_epochs=3, callbacks=[checkpoint, EarlyStopping("val_loss", patience=2)])
    trainer.fit(model, train, rest)
    record_property("test", trainer.test(model, rest, verbose=False))
    record_property("forecast", np.concatenate(trainer.predict(model, rest)).ravel().tolist())
    record_property("best", checkpoint.best_model_path.split("/")[-1])
    again = models.MPNN.load_from_checkpoint(checkpoint.last_model_path)
    assert np.array_equal(np.concatenate(trainer.predict(again, rest)), np.concatenate(trainer.predict(model, rest)))
    record_property("hparams", sorted(map(str, again.hparams)))


def test_loading_from_a_file(loaders, tmp_path, record_property):
    train, rest, scaler = loaders
    model = network(scaler)
    pl.Trainer(**QUIET, max_epochs=1, enable_checkpointing=False).fit(model, train, rest)
    models.save_model(tmp_path / "model.pt", model)
    again = models.MPNN.load_from_file(tmp_path / "model.pt")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    record_property("sum", sum(value.double().sum().item() for value in model.state_dict().values()))


def test_command_line(tmp_path, monkeypatch, record_property):
    from chemprop.cli.main import main

    with open(tmp_path / "data.csv", "w") as file:
        csv.writer(file).writerows([["smiles", "y"], *((s, len(s) + i % 3) for i, s in enumerate(SMILES))])
    out, table = tmp_path / "out", str(tmp_path / "data.csv")
    common = ["--accelerator", "cpu", "--num-workers", "0"]
    words = ["train", "-i", table, "-o", str(out), "--epochs", "3", "--pytorch-seed", "1", "--message-hidden-dim", "16"]
    monkeypatch.setattr(sys, "argv", ["chemprop", *words, *common])
    main()
    (best,) = out.rglob("best.pt")
    words = ["predict", "-i", table, "--model-paths", str(best), "-o", str(tmp_path / "predicted.csv")]
    monkeypatch.setattr(sys, "argv", ["chemprop", *words, *common])
    main()
    record_property("predicted", (tmp_path / "predicted.csv").read_text())
