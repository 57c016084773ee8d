from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from fulmen import LightningModule, Trainer
from fulmen.callbacks.model_summary import ModelSummary


class Model(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 2)
        self.own = torch.nn.Parameter(torch.zeros(2))
        self.example_input_array = torch.zeros(3, 8)

    def forward(self, x: Any) -> Any:
        return self.layer(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(callback: ModelSummary, model: LightningModule | None = None) -> Trainer:
    trainer = Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        callbacks=[callback],
    )  # fmt: skip
    trainer.fit(model or Model(), DataLoader(torch.ones(4, 8)))  # type: ignore[arg-type]
    return trainer


def test_the_table_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fulmen"):
        fit(ModelSummary())
    (table,) = [message for message in caplog.messages if "Params" in message]
    assert table.startswith("\n  | Name         | Type   | Params | Mode  | FLOPs | In sizes | Out sizes\n")
    assert "0 | layer        | Linear | 18     | train | 96    | [3, 8]   | [3, 2]   " in table
    assert table.endswith("96        Total Flops")


class Keeping(ModelSummary):
    kept: list[tuple[tuple[Any, ...], dict[str, Any]]]

    @staticmethod
    def summarize(*args: Any, **kwargs: Any) -> None:
        Keeping.kept.append((args, kwargs))


@pytest.fixture
def kept() -> list[Any]:
    Keeping.kept = []
    return Keeping.kept


def test_what_an_override_of_summarize_gets(kept: list[Any]) -> None:
    fit(Keeping(max_depth=1, extra=3))
    ((columns, total, trainable, size, modes), named) = kept[0]
    assert columns == [
        (" ", ["0", " "]), ("Name", ["layer", "other params"]), ("Type", ["Linear", "n/a"]),
        ("Params", ["18  ", "2  "]), ("Mode", ["train", "n/a"]), ("FLOPs", ["96  ", "n/a"]),
        ("In sizes", ["[3, 8]", "n/a"]), ("Out sizes", ["[3, 2]", "n/a"]),
    ]  # fmt: skip
    assert (total, trainable, size, modes) == (20, 20, pytest.approx(80e-6), {"train": 1, "eval": 0})
    assert named == {"total_flops": 96, "extra": 3}


def test_depth_zero_shows_nothing(kept: list[Any]) -> None:
    fit(Keeping(max_depth=0))
    assert not kept


def test_the_first_process_alone_shows_it(kept: list[Any]) -> None:
    class Other(Trainer):
        is_global_zero = False

    callback = Keeping()
    trainer = Other(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[callback])
    callback.on_fit_start(trainer, Model())
    assert not kept


def test_training_is_bit_equal_with_and_without(kept: list[Any]) -> None:
    """The forward pass with the example takes no random number and changes no buffer."""

    class Random(Model):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(8)

        def forward(self, x: Any) -> Any:
            return self.layer(self.norm(x + torch.randn_like(x)))

    def weights(depth: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = Random()
        trainer = Trainer(
            accelerator="cpu", max_steps=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            callbacks=[Keeping(depth)],
        )  # fmt: skip
        trainer.fit(model, DataLoader(torch.ones(6, 8), batch_size=2))  # type: ignore[arg-type]
        return model.state_dict()

    with_summary, without = weights(1), weights(0)
    assert len(kept) == 1
    assert all(torch.equal(value, without[name]) for name, value in with_summary.items())


def test_a_model_in_shards_shows_the_share_of_each_process(kept: list[Any]) -> None:
    model = Model()
    for parameter in model.layer.parameters():
        parameter.ds_numel = parameter.numel()  # type: ignore[attr-defined]
    fit(Keeping(), model)
    assert [header for header, _ in kept[0][0][0]][3:5] == ["Params", "Params per Device"]
