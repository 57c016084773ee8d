"""A pair of networks with a loss and an optimizer each, and the loop that trains it, written by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.precision.amp import MixedPrecision

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
NAMES = ("d", "g")
WIDE = {"64-true": torch.float64, "bf16-true": torch.bfloat16}
MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def images(count: int = 22) -> TensorDataset:
    return TensorDataset(torch.randn(count, 3, generator=torch.Generator().manual_seed(7)))


@dataclass(frozen=True)
class Case:
    """How a pair is trained.

    Attributes:
        in_turn: Whether the losses are yielded one after the other.
        schedules: When the rate of each optimizer falls; None: never.
        skips: Batches and names for which there is no loss.
        scale: What a scaler begins with.
    """

    in_turn: bool = False
    accumulate: int = 1
    batch: int = 4
    clip: tuple[str, float] | None = None
    precision: str = "32-true"
    schedules: tuple[str | None, str | None] = ("step", None)
    skips: frozenset[tuple[int, str]] = frozenset()
    scale: float = 8.0

    def flags(self) -> dict[str, Any]:
        """What the Trainer is given."""
        kind, value = self.clip or (None, None)
        flags = {"gradient_clip_algorithm": kind, "gradient_clip_val": value, "precision": self.precision}
        if self.precision == "16-mixed":
            del flags["precision"]
            flags["plugins"] = MixedPrecision("16-mixed", "cpu", self.scaler())
        return {**QUIET, "accumulate_grad_batches": self.accumulate, **flags}

    def scaler(self) -> torch.amp.GradScaler:
        """One that grows every second update, so that a scale used twice, or not at all, shows."""
        return torch.amp.GradScaler("cpu", init_scale=self.scale, growth_interval=2)


class Pair(pl.LightningModule):
    """A generator and a discriminator, with a loss for each."""

    def __init__(self, case: Case = Case()) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.case = case
        self.generator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
        self.discriminator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        self.heard: list[str] = []

    def losses(self, real: Tensor) -> dict[str, Tensor]:
        judged = self.discriminator(self.generator(real))
        return {
            "d": nn.functional.softplus(judged).mean() + nn.functional.softplus(-self.discriminator(real)).mean(),
            "g": nn.functional.softplus(-judged).mean(),
        }

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.heard.append("step")
        losses = self.losses(batch[0])
        self.log_dict({f"loss_{name}": loss for name, loss in losses.items()})
        return {name: None if (batch_idx, name) in self.case.skips else loss for name, loss in losses.items()}

    def configure_optimizers(self) -> Any:
        made = {
            "d": torch.optim.Adam(self.discriminator.parameters(), lr=0.05),
            "g": torch.optim.SGD(self.generator.parameters(), lr=0.1, momentum=0.9),
        }
        return {
            name: optimizer if kind is None else {"optimizer": optimizer, "lr_scheduler": _schedule(optimizer, kind)}
            | ({"monitor": f"loss_{name}"} if kind.startswith("plateau") else {})
            for (name, optimizer), kind in zip(made.items(), self.case.schedules, strict=True)
        }  # fmt: skip

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.heard.append(type(optimizer).__name__)


class InTurn(Pair):
    """The generator's loss is computed with the discriminator's new weights."""

    def training_step(self, batch: Any, batch_idx: int) -> Iterator[tuple[str, Any]]:
        self.heard.append("step")
        for name in NAMES:
            loss = self.losses(batch[0])[name]
            self.log(f"loss_{name}", loss)
            yield name, None if (batch_idx, name) in self.case.skips else loss


def _schedule(optimizer: Any, kind: str) -> dict[str, Any]:
    if kind.startswith("plateau"):
        schedule: Any = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5, factor=0.7)
    else:
        schedule = lr_scheduler.ExponentialLR(optimizer, 0.9)
    return {"scheduler": schedule, "interval": kind.removeprefix("plateau ")}


def train(case: Case, **flags: Any) -> pl.Trainer:
    """By the Trainer."""
    trainer = pl.Trainer(**{"max_epochs": 2, **case.flags(), **flags})
    trainer.fit((InTurn if case.in_turn else Pair)(case), DataLoader(images(), case.batch))
    return trainer


class ByHand:
    """The same training, written out."""

    def __init__(self, case: Case) -> None:
        self.case, self.steps = case, 0
        self.model = Pair(case).to(WIDE.get(case.precision))
        made = self.model.configure_optimizers()
        self.schedules = {name: one["lr_scheduler"]["scheduler"] for name, one in made.items() if isinstance(one, dict)}
        self.optimizers = {name: one["optimizer"] if isinstance(one, dict) else one for name, one in made.items()}
        self.scaler = case.scaler() if case.precision == "16-mixed" else None
        self.logged: dict[str, float] = {}

    def run(self, epochs: int = 2, max_steps: int = -1) -> ByHand:
        size = self.case.accumulate
        for _ in range(epochs):
            batches = [batch[0].to(WIDE.get(self.case.precision)) for batch in DataLoader(images(), self.case.batch)]
            for start in range(0, len(batches), size):
                if self.steps == max_steps:
                    return self
                trained = self.window(dict(list(enumerate(batches))[start : start + size]))
                self.steps += 1
                if start + size >= len(batches):
                    self.fall("epoch", NAMES)
                self.fall("step", trained)
                self.fall("plateau step", trained)
            self.fall("plateau epoch", NAMES)
        return self

    def fall(self, kind: str, names: Any) -> None:
        for name, its_kind in zip(NAMES, self.case.schedules, strict=True):
            if its_kind == kind and name in names:
                self.schedules[name].step(*[self.logged[name]] if kind.startswith("plateau") else [])

    def window(self, batches: dict[int, Tensor]) -> list[str]:
        """Trains on the batches of a window. Returns whom."""
        skips = self.case.skips
        self.sizes = {n: [len(batches[i]) for i in batches if (i, n) not in skips] for n in NAMES}
        trained = [name for name in NAMES if self.sizes[name]]
        for name in trained:
            self.optimizers[name].zero_grad()
        for i, batch in batches.items():
            given = [name for name in NAMES if (i, name) not in skips]
            closes = trained if i == max(batches) else []
            for together in [[name] for name in NAMES] if self.case.in_turn else [list(NAMES)]:
                losses = self.losses(batch)
                self.logged |= {name: float(losses[name].detach()) for name in together}
                learning = [name for name in given if name in together]
                for name in learning:
                    self.learn(name, losses[name], len(batch), keep=name != learning[-1])
                stepping = [name for name in closes if name in together]
                for name in stepping:
                    self.update(name)
                if self.scaler is not None and stepping:
                    self.scaler.update()
        return trained

    def losses(self, batch: Tensor) -> dict[str, Tensor]:
        kind = MIXED.get(self.case.precision)
        context = torch.autocast("cpu", kind, cache_enabled=False) if kind is not None else contextlib.nullcontext()
        with context:
            return self.model.losses(batch)

    def learn(self, name: str, loss: Tensor, size: int, keep: bool) -> None:
        # As the framework rounds: by the planned number first, relative to the first batch; then the correction.
        first = self.sizes[name][0]
        if self.case.accumulate > 1:
            loss = loss / self.case.accumulate
            loss = loss * (size / first) if size != first else loss
        loss = loss if self.scaler is None else self.scaler.scale(loss)
        loss.backward(inputs=self.parameters(name), retain_graph=keep)

    def update(self, name: str) -> None:
        optimizer, sizes = self.optimizers[name], self.sizes[name]
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        if self.case.accumulate > 1 and (factor := self.case.accumulate * sizes[0] / sum(sizes)) != 1:
            # Each by itself is rounded otherwise in half precision.
            torch._foreach_mul_([p.grad for p in self.parameters(name) if p.grad is not None], factor)
        kind, value = self.case.clip or (None, 0.0)
        if kind == "norm":
            torch.nn.utils.clip_grad_norm_(self.parameters(name), value)
        elif kind == "value":
            torch.nn.utils.clip_grad_value_(self.parameters(name), value)
        optimizer.step() if self.scaler is None else self.scaler.step(optimizer)

    def parameters(self, name: str) -> list[Tensor]:
        return [p for group in self.optimizers[name].param_groups for p in group["params"]]
