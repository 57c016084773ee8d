"""Runs that unfreeze layers, and runs that prune, resumed from every point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.resume.course import Record, check_every_point, seed
from tests.resume.loaders import Augmented
from tests.resume.test_every_step import QUIET, Model, nothing_else, sampled
from torch import nn
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import BackboneFinetuning, BaseFinetuning, ModelPruning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*"),
    pytest.mark.filterwarnings("ignore:.*shuffles its samples.*"),
]
RATES = torch.optim.lr_scheduler
SCHEDULES: dict[str, Any] = {
    "none": None,
    "lambda": lambda optimizer: RATES.LambdaLR(optimizer, lambda step: 0.97**step),
    "chain": lambda optimizer: RATES.SequentialLR(
        optimizer, [RATES.LinearLR(optimizer, 0.1, total_iters=4), RATES.CosineAnnealingWarmRestarts(optimizer, 5)], [4]
    ),
    "cycle": lambda optimizer: RATES.OneCycleLR(optimizer, 0.05, total_steps=100),
}


class Backbone(Model):
    def __init__(self, record: Record, schedule: str = "none") -> None:
        super().__init__(record)
        self.backbone = self.net[:5]
        self.head = self.net[5]
        self.schedule = SCHEDULES[schedule]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        groups = self.optimizers().param_groups
        self.record.notes.append(str([(len(group["params"]), group["lr"]) for group in groups]))
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=0.01)
        if self.schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule(optimizer), "interval": "step"}}


class InTwoSteps(BaseFinetuning):
    def freeze_before_training(self, pl_module: pl.LightningModule) -> None:
        self.freeze(pl_module.backbone, train_bn=False)

    def finetune_function(self, pl_module: pl.LightningModule, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.backbone[1:], optimizer)
        if epoch == 2:
            self.unfreeze_and_add_param_group(pl_module.backbone[0], optimizer, lr=0.003)


class ByHand(Backbone):
    """Two optimizers, of which the backbone joins both."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.automatic_optimization = False
        self.other = nn.Linear(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        loss = Model.training_step(self, batch, batch_idx)["loss"]
        first, second = self.optimizers()
        for optimizer in (first, second):
            optimizer.zero_grad()
        self.manual_backward(loss + self.other(batch[0]).square().mean())
        first.step()
        second.step()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.head.parameters(), lr=0.01), torch.optim.SGD(self.other.parameters(), lr=0.02)


def check(make: Any, model: Any, folder: Path, count: int = 4, **flags: Any) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        settings = {"max_epochs": 3, "logger": record.logger, **QUIET, **flags}
        trainer = pl.Trainer(callbacks=[make(), *callbacks], **settings)
        train = DataLoader(Augmented(11), batch_size=4, shuffle=True)
        trainer.fit(model(record), train, DataLoader(Augmented(5), batch_size=4, shuffle=True), ckpt_path=path)
        return trainer

    tried = check_every_point(fit, folder, sampled(count), nothing_else)
    assert set(tried) == {"batch", "inside", "validation", "epoch"}


@pytest.mark.parametrize("schedule", [*list(SCHEDULES)[:3], pytest.param("cycle", marks=pytest.mark.soak)])
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step.*")
@pytest.mark.filterwarnings("ignore:.*is deprecated. Please use `scheduler.step.*")
def test_a_backbone(tmp_path: Path, schedule: str) -> None:
    """At the unfreezing, before and after it."""
    flags: dict[str, Any] = {
        "none": {"accumulate_grad_batches": 2},
        "lambda": {"precision": "bf16-mixed"},
    }.get(schedule, {})
    check(
        lambda: BackboneFinetuning(1, train_bn=schedule != "chain"), lambda r: Backbone(r, schedule), tmp_path, **flags
    )


def test_unfrozen_in_two_steps(tmp_path: Path) -> None:
    check(InTwoSteps, Backbone, tmp_path, 6)


def test_two_optimizers(tmp_path: Path) -> None:
    check(lambda: BackboneFinetuning(1, should_align=False), ByHand, tmp_path)


class Prunable(Model):
    def __init__(self, record: Record) -> None:
        super().__init__(record, norm=False)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.record.notes.append(str({name: int((p == 0).sum()) for name, p in self.net.state_dict().items()}))


PRUNING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lottery": ({"pruning_fn": "l1_unstructured"}, {"accumulate_grad_batches": 2}),
    "kept masks": (
        {"pruning_fn": "l1_unstructured", "make_pruning_permanent": False, "use_lottery_ticket_hypothesis": False},
        {"gradient_clip_val": 0.1},
    ),
    "resampled": ({"pruning_fn": "random_unstructured", "resample_parameters": True, "amount": 3}, {}),
    "by channels": (
        {
            "pruning_fn": "ln_structured", "use_global_unstructured": False, "pruning_dim": 0, "pruning_norm": 1,
            "amount": 0.3, "use_lottery_ticket_hypothesis": lambda epoch: epoch == 1,
            "prune_on_train_epoch_end": False, "apply_pruning": lambda epoch: epoch != 2,
        },
        {"precision": "bf16-mixed"},
    ),
    "in half": ({"pruning_fn": "random_unstructured", "use_global_unstructured": False}, {"precision": "bf16-true"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*list(PRUNING)[:4], pytest.param("in half", marks=pytest.mark.soak)])
def test_pruning(tmp_path: Path, kind: str) -> None:
    """Before masks are there, with one and with several; random methods are at the same point of their numbers."""
    options, flags = PRUNING[kind]
    check(lambda: ModelPruning(**options), Prunable, tmp_path, 4, **flags)
