"""What a training step costs beside the same step written by hand. Run it with `make bench`; README.md explains it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import logging
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import hand
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

BARE = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Clock:
    """A loss function that notes the time at the first and the last measured step.

    Every row calls it in the same place, so what it costs itself (an addition and a comparison) is in all of them.
    """

    def __init__(self, first: int, last: int, device: torch.device) -> None:
        self.steps, self.marked, self.device = 0, (first, last), device
        self.times: list[float] = []

    def __call__(self, scores: Tensor, labels: Tensor) -> Tensor:
        self.steps += 1
        if self.steps in self.marked:
            self.times.append(self.now())
        return nn.functional.cross_entropy(scores, labels)

    def now(self) -> float:
        """CPU time of this process; on another device the wall clock, once the device has done all it was given."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.accelerator.synchronize()
        return time.perf_counter()

    def per_step(self) -> float:
        """Seconds a step, between the two marks."""
        first, last = self.times
        return (last - first) / (self.marked[1] - self.marked[0])


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """A plain map-style dataset."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.labels[index]


@dataclass(frozen=True)
class Job:
    """One training run: its data, its length and the steps between which it is timed."""

    make_loader: Callable[[], Any]
    epochs: int
    first: int
    last: int
    device: torch.device

    def clock(self) -> Clock:
        """A fresh clock for one run."""
        return Clock(self.first, self.last, self.device)


def make_network() -> nn.Module:
    """The model of all rows."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 2))


def by_hand(job: Job, loader: Any = None) -> float:
    """Times the hand-written loop."""
    network, clock = make_network().to(job.device), job.clock()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    hand.train(network, loader or job.make_loader(), clock, optimizer, job.device, job.epochs)
    return clock.per_step()


class Slices:
    """The data as two tensors, cut by hand with a fresh permutation an epoch: no DataLoader at all."""

    def __init__(self, dataset: TensorDataset, batch_size: int) -> None:
        self.tensors, self.batch_size = dataset.tensors, batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = torch.randperm(len(self.tensors[0]))
        for indices in order.split(self.batch_size):
            yield tuple(tensor[indices] for tensor in self.tensors)


def with_trainer(job: Job, package: Any, log: bool, **flags: Any) -> float:
    """Times the same step through a Trainer, of Fulmen or of Lightning."""
    clock = job.clock()

    class Model(package.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = make_network()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            inputs, labels = batch
            loss = clock(self.network(inputs), labels)
            if log:
                self.log("train_loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    with tempfile.TemporaryDirectory() as folder, output_to_a_terminal(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = package.Trainer(
            default_root_dir=folder,
            max_epochs=job.epochs,
            accelerator="cpu" if job.device.type == "cpu" else "gpu",
            devices=1,
            **flags,
        )
        trainer.fit(Model(), job.make_loader())
    return clock.per_step()


@contextlib.contextmanager
def output_to_a_terminal() -> Iterator[None]:
    """Sends output to a terminal that another process empties, so that progress bars do all that they do live."""
    ours, theirs = os.openpty()
    reader = subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(ours)
    try:
        with (
            os.fdopen(theirs, "w") as terminal,
            contextlib.redirect_stdout(terminal),
            contextlib.redirect_stderr(terminal),
        ):
            yield
    finally:
        reader.wait()


def interval_of_median(values: list[float]) -> tuple[float, float]:
    """A 95 % interval of the median, from the order of the values alone (binomial; no distribution is assumed)."""
    ordered, count = sorted(values), len(values)
    rank, tail = 0, 0.5**count
    while rank < count // 2 and tail <= 0.025:
        rank += 1
        tail += math.comb(count, rank) * 0.5**count
    low = max(rank - 1, 0)
    return ordered[low], ordered[count - 1 - low]


def compare(title: str, rows: dict[str, Callable[[], float]], rounds: int, unit: tuple[str, float]) -> None:
    """Runs all rows once a round, each time from another one on, and prints the ratios to the first row.

    Args:
        title: What stands above the table.
        rows: For each name a run, which returns seconds.
        rounds: How often each row runs.
        unit: The name of the unit that the table shows, and how many of them a second has.
    """
    names = list(rows)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # a first run of each, not counted, fills caches
        rows[name]()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            gc.collect()
            times[name].append(rows[name]())
    print(f"\n{title}: {rounds} rounds, medians\n")
    print(f"| {'':<36} | {unit[0]:>9} | over the first | 95 % interval |")
    print(f"|:{'-' * 37}|{'-' * 10}:|{'-' * 15}:|:{'-' * 13}:|")
    for name in names:
        ratios = [own / base for own, base in zip(times[name], times[names[0]], strict=True)]
        low, high = interval_of_median(ratios)
        shown = statistics.median(times[name]) * unit[1]
        print(f"| {name:<36} | {shown:9.1f} | {statistics.median(ratios):14.3f} | {low:.3f} - {high:.3f} |")


def small_batches(rounds: int, steps: int, device: torch.device, packages: dict[str, Any]) -> None:
    """First table: the cost of a step where the step itself is as small as it gets."""
    dataset = Samples(torch.randn(4 * (steps + 200), 32), torch.randint(2, (4 * (steps + 200),)))
    job = Job(lambda: DataLoader(dataset, batch_size=4), 1, first=200, last=200 + steps, device=device)
    rows: dict[str, Callable[[], float]] = {"by hand": lambda: by_hand(job)}
    for name, package in packages.items():
        rows[f"{name}, bare"] = lambda package=package: with_trainer(job, package, log=False, **BARE)
        rows[f"{name}, one log"] = lambda package=package: with_trainer(job, package, log=True, **BARE)
        rows[f"{name}, all defaults and the log"] = lambda package=package: with_trainer(job, package, log=True)
    compare(f"MLP 32-64-2, batch 4, SGD, map-style dataset, {device}", rows, rounds, ("µs a step", 1e6))


def data_in_memory(rounds: int, steps: int, device: torch.device, packages: dict[str, Any]) -> None:
    """Second table: a whole epoch, shuffling and saving included, over data that are already in memory."""
    dataset = TensorDataset(torch.randn(256 * steps, 32), torch.randint(2, (256 * steps,)))
    job = Job(lambda: DataLoader(dataset, 256, shuffle=True), 2, first=steps, last=2 * steps, device=device)
    rows: dict[str, Callable[[], float]] = {
        "by hand, with a DataLoader": lambda: by_hand(job),
        "by hand, slicing": lambda: by_hand(job, Slices(dataset, 256)),
    }
    for name, package in packages.items():
        rows[f"{name}, bare"] = lambda package=package: with_trainer(job, package, log=False, **BARE)
        rows[f"{name}, all defaults and a log"] = lambda package=package: with_trainer(job, package, log=True)
    compare(f"MLP 32-64-2, batch 256, SGD, shuffled TensorDataset, {device}", rows, rounds, ("µs a step", 1e6))


def start_up(rounds: int) -> None:
    """Third table: the time to import."""
    names = "Trainer, LightningModule, LightningDataModule, Callback"
    rows = {
        "import torch": "import torch",
        "import fulmen": "import fulmen",
        "fulmen, Trainer(logger=False)": f"from fulmen import {names}; Trainer(logger=False)",
    }
    if importlib.util.find_spec("pytorch_lightning"):
        rows["import pytorch_lightning"] = "import pytorch_lightning"

    def measure(statement: str) -> float:
        code = f"import time; start = time.process_time(); {statement}; print('\\n', time.process_time() - start)"
        run = [sys.executable, "-W", "ignore", "-c", code]
        return float(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()[-1])

    runs = {name: lambda code=code: measure(code) for name, code in rows.items()}
    compare("start-up in a new process", runs, rounds, ("ms", 1e3))


def import_packages() -> dict[str, Any]:
    """Fulmen, and Lightning where it is installed, with their messages off."""
    packages = {"Fulmen": importlib.import_module("fulmen")}
    logging.getLogger("fulmen").setLevel(logging.ERROR)
    if importlib.util.find_spec("pytorch_lightning"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            packages["Lightning"] = importlib.import_module("pytorch_lightning")
        for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
            logging.getLogger(name).setLevel(logging.ERROR)
    else:
        print("pytorch-lightning is not installed: its rows are left out")
    return packages


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs, not to quote from")
    parser.add_argument("--rounds", type=int, default=31, help="paired runs of each row")
    parser.add_argument("--device", default="cpu", help="for example cuda")
    parser.add_argument("--only", choices=["steps", "memory", "start"], help="one table alone")
    parser.add_argument("--no-lightning", action="store_true", help="leave Lightning's rows out")
    arguments = parser.parse_args()
    rounds = 3 if arguments.quick else arguments.rounds

    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    packages = import_packages()
    if arguments.no_lightning:
        packages.pop("Lightning", None)
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    )
    if arguments.only in (None, "steps"):
        small_batches(rounds, 2000, device, packages)
    if arguments.only in (None, "memory"):
        data_in_memory(rounds, 500, device, packages)
    if arguments.only in (None, "start"):
        start_up(max(rounds // 3, 3))


if __name__ == "__main__":
    main()
