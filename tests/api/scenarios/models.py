"""Modules, data modules and the demos."""

from __future__ import annotations

import gzip
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.core.module import LightningModule
from fulmen.core.saving import (
    convert,
    load_hparams_from_tags_csv,
    load_hparams_from_yaml,
    save_hparams_to_tags_csv,
    save_hparams_to_yaml,
    update_hparams,
)
from fulmen.demos import boring_classes as demos
from fulmen.demos.lstm import LightningLSTM, SimpleLSTM
from fulmen.demos.mnist_datamodule import MNISTDataModule
from fulmen.demos.transformer import Dictionary, LightningTransformer, Transformer, WikiText2
from fulmen.plugins.precision.double import LightningDoublePrecisionModule
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.model_summary import model_summary as summary
from fulmen.utilities.model_summary import model_summary_deepspeed as deepspeed

from .runs import SMALL, Model


def boring(folder: Path) -> None:
    """The smallest models on the smallest data."""
    for model, data in (
        (demos.BoringModel(), None),
        (demos.ManualOptimBoringModel(), demos.BoringDataModule()),
        (demos.DemoModel(), demos.BoringDataModuleNoLen()),
    ):
        trainer = pl.Trainer(**SMALL)
        given: dict[str, Any] = {} if data is None else {"datamodule": data}
        trainer.fit(model, **given)
        trainer.predict(model, **given)
        if not isinstance(model, demos.DemoModel):
            trainer.validate(model, **given, verbose=False)
            trainer.test(model, **given, verbose=False)
    for module in (demos.BoringDataModuleNoLen(), demos.IterableBoringDataModule()):
        for stage in ("fit", "validate", "test", "predict"):
            module.setup(stage)
        for name in ("train", "val", "test", "predict"):
            getattr(module, f"{name}_dataloader")()
    demos.Net()(torch.zeros(1, 1, 28, 28))
    demos.RandomDictDataset(2, 2)


def words(folder: Path) -> None:
    """The two models of texts."""
    (folder / "source.txt").write_text("one two three\n" * 400)
    WikiText2.download(folder / "data" / "wikitext-2.txt", url=(folder / "source.txt").as_uri())
    assert WikiText2(folder / "data").vocab_size == 4
    assert Dictionary().add_word("one") == 0
    small = LightningTransformer(4)
    small.model = Transformer(4, 8, 2, 8, 1)
    recurrent = LightningLSTM(4)
    recurrent.model = SimpleLSTM(4, 8, 8, 2)
    for model in (small, recurrent):
        pl.Trainer(**SMALL).fit(model)


def digits(folder: Path) -> None:
    """MNIST from files that are fetched."""
    for prefix in ("train", "t10k"):
        for name, shape in (("images-idx3", (4, 28, 28)), ("labels-idx1", (4,))):
            size = torch.Size(shape).numel()
            content = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + bytes(size)
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    source: dict[str, Any] = {"mirror": folder.as_uri(), "checksums": {}}
    data = MNISTDataModule(str(folder / "data"), val_split=2, num_workers=0, batch_size=1, **source)
    data.prepare_data()
    data.setup("fit")
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        next(iter(loader))
    assert data.num_classes == 10


def exported(folder: Path) -> None:
    """A module in other forms, and what it has beside its hooks."""
    model = Model()
    model.to_torchscript(folder / "model.pt", method="trace")
    with mock.patch("torch.onnx.export"):  # takes ten seconds; tests/core runs it
        model.to_onnx(folder / "model.onnx")
    with suppress(ModuleNotFoundError, RuntimeError, ImportError):
        model.to_tensorrt(folder / "model.trt")
    model.freeze()
    model.unfreeze()
    model.train()
    assert demos.BoringModel().example_input_array is None
    assert model.automatic_optimization and model.strict_loading and model.configure_callbacks() == []
    for call in (lambda: LightningModule().forward(1), lambda: LightningModule().training_step(None, 0)):
        with suppress(MisconfigurationException, NotImplementedError):
            call()
    for name in ("validation", "test", "predict"):
        getattr(model, f"on_{name}_model_eval")()
    model.on_validation_model_zero_grad()
    double = LightningDoublePrecisionModule(demos.BoringModel().double())
    batch = torch.zeros(2, 32)
    double(batch)
    for step in ("training_step", "validation_step", "test_step", "predict_step"):
        getattr(double, step)(batch, 0)
    assert double.device.type == "cpu" and double.dtype == torch.float64

    class Gathering(Model):
        def on_fit_start(self) -> None:
            self.all_gather(torch.ones(1))

    pl.Trainer(**SMALL).fit(Gathering(), DataLoader(torch.zeros(2, 32)))


class Data(pl.LightningDataModule):
    """One with hyper-parameters and a state."""

    def __init__(self, size: int = 2, unused: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.remove_ignored_hparams(["unused"])

    def train_dataloader(self) -> Any:
        return DataLoader(torch.zeros(4, 32), batch_size=self.hparams.size)


def hyper_parameters(folder: Path) -> None:
    """They are kept, written, read and given back."""
    data = Data(size=1)
    assert data.hparams_initial == {"size": 1} or data.hparams_initial["size"] == 1
    trainer = pl.Trainer(**SMALL)
    trainer.fit(Model(), datamodule=data)
    trainer.save_checkpoint(folder / "run.ckpt")
    assert Data.load_from_checkpoint(folder / "run.ckpt").hparams.size == 1
    pl.LightningDataModule.from_datasets(torch.zeros(2, 2)).state_dict()
    save_hparams_to_yaml(folder / "hparams.yaml", {"lr": 0.1})
    assert load_hparams_from_yaml(folder / "hparams.yaml")["lr"] == 0.1
    save_hparams_to_tags_csv(folder / "tags.csv", {"lr": 0.1})
    assert load_hparams_from_tags_csv(folder / "tags.csv")["lr"] == 0.1
    values = {"a": {"b": 1}}
    update_hparams(values, {"a": {"b": 2}})
    assert convert("1") == 1


def summaries(folder: Path) -> None:
    """A table of a model, and each of its columns."""
    model = Model()
    for made in (summary.summarize(model, max_depth=2), deepspeed.DeepSpeedSummary(model)):
        made.summarize()
        for name in dir(type(made)):
            if not name.startswith("_") and isinstance(getattr(type(made), name), property):
                getattr(made, name)
        str(made)
    for layer in (summary.LayerSummary(nn.Linear(2, 2)), deepspeed.DeepSpeedLayerSummary(nn.Linear(2, 2))):
        for name in dir(type(layer)):
            if not name.startswith("_") and isinstance(getattr(type(layer), name), property):
                getattr(layer, name)
        layer.detach_hook()
    deepspeed.deepspeed_param_size(nn.Parameter(torch.zeros(2)))
    summary.parse_batch_shape(torch.zeros(2, 2))
    assert summary.get_human_readable_count(1000) and summary.get_formatted_model_size(1.0)
