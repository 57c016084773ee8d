"""Training by the Trainer and training by hand: every loss and all that is left are equal to the last bit."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

import fulmen as pl

EPOCHS, BATCHES, BATCH = 3, 8, 3
WIDE = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}
MIXED = ("bf16-mixed", "16-mixed")  # on the CPU the second is the first, and a warning says so
PRECISIONS = ("32-true", *WIDE, *MIXED)
pytestmark = pytest.mark.filterwarnings("ignore:.*16-mixed.*")


@dataclass(frozen=True)
class Script:
    """What is trained how; the fields say what differs from the simplest script."""

    precision: str = "32-true"
    accumulate: int = 1
    optimizer: str = "adam"
    clip: tuple[float, str] | None = None
    schedule: str | None = None
    data: str = "items"
    validated: bool = False
    overridden: bool = False


@dataclass
class Trained:
    """What a training leaves behind."""

    losses: list[Tensor]
    weights: dict[str, Tensor]
    optimizers: list[dict[str, Any]]
    random: Tensor


class Items(Dataset[Any]):
    """A map-style data set that augments: each item draws from the global generator."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index] + 0.1 * torch.randn(6), int(self.targets[index])


def loader(kind: str, shuffle: bool = True, generator: torch.Generator | None = None) -> DataLoader[Any]:
    fixed = torch.Generator().manual_seed(11)
    inputs = torch.randn(BATCHES * BATCH, 6, generator=fixed)
    targets = (inputs.sum(1) > 0).long()
    dataset = TensorDataset(inputs, targets) if kind == "tensors" else Items(inputs, targets)
    return DataLoader(dataset, batch_size=BATCH, shuffle=shuffle, generator=generator)


class Net(nn.Module):
    """It normalizes and drops out, and makes a tensor of its own, whose type is the precision's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 2)

    def loss(self, batch: Any) -> Tensor:
        inputs, targets = batch
        noise = torch.randn(inputs.shape)
        return functional.cross_entropy(self.head(self.body(inputs + 0.05 * noise)), targets)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, eps=1e-4),
    "adamw, one tensor at a time": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, eps=1e-4, foreach=False),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.1, max_iter=4),
}


def schedule_of(script: Script, optimizer: torch.optim.Optimizer) -> Any:
    if script.schedule == "step":
        return OneCycleLR(optimizer, 0.05, total_steps=EPOCHS * BATCHES // script.accumulate)
    return CosineAnnealingLR(optimizer, EPOCHS) if script.schedule == "epoch" else None


class ByTrainer(Net, pl.LightningModule):
    """The same net under the Trainer."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.losses: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.losses.append(loss.detach().clone())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.loss(batch)
        if not self.trainer.sanity_checking:
            self.losses.append(loss.clone())

    def configure_optimizers(self) -> Any:
        optimizer = OPTIMIZERS[self.script.optimizer](self.parameters())
        scheduler = schedule_of(self.script, optimizer)
        if scheduler is None:
            return optimizer
        return [optimizer], [{"scheduler": scheduler, "interval": self.script.schedule}]


class ByTrainerOverridden(ByTrainer):
    """Its ``optimizer_step`` is the user's, and so gets the closure."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)


def trainer_for(script: Script, **flags: Any) -> pl.Trainer:
    value, algorithm = script.clip or (None, None)
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        precision=script.precision,
        accumulate_grad_batches=script.accumulate,
        gradient_clip_val=value,
        gradient_clip_algorithm=algorithm,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **flags,
    )


def by_trainer(script: Script, generator: torch.Generator | None = None) -> Trained:
    torch.manual_seed(5)
    module = (ByTrainerOverridden if script.overridden else ByTrainer)(script)
    validation = loader(script.data, shuffle=False)
    trainer = trainer_for(script, limit_val_batches=1.0 if script.validated else 0)
    trainer.fit(module, loader(script.data, generator=generator), validation)
    assert trainer.global_step == EPOCHS * BATCHES // script.accumulate
    return leftovers(module.losses, module, trainer.optimizers)


def leftovers(losses: list[Tensor], model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> Trained:
    states = [optimizer.state_dict() for optimizer in optimizers]
    return Trained(losses, dict(model.state_dict()), states, torch.get_rng_state())


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def precision_by_hand(name: str) -> tuple[torch.dtype, Callable[[], AbstractContextManager[Any]]]:
    """What a precision is without the Trainer: the dtype of weights and batches, and the context of a step."""
    if name in MIXED:
        return torch.float32, lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    dtype = WIDE.get(name, torch.float32)
    return dtype, lambda: default_dtype(dtype)


def clip_by_hand(script: Script, model: nn.Module) -> None:
    if script.clip is not None:
        value, algorithm = script.clip
        clip = nn.utils.clip_grad_norm_ if algorithm == "norm" else nn.utils.clip_grad_value_
        clip(model.parameters(), value)


def by_hand(script: Script, generator: torch.Generator | None = None) -> Trained:
    torch.manual_seed(5)
    dtype, context = precision_by_hand(script.precision)
    model = Net().to(dtype)
    data, validation = loader(script.data, generator=generator), loader(script.data, shuffle=False)
    optimizer = OPTIMIZERS[script.optimizer](model.parameters())
    scheduler = schedule_of(script, optimizer)
    losses = []
    for _ in range(EPOCHS):
        for index, (inputs, targets) in enumerate(data):
            with context():
                loss = model.loss((inputs.to(dtype), targets))
            losses.append(loss.detach().clone())
            (loss / script.accumulate).backward()
            if (index + 1) % script.accumulate == 0:
                clip_by_hand(script, model)
                optimizer.step()
                optimizer.zero_grad()
                if script.schedule == "step":
                    scheduler.step()
        if script.schedule == "epoch":
            scheduler.step()
        if script.validated:
            model.eval()
            for inputs, targets in validation:
                with torch.no_grad(), context():
                    losses.append(model.loss((inputs.to(dtype), targets)))
            model.train()
    return leftovers(losses, model, [optimizer])


def check_same(ours: Trained, theirs: Trained, steps: int = EPOCHS * BATCHES) -> None:
    assert len(ours.losses) == len(theirs.losses) >= steps
    assert len({loss.item() for loss in ours.losses}) > 2
    for mine, other in zip(ours.losses, theirs.losses):
        assert mine.dtype == other.dtype
        assert torch.equal(mine, other)
    assert ours.weights.keys() == theirs.weights.keys()
    for name, weight in theirs.weights.items():
        assert ours.weights[name].dtype == weight.dtype
        assert torch.equal(ours.weights[name], weight), name
    # Adam's count of steps has the default dtype of where it was made, which is no number that trains.
    torch.testing.assert_close(ours.optimizers, theirs.optimizers, rtol=0, atol=0, check_dtype=False)
    assert torch.equal(ours.random, theirs.random), "the two drew different numbers after the last step"


@pytest.mark.parametrize("data", ["items", "tensors"])
@pytest.mark.parametrize("accumulate", [1, 2, 4, 8])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_and_window(precision: str, accumulate: int, data: str) -> None:
    script = Script(precision, accumulate, data=data)
    check_same(by_trainer(script), by_hand(script))


@given(
    script=st.builds(
        Script,
        precision=st.sampled_from(["32-true", "64-true", "bf16-mixed"]),
        accumulate=st.sampled_from([1, 2, 4]),
        optimizer=st.sampled_from([name for name in OPTIMIZERS if name != "lbfgs"]),
        clip=st.sampled_from([None, (0.05, "norm"), (100.0, "norm"), (0.01, "value")]),
        schedule=st.sampled_from([None, "step", "epoch"]),
        data=st.sampled_from(["items", "tensors"]),
        validated=st.booleans(),
        overridden=st.booleans(),
    )
)
def test_everything_together(script: Script) -> None:
    check_same(by_trainer(script), by_hand(script))


@pytest.mark.parametrize("clip", [None, (0.05, "norm"), (0.01, "value")], ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw, one tensor at a time"])
@pytest.mark.parametrize("schedule", [None, "step", "epoch"])
def test_optimizers_clipped_and_scheduled(optimizer: str, clip: Any, schedule: str | None) -> None:
    script = Script(optimizer=optimizer, clip=clip, schedule=schedule, data="tensors", validated=True)
    check_same(by_trainer(script), by_hand(script))


def lbfgs_by_hand(script: Script) -> Trained:
    torch.manual_seed(5)
    dtype, context = precision_by_hand(script.precision)
    model = Net().to(dtype)
    data = loader(script.data)
    optimizer = OPTIMIZERS["lbfgs"](model.parameters())
    losses = []

    def closure(batch: Any) -> float:
        with context():
            loss = model.loss(batch)
        losses.append(loss.detach().clone())
        optimizer.zero_grad()
        loss.backward()
        clip_by_hand(script, model)
        return loss.item()

    for _ in range(EPOCHS):
        for inputs, targets in data:
            optimizer.step(functools.partial(closure, (inputs.to(dtype), targets)))
    return leftovers(losses, model, [optimizer])


@pytest.mark.parametrize("data", ["items", "tensors"])
@pytest.mark.parametrize("overridden", [False, True])
@pytest.mark.parametrize("clip", [None, (0.05, "norm")], ids=str)
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_an_optimizer_that_computes_the_loss_again(precision: str, clip: Any, overridden: bool, data: str) -> None:
    script = Script(precision, optimizer="lbfgs", clip=clip, data=data, overridden=overridden)
    ours = by_trainer(script)
    assert len(ours.losses) > EPOCHS * BATCHES
    check_same(ours, lbfgs_by_hand(script))


class TwoOptimizers(Net, pl.LightningModule):
    """Steps body and head in turn, on its own."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.automatic_optimization = False
        self.losses: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for index, (optimizer, scheduler) in enumerate(zip(self.optimizers(), self.lr_schedulers())):
            self.toggle_optimizer(optimizer)
            loss = self.loss(batch)
            self.losses.append(loss.detach().clone())
            self.manual_backward(loss)
            if (batch_idx + 1) % self.script.accumulate == 0:
                if index:
                    self.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
            self.untoggle_optimizer(optimizer)

    def configure_optimizers(self) -> Any:
        return parts_of(self)


def parts_of(model: Net) -> tuple[list[torch.optim.Optimizer], list[Any]]:
    optimizers = [OPTIMIZERS["momentum"](model.body.parameters()), OPTIMIZERS["adam"](model.head.parameters())]
    return optimizers, [CosineAnnealingLR(optimizer, 5) for optimizer in optimizers]


def two_by_hand(script: Script) -> Trained:
    torch.manual_seed(5)
    dtype, context = precision_by_hand(script.precision)
    model = Net().to(dtype)
    data = loader(script.data)
    optimizers, schedulers = parts_of(model)
    losses = []
    for _ in range(EPOCHS):
        for index, (inputs, targets) in enumerate(data):
            for part, optimizer, scheduler in zip((model.body, model.head), optimizers, schedulers):
                model.requires_grad_(False)
                part.requires_grad_(True)
                with context():
                    loss = model.loss((inputs.to(dtype), targets))
                    losses.append(loss.detach().clone())
                loss.backward()
                if (index + 1) % script.accumulate == 0:
                    if part is model.head:
                        nn.utils.clip_grad_norm_(part.parameters(), 0.1)
                    optimizer.step()
                    optimizer.zero_grad()
                    scheduler.step()
    return leftovers(losses, model, optimizers)


@pytest.mark.parametrize("data", ["items", "tensors"])
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_manual_optimization(precision: str, accumulate: int, data: str) -> None:
    script = Script(precision, accumulate, data=data)
    torch.manual_seed(5)
    module = TwoOptimizers(script)
    trainer = trainer_for(Script(precision))
    trainer.fit(module, loader(data))
    assert trainer.global_step == 2 * EPOCHS * BATCHES // accumulate
    ours = leftovers(module.losses, module, trainer.optimizers)
    check_same(ours, two_by_hand(script), steps=2 * EPOCHS * BATCHES)


@pytest.mark.parametrize("data", ["items", "tensors"])
def test_a_loader_with_a_generator_of_its_own(data: str) -> None:
    script = Script(data=data, validated=True)
    mine, other = (torch.Generator().manual_seed(3) for _ in range(2))
    check_same(by_trainer(script, mine), by_hand(script, other))
    assert torch.equal(mine.get_state(), other.get_state())
