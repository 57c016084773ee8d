"""The demos: the same classes from the same seed have the same weights, data and losses as Lightning's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .differing import both
from .scenarios import QUIET

OFF = {**QUIET, "enable_checkpointing": False, "num_sanity_val_steps": 0}


def demo(pl: Any, module: str) -> Any:
    return importlib.import_module(f"{pl.__name__}.demos.{module}")


def equal(one: Any, other: Any) -> bool:
    """Whether two nests hold equal tensors and values."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.mark.parametrize("name", ["BoringModel", "ManualOptimBoringModel"])
def test_boring_models_train_alike(lightning: ModuleType, fulmen: ModuleType, name: str) -> None:
    def script(pl: Any) -> Any:
        model = getattr(demo(pl, "boring_classes"), name)()
        trainer = pl.Trainer(**OFF, max_epochs=2, limit_train_batches=3, limit_val_batches=0)
        trainer.fit(model, DataLoader(torch.randn(6, 32), batch_size=2))
        trainer.validate(model, DataLoader(torch.randn(4, 32)), verbose=False)
        trainer.test(model, DataLoader(torch.randn(4, 32)), verbose=False)
        return model.state_dict(), trainer.predict(model, DataLoader(torch.randn(4, 32))), trainer.global_step

    theirs, ours = both(lightning, fulmen, script)
    assert equal(theirs, ours)


STEPS = ("training_step", "validation_step", "test_step", "predict_step", "step")


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_the_boring_model(lightning: ModuleType, fulmen: ModuleType, name: str) -> None:
    def script(pl: Any) -> Any:
        model, batch = demo(pl, "boring_classes").BoringModel(), torch.randn(3, 32)
        return getattr(model, name)(batch) if name == "step" else getattr(model, name)(batch, 0)

    theirs, ours = both(lightning, fulmen, script)
    assert equal(theirs, ours)


def test_losses_of_the_boring_model(lightning: ModuleType, fulmen: ModuleType) -> None:
    def script(pl: Any) -> Any:
        model = demo(pl, "boring_classes").BoringModel()
        return model.loss(torch.full((2, 2), 3.0)), model.loss(torch.full((2, 2), 3.0), torch.zeros(2, 2))

    theirs, ours = both(lightning, fulmen, script)
    assert equal(theirs, ours) and [float(loss) for loss in ours] == [4.0, 9.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda demos: list(demos.RandomDataset(4, 3).data),
        lambda demos: [demos.RandomDictDataset(4, 3)[index] for index in range(3)],
        lambda demos: list(demos.RandomIterableDataset(2, 3)),
        lambda demos: [*demos.RandomIterableDatasetWithLen(2, 3), len(demos.RandomIterableDatasetWithLen(2, 3))],
        lambda demos: [len(demos.RandomDataset(4, 3)), len(demos.RandomDictDataset(4, 3))],
        lambda demos: demos.Net().eval()(torch.ones(2, 1, 28, 28)),
        lambda demos: demos.DemoModel(3, 0.5).training_step(torch.ones(2, 4, 8), 0),
        lambda demos: demos.DemoModel().configure_optimizers().param_groups[0]["lr"],
        lambda demos: demos.BoringModel().configure_optimizers()[1][0].step_size,
    ],
)
def test_small_things(lightning: ModuleType, fulmen: ModuleType, make: Callable[[Any], Any]) -> None:
    theirs, ours = both(lightning, fulmen, lambda pl: make(demo(pl, "boring_classes")))
    assert equal(theirs, ours)


@pytest.mark.parametrize("name", ["BoringDataModule", "BoringDataModuleNoLen", "IterableBoringDataModule"])
def test_data_modules(lightning: ModuleType, fulmen: ModuleType, name: str) -> None:
    def script(pl: Any) -> Any:
        found: list[Any] = []
        data = getattr(demo(pl, "boring_classes"), name)()
        for stage, hooks in (("fit", "train val"), ("validate", "val"), ("test", "test"), ("predict", "predict")):
            data.setup(stage)
            for hook in hooks.split():
                loaders = getattr(data, f"{hook}_dataloader")()
                for loader in loaders if isinstance(loaders, list) else [loaders]:
                    batches = list(loader)
                    found += [len(batches), batches[0], batches[-1]]
        return found

    theirs, ours = both(lightning, fulmen, script)
    assert equal(theirs, ours)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text where the demos look for theirs."""
    path = tmp_path / "data" / "wikitext-2.txt"
    path.parent.mkdir()
    path.write_text("".join(f" = Part {i % 7} = \n the cat sat on mat {i % 5} \n\n" for i in range(70)))
    return path


def test_text(lightning: ModuleType, fulmen: ModuleType, text: Path) -> None:
    def script(pl: Any) -> Any:
        demos = demo(pl, "transformer")
        data = demos.WikiText2(text.parent, block_size=6, download=False)
        numbers, words = demos.tokenize(text)
        return numbers, words.word2idx, words.idx2word, data.vocab_size, data[0], data[7]

    theirs, ours = both(lightning, fulmen, script)
    assert equal(theirs, ours)


def test_transformer(lightning: ModuleType, fulmen: ModuleType) -> None:
    """All but the places of words, for which see row 81."""

    def script(pl: Any) -> Any:
        demos = demo(pl, "transformer")
        model = demos.Transformer(20, 8, 2, 8, 2, dropout=0.1)
        model.pos_encoder = torch.nn.Identity()
        inputs, target = torch.arange(6).view(2, 3), torch.arange(1, 7).view(2, 3)
        mask = model.generate_square_subsequent_mask(3)
        return model.state_dict(), model(inputs, target), model(inputs, target, mask), mask

    theirs, ours = both(lightning, fulmen, script)
    assert equal(theirs, ours)


def test_lightning_transformer(lightning: ModuleType, fulmen: ModuleType, text: Path) -> None:
    def script(pl: Any) -> Any:
        model = demo(pl, "transformer").LightningTransformer(20)
        model.model.pos_encoder = torch.nn.Identity()
        pl.Trainer(**OFF, max_epochs=1, limit_train_batches=2).fit(model)
        return model.state_dict(), len(model.train_dataloader()), model.configure_optimizers().defaults["lr"]

    theirs, ours = both(lightning, fulmen, script)
    assert equal(theirs, ours)


def test_lstm(lightning: ModuleType, fulmen: ModuleType) -> None:
    def script(pl: Any) -> Any:
        model = demo(pl, "lstm").SimpleLSTM(20, 8, 8, 2, dropout=0.1)
        output, hidden = model(torch.arange(6).view(2, 3), model.init_hidden(2))
        return model.state_dict(), output, hidden

    theirs, ours = both(lightning, fulmen, script)
    assert equal(theirs, ours)


def test_lightning_lstm(lightning: ModuleType, fulmen: ModuleType, text: Path) -> None:
    def script(pl: Any) -> Any:
        demos = demo(pl, "lstm")
        model = demos.LightningLSTM(20)
        model.model = demos.SimpleLSTM(20, 8, 8, 2)
        sampler = model.train_dataloader().batch_sampler
        pl.Trainer(**OFF, max_epochs=2, limit_train_batches=2).fit(model)
        return model.state_dict(), list(sampler), model.hidden, model.configure_optimizers().defaults["lr"]

    theirs, ours = both(lightning, fulmen, script)
    assert equal(theirs, ours)


@pytest.mark.parametrize("count", [10, 12, 2])
def test_sequences(lightning: ModuleType, fulmen: ModuleType, count: int) -> None:
    def script(pl: Any) -> Any:
        sampler = demo(pl, "lstm").SequenceSampler(range(count), batch_size=4)
        return list(sampler), len(sampler)

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours
