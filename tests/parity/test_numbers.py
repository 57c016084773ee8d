"""Same seed, same script: the losses of every step and all that is left at the end are equal bit by bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import torch
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, TensorDataset

from .scenarios import QUIET, quiet

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true")


@dataclass(frozen=True)
class Script:
    """One training script: how the optimizer is made and stepped, with which data and flags."""

    name: str
    optimizer: str = "adam"
    step: str = "automatic"
    data: str = "tensors"
    flags: Mapping[str, Any] = field(default_factory=dict)


class Items(Dataset):
    """A map-style data set whose items are noisy: they draw from the global generator, as augmentation does."""

    def __init__(self, noise: float) -> None:
        self.inputs, self.targets = _table()
        self.noise = noise

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index] + self.noise * torch.randn(6), self.targets[index]


def _table() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(32, 6, generator=generator)
    return inputs, (inputs.sum(1) > 0).long()


def _loader(kind: str, shuffle: bool) -> Any:
    if kind == "several":
        return {"first": _loader("tensors", shuffle), "second": _loader("items", shuffle)}
    if kind == "in order":  # with a generator of its own, so that opening it does not draw from the global one
        return DataLoader(Items(0.1), batch_size=4, generator=torch.Generator())
    if kind == "workers":
        return DataLoader(Items(0.1), batch_size=4, shuffle=shuffle, num_workers=1)
    dataset = TensorDataset(*_table()) if kind == "tensors" else Items(0.1)
    return DataLoader(dataset, batch_size=4, shuffle=shuffle, drop_last=True)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {}


def _optimizer(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    OPTIMIZERS[function.__name__] = function
    return function


def _adam(layer: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(layer.parameters(), lr=1e-2, eps=1e-4)  # its usual eps is zero in half precision


@_optimizer
def adam(module: Any) -> Any:
    return _adam(module)


@_optimizer
def momentum(module: Any) -> Any:
    return torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


@_optimizer
def lbfgs(module: Any) -> Any:
    return torch.optim.LBFGS(module.parameters(), lr=0.1, max_iter=4)


@_optimizer
def two_adams(module: Any) -> Any:
    return [_adam(module.body), _adam(module.head)]


@_optimizer
def one_cycle(module: Any) -> Any:
    optimizer = adam(module)
    steps = module.trainer.estimated_stepping_batches
    return [optimizer], [{"scheduler": OneCycleLR(optimizer, 0.05, total_steps=steps), "interval": "step"}]


@_optimizer
def cosine(module: Any) -> Any:
    optimizer = momentum(module)
    return {"optimizer": optimizer, "lr_scheduler": CosineAnnealingLR(optimizer, 3)}


@_optimizer
def plateau(module: Any) -> Any:
    optimizer = adam(module)
    scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=1.0)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "value"}}


def _module(pl: Any, script: Script) -> Any:
    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = script.step != "manual"
            self.body = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU())
            self.head = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(8, 2))
            self.losses: list[torch.Tensor] = []

        def loss(self, batch: Any) -> torch.Tensor:
            if isinstance(batch, dict):
                return self.loss(batch["first"]) + 0.5 * self.loss(batch["second"])
            inputs, targets = batch
            return functional.cross_entropy(self.head(self.body(inputs)), targets)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if not self.automatic_optimization:
                return self._step_both(batch)
            loss = self.loss(batch)
            self.losses.append(loss.detach().clone())
            return loss

        def _step_both(self, batch: Any) -> None:
            for optimizer in self.optimizers():
                self.toggle_optimizer(optimizer)
                loss = self.loss(batch)
                self.losses.append(loss.detach().clone())
                optimizer.zero_grad()
                self.manual_backward(loss)
                self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
                optimizer.step()
                self.untoggle_optimizer(optimizer)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.automatic_optimization:
                self.losses.append(outputs["loss"].detach().clone())

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            loss = self.loss(batch)
            self.losses.append(loss.detach().clone())
            self.log("value", loss.float(), batch_size=4)

        def configure_optimizers(self) -> Any:
            return OPTIMIZERS[script.optimizer](self)

    class Stepping(Model):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            optimizer.step(closure=optimizer_closure)

    return Stepping() if script.step == "overridden" else Model()


def train(pl: Any, script: Script, root: Path) -> tuple[list[torch.Tensor], dict[str, Any], torch.Tensor]:
    """Run ``script`` under ``pl``; return the losses in order, what is left, and the random state."""
    with quiet(), mock.patch.dict(os.environ):  # seed_everything leaves variables there
        pl.seed_everything(7, workers=script.data == "workers")
        module = _module(pl, script)
        flags = {**QUIET, "max_epochs": 3, "default_root_dir": str(root), **script.flags}
        trainer = pl.Trainer(**flags)
        train_data, val_data = (_loader(script.data, shuffle) for shuffle in (True, False))
        trainer.fit(module, train_data, None if script.data == "several" else val_data)
    left = {
        "weights": dict(module.state_dict()),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "steps": trainer.global_step,
    }
    return module.losses, left, torch.get_rng_state()


def differences(expected: Any, actual: Any, place: str = "") -> list[str]:
    """The places where two nested values are not equal to the last bit."""
    if isinstance(expected, torch.Tensor):
        same = isinstance(actual, torch.Tensor) and expected.dtype == actual.dtype
        return [] if same and torch.equal(expected, actual) else [f"{place}: {expected} != {actual}"]
    if isinstance(expected, dict):
        if not isinstance(actual, dict) or expected.keys() != actual.keys():
            return [f"{place}: {expected} != {actual}"]
        return [line for key in expected for line in differences(expected[key], actual[key], f"{place}.{key}")]
    if isinstance(expected, (list, tuple)):
        if len(expected) != len(actual):
            return [f"{place}: {len(expected)} items, not {len(actual)}"]
        pairs = zip(expected, actual)
        return [line for i, (a, b) in enumerate(pairs) for line in differences(a, b, f"{place}[{i}]")]
    return [] if expected == actual or callable(expected) else [f"{place}: {expected!r} != {actual!r}"]


def script(
    name: str, *, optimizer: str = "adam", step: str = "automatic", data: str = "tensors", **flags: Any
) -> Script:
    """A script; what is not its own is a flag of the trainer."""
    return Script(name, optimizer, step, data, flags)


SCRIPTS = [
    *(script(f"in {precision}", precision=precision) for precision in PRECISIONS),
    *(
        script(f"precision {precision}, clipped", precision=precision, gradient_clip_val=0.1)
        for precision in PRECISIONS
    ),
    *(script(f"accumulated by {count}", accumulate_grad_batches=count) for count in (2, 4, 8)),
    script("accumulated in bf16", accumulate_grad_batches=2, precision="bf16-mixed"),
    script("accumulated and clipped", accumulate_grad_batches=2, gradient_clip_val=0.1),
    script("accumulated with a schedule", optimizer="one_cycle", accumulate_grad_batches=2),
    script("clipped by norm", gradient_clip_val=0.1),
    script("clipped by value", gradient_clip_val=0.01, gradient_clip_algorithm="value"),
    script("momentum", optimizer="momentum"),
    script("a schedule of steps", optimizer="one_cycle"),
    script("a schedule of epochs", optimizer="cosine"),
    script("a plateau", optimizer="plateau"),
    script("a plateau, validated inside", optimizer="plateau", max_epochs=4, val_check_interval=4),
    script("LBFGS", optimizer="lbfgs"),
    script("LBFGS, clipped", optimizer="lbfgs", gradient_clip_val=0.1),
    script("LBFGS in bf16", optimizer="lbfgs", precision="bf16-mixed"),
    script("manual", optimizer="two_adams", step="manual"),
    *(
        script(f"manual in {precision}", optimizer="two_adams", step="manual", precision=precision)
        for precision in PRECISIONS[1:]
    ),
    script("optimizer_step is overridden", step="overridden"),
    script("optimizer_step is overridden, accumulated", step="overridden", accumulate_grad_batches=2),
    script("optimizer_step is overridden, bf16", step="overridden", precision="bf16-mixed", gradient_clip_val=0.1),
    script("items one by one", data="items"),
    script("items one by one, no sanity check", data="items", num_sanity_val_steps=0),
    script("tensors, no sanity check", num_sanity_val_steps=0),
    script("tensors, the whole sanity check", num_sanity_val_steps=-1),
    script("no validation", limit_val_batches=0),
    script("validated inside", val_check_interval=3),
    script("validated rarely", check_val_every_n_epoch=2),
    script("validated over epochs", val_check_interval=5, check_val_every_n_epoch=None),
    script("several loaders at once", data="several"),
    script("a worker", data="workers", max_epochs=2),
    script("limited", limit_train_batches=5, limit_val_batches=2),
    script("overfit", overfit_batches=2),
    # Row "Loaders made anew" of docs/differences.md: Lightning opens each of them twice, which must draw nothing.
    script("loaders made anew", data="in order", reload_dataloaders_every_n_epochs=1),
    script("max_steps", max_epochs=-1, max_steps=13),
    script("no inference mode", inference_mode=False),
    script("anomaly detection", detect_anomaly=True),
]


@pytest.mark.parametrize("case", SCRIPTS, ids=lambda case: case.name)
def test_numbers_are_lightnings_to_the_last_bit(
    case: Script, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    their_losses, theirs, their_random = train(lightning, case, tmp_path / "lightning")
    our_losses, ours, our_random = train(fulmen, case, tmp_path / "fulmen")
    assert len(their_losses) > 4
    assert differences(their_losses, our_losses, "loss")[:1] == []
    assert differences(theirs, ours, "left")[:3] == []
    assert torch.equal(their_random, our_random), "the two drew different random numbers after the last step"
