"""What several processes cost a step: Python calls, frames on the stack, collectives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.test_cost import BARE, Model, _by_hand, _by_trainer, _calls, _our_frames
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from fulmen import Trainer
from fulmen.callbacks import LearningRateMonitor, ModelCheckpoint
from fulmen.loggers import CSVLogger
from fulmen.strategies import DDPStrategy

from .groups import environ, world

Together = Callable[..., Any]
SHORT, LONG = 20, 70


def loader(steps: int) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(torch.ones(4 * steps * world(), 8)), batch_size=4)


def trained(steps: int, model: Model, **flags: Any) -> Callable[[], None]:
    environ()
    settings: dict[str, Any] = {"max_epochs": 1, "accelerator": "cpu", "fast_data": False, **BARE, **flags}
    trainer = Trainer(devices=world(), strategy=DDPStrategy(), **settings)
    batches = loader(steps)
    return lambda: trainer.fit(model, batches)


def by_hand(steps: int) -> Callable[[], None]:
    layer, batches = torch.nn.Linear(8, 2), loader(steps)
    ddp = DistributedDataParallel(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    shared = DataLoader(batches.dataset, batch_size=4, sampler=DistributedSampler(batches.dataset, shuffle=False))

    def run() -> None:
        for batch in shared:
            optimizer.zero_grad()
            ddp(batch[0]).sum().backward()
            optimizer.step()

    return run


def a_step(make: Callable[[int], Callable[[], None]]) -> float:
    make(4)()
    return (_calls(make(LONG)) - _calls(make(SHORT))) / (LONG - SHORT)


def calls() -> tuple[float, float]:
    """Those with DDP: ours, and by hand."""
    return a_step(lambda steps: trained(steps, Model(log=True))), a_step(by_hand)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_calls_a_step(together: Together) -> None:
    """What is added to a loop by hand is what one process adds, and ten calls at most."""
    one = a_step(_by_trainer(True, **BARE)) - a_step(_by_hand)
    for ours, theirs in together(2, calls):
        assert ours - theirs <= one + 10, f"{ours:.1f} and {theirs:.1f} calls; {one:.1f} are added in one process"


def frames() -> list[str]:
    class Noting(Model):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            found[:] = _our_frames()
            return super().training_step(batch, batch_idx)

    found: list[str] = []
    trained(4, Noting(log=True))()
    return found


def test_frames_to_the_step(together: Together) -> None:
    for found in together(2, frames):
        assert found[-1].endswith("fit")
        assert len(found) <= 8, f"{len(found)} frames: {found}"


class Validated(Model):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch[0]).sum(), sync_dist=True)

    def val_dataloader(self) -> Any:
        return loader(3)


def collectives(steps: int, folder: str) -> int:
    """How many a whole run makes, those of DDP included: the group gives each a number."""
    saving = ModelCheckpoint(f"{folder}/of {steps}", monitor="val_loss", every_n_epochs=1, save_last=True)
    flags = {
        "logger": CSVLogger(folder, version=f"of {steps}"), "enable_checkpointing": True,
        "callbacks": [saving, LearningRateMonitor("step")], "log_every_n_steps": 1,
    }  # fmt: skip
    run = trained(steps, Validated(log=True), **flags)
    before = _number()
    run()
    return _number() - before


def _number() -> int:
    if not torch.distributed.is_initialized():
        return 0
    group = torch.distributed.group.WORLD
    return int(group._get_sequence_number_for_group())  # type: ignore[union-attr]


def test_no_collective_a_step_but_that_of_ddp(together: Together, tmp_path: Any) -> None:
    """One bucket is one collective a step; logs, validation and checkpoints add none that grows with the steps."""
    together(2, collectives, 2, str(tmp_path))  # what happens once a process
    few, many = (together(2, collectives, steps, str(tmp_path)) for steps in (5, 25))
    assert [more - less for less, more in zip(few, many, strict=True)] == [20, 20]
