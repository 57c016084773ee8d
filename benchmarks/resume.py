"""How long it takes to go on in the middle of an epoch: at its batch 1,000,000 beside its batch 0."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

import fulmen as pl


class Squares(Dataset[Tensor]):
    """Samples that are made when they are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([float(index % 7)])


class Model(pl.LightningModule):
    """Stops, and takes the time, at the first batch that comes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.came_at = 0.0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.came_at = self.came_at or time.perf_counter()
        self.trainer.should_stop = True
        loss: Tensor = self.layer(batch[0] if isinstance(batch, list) else batch).sum()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def trainer(folder: Path) -> pl.Trainer:
    """One that does nothing but train."""
    return pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip


def moved(path: Path, to: Path, batch: int) -> None:
    """A checkpoint that says that so many batches of the epoch were used."""
    checkpoint = torch.load(path, weights_only=True)
    course = checkpoint["fulmen"]["course"]
    course["progress"].update(batch=batch, batches=batch)
    course["should_stop"] = False
    course["feed"]["consumed"] = batch
    for stream in course["feed"]["streams"]:
        stream["count"] = batch
    torch.save(checkpoint, to)


def seconds(loader: Any, path: Path, folder: Path) -> float:
    """From the call of `fit` to the first batch."""
    model = Model()
    start = time.perf_counter()
    trainer(folder).fit(model, loader, ckpt_path=path)
    return model.came_at - start


def main() -> None:
    """Prints a line for each kind of loader."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    batch, rounds = (1_000, 1) if arguments.quick else (1_000_000, arguments.rounds)
    count = batch + 1_000
    kinds: dict[str, Any] = {
        "in order, batches of 4": lambda: DataLoader(Squares(4 * count), 4),
        "shuffled, batches of 1": lambda: DataLoader(Squares(count), 1, shuffle=True),
        "shuffled, batches of 4": lambda: DataLoader(Squares(4 * count), 4, shuffle=True),
        "shuffled, batches of 16": lambda: DataLoader(Squares(16 * count), 16, shuffle=True),
        "shuffled, 2 workers, batches of 4": lambda: DataLoader(Squares(4 * count), 4, shuffle=True, num_workers=2),
        "with replacement, batches of 4": lambda: DataLoader(
            Squares(4 * count), 4, sampler=RandomSampler(range(4 * count), replacement=True)
        ),
        "in memory, shuffled, batches of 4": lambda: DataLoader(
            TensorDataset(torch.ones(4 * count, 1)), 4, shuffle=True
        ),
    }
    print(f"| loader | s to batch 1 | s to batch {batch:,} | more |\n|:--|--:|--:|--:|")
    for name, make in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            first, later = Path(folder, "first.ckpt"), Path(folder, "later.ckpt")
            torch.manual_seed(0)
            begun = trainer(Path(folder))
            saves = lambda *_, begun=begun, first=first: begun.save_checkpoint(first)  # noqa: E731
            begun.callbacks.append(pl.callbacks.LambdaCallback(on_train_batch_end=saves))
            begun.fit(Model(), make())
            moved(first, later, batch)
            moved(first, first, 1)
            pairs = [
                (seconds(make(), first, Path(folder)), seconds(make(), later, Path(folder))) for _ in range(rounds)
            ]
        at_first, at_later = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name} | {at_first:.2f} | {at_later:.2f} | {at_later - at_first:.2f} |")


if __name__ == "__main__":
    main()
