"""What each process has of its own, values of single steps and running means, leads none of them astray."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from fulmen import LightningModule, Trainer
from fulmen.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint, WeightAveraging
from fulmen.loops import monitored

from .groups import GroupFailed, environ

Together = Callable[..., Any]
BARE: dict[str, Any] = {
    "accelerator": "cpu", "strategy": "ddp", "devices": 2, "logger": False, "enable_checkpointing": False,
    "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
}  # fmt: skip
EVEN, SHORT, NONE = (3, 3), (2, 4), (0, 2)


def rank() -> int:
    return int(os.environ["LOCAL_RANK"])


def values_of(rank: int, count: int) -> Tensor:
    drawn = torch.Generator().manual_seed(rank)
    return torch.randn(count, 2, 1, dtype=torch.float64, generator=drawn) + rank


class Batches(IterableDataset[Tensor]):
    """So many batches for each rank."""

    shards_itself = True

    def __init__(self, counts: tuple[int, int]) -> None:
        self.counts = counts

    def __iter__(self) -> Any:
        return iter(values_of(rank(), self.counts[rank()]))


def batches(counts: tuple[int, int]) -> DataLoader[Tensor]:
    return DataLoader(Batches(counts), batch_size=None)


class Net(LightningModule):
    """Logs a value that falls on rank 0 and rises on rank 1, or the other way round."""

    def __init__(self, monitor: str = "", interval: str = "step", falls: int = 0, only: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1).double()
        self.monitor, self.interval, self.falls, self.only = monitor, interval, falls, only

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        value = float(self.global_step) * (-1 if self.global_rank == self.falls else 1)
        if self.only in (None, self.global_rank):
            self.log("own", value)
        self.log("both", value, on_epoch=True)
        self.log("synced", value, sync_dist=True)
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val", batch.sum())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        if not self.monitor:
            return optimizer
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0)
        scheduler = {"scheduler": plateau, "monitor": self.monitor, "interval": self.interval}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


Rate = tuple[float, int]  # and how often values were exchanged for it


def rate(counts: tuple[int, int], *args: Any) -> Rate:
    environ()
    net, trainer = Net(*args), Trainer(max_epochs=2, **BARE)
    with mock.patch.object(monitored, "exchange", wraps=monitored.exchange) as exchange:
        trainer.fit(net, batches(counts), batches((1, 1)))
    return trainer.optimizers[0].param_groups[0]["lr"], exchange.call_count


def rates(runs: list[tuple[Any, ...]]) -> list[Rate]:
    return [rate(*one) for one in runs]


PLATEAUS: dict[tuple[Any, ...], Rate] = {
    (EVEN, "own", "step", 0): (1.0, 6),
    (EVEN, "own", "step", 1): (0.5**5, 6),
    (EVEN, "own", "epoch", 1): (0.5, 2),
    (EVEN, "both", "step", 1): (0.5**5, 6),
    (EVEN, "both_step", "epoch", 1): (0.5, 2),
    # what is the same on all is not exchanged: the mean of the two, and what is reduced at the end
    (EVEN, "synced", "step", 0): (0.5**5, 0),
    (EVEN, "both", "epoch", 0): (0.5, 0),
    (EVEN, "val", "epoch", 0): (0.5, 0),
    # rank 0: 0, -1, then rank 1: 2, 3; then rank 0 again: -4, -5, and rank 1: 6, 7
    (SHORT, "own", "step", 0): (0.5**4, 8),
    (NONE, "own", "step", 0): (0.5**3, 4),
    (NONE, "own", "epoch", 0): (0.5, 2),
}


def test_schedulers_go_by_one_value(together: Together) -> None:
    """It is rank 0's, or that of the lowest rank with a batch."""
    expected = dict(enumerate(PLATEAUS.values()))
    for found in together(2, rates, list(PLATEAUS)):
        assert dict(enumerate(found)) == expected


def stopped(only: int | None) -> list[tuple[int, int, float]]:
    found = []
    for falls in (0, 1):
        environ()
        stopping = EarlyStopping("own", patience=2, strict=only is None, verbose=False)
        trainer = Trainer(max_epochs=4, callbacks=[stopping], **BARE)
        trainer.fit(Net(falls=falls, only=only), batches(EVEN), batches((1, 1)))
        found.append((trainer.current_epoch, stopping.wait_count, stopping.best_score.item()))
    return found


def test_early_stopping_goes_by_one_value(together: Together) -> None:
    assert together(2, stopped, None) == [[(4, 0, -11.0), (3, 2, 2.0)]] * 2


def test_early_stopping_goes_by_the_value_of_the_only_rank_that_has_it(together: Together) -> None:
    assert together(2, stopped, 1) == [[(3, 2, 2.0), (4, 0, -11.0)]] * 2


class Normed(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(1).double()
        self.seen: list[float] = []

    def mean(self) -> float:
        return self.norm.running_mean.item()  # type: ignore[union-attr, operator]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return super().training_step(self.norm(batch), batch_idx)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.seen.append(self.mean())


def averaged(kind: str, counts: tuple[int, int], folder: str) -> tuple[list[float], list[float]]:
    """The running means that were validated, saved and left in the model, of steps 2 and 4."""
    environ()
    made = {
        "ema": lambda: EMAWeightAveraging(decay=0.75),
        "mean": WeightAveraging,
        "newest": lambda: WeightAveraging(use_buffers=False),
    }[kind]
    keep = ModelCheckpoint(folder, "{step}", monitor="val", save_top_k=-1)
    net = Normed()
    flags = {**BARE, "max_epochs": 1, "val_check_interval": 2, "enable_checkpointing": True}
    Trainer(callbacks=[made(), keep], **flags).fit(net, batches(counts), batches((1, 1)))
    files = [torch.load(Path(folder) / f"step={step}.ckpt", weights_only=True) for step in (2, 4)]
    return [*net.seen, net.mean()], [file["state_dict"]["norm.running_mean"].item() for file in files]


def expected(kind: str, counts: tuple[int, int]) -> list[float]:
    """Averages of the running means of one process, which has the batches of the lowest rank that has one."""
    own = [values_of(rank, count) for rank, count in enumerate(counts)]
    mean, average, found = 0.0, 0.0, []
    for step in range(4):
        batch = own[0 if step < counts[0] else 1][step]
        mean = 0.9 * mean + 0.1 * batch.mean().item()
        keeps = {"ema": 0.75, "mean": step / (step + 1), "newest": 0.0}[kind]
        average = mean if step == 0 else keeps * average + (1 - keeps) * mean
        found.append(average)
    return [found[1], found[3]]


@pytest.mark.parametrize("counts", [(4, 4), (1, 4)], ids=["even", "uneven"])
@pytest.mark.parametrize("kind", ["ema", "mean", "newest"])
def test_averages_of_buffers_are_those_that_are_saved(
    together: Together, tmp_path: Path, kind: str, counts: tuple[int, int]
) -> None:
    first, last = expected(kind, counts)
    for seen, saved in together(2, averaged, kind, counts, str(tmp_path)):
        assert saved == pytest.approx([first, last], rel=1e-9)
        assert seen == [*saved, saved[-1]]


def test_a_value_of_some_is_missed_by_all(together: Together) -> None:
    with pytest.raises(GroupFailed) as found:
        together(2, rate, EVEN, "own", "step", 0, 0, fails=True)
    text = str(found.value)
    assert text.count("waits for the metric 'own', which was not logged yet on rank 1") >= 2  # both say so
    assert "Log it with `self.log('own', value)`" in text
