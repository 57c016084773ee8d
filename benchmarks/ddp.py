"""What a training step costs on two processes, beside hand-written DDP. README.md explains it."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from overhead import BARE, Clock, Samples, compare, import_packages
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

WORLD = 2


class WallClock(Clock):
    """Takes the time that passes, with what a process waits for the other one."""

    def now(self) -> float:
        return time.perf_counter()


@dataclass(frozen=True)
class Case:
    """A model, and the steps between which it is timed."""

    title: str
    sizes: tuple[int, ...]
    batch: int
    before: int
    steps: int

    def network(self) -> nn.Module:
        """The model of all rows."""
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for given, made in zip(self.sizes, self.sizes[1:]):
            layers += [nn.Linear(given, made), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def data(self) -> Samples:
        """The samples of all processes."""
        count = self.batch * WORLD * (self.before + self.steps)
        return Samples(torch.randn(count, self.sizes[0]), torch.randint(self.sizes[-1], (count,)))

    def clock(self) -> Clock:
        """A fresh clock for one run."""
        kind = WallClock if "--wall" in sys.argv else Clock
        return kind(self.before, self.before + self.steps, torch.device("cpu"))


CASES = {
    "mlp": Case("MLP 32-64-2, batch 4", (32, 64, 2), 4, before=50, steps=400),
    "large": Case("784-2048-1664-10 (5.0 million parameters), batch 32", (784, 2048, 1664, 10), 32, before=3, steps=12),
}


def by_hand(case: Case, dataset: Samples) -> float:
    """Times the loop as PyTorch's tutorials write it."""
    clock, network = case.clock(), DistributedDataParallel(case.network())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, shuffle=True)
    sampler.set_epoch(0)
    for inputs, labels in DataLoader(dataset, case.batch, sampler=sampler):
        loss = clock(network(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return clock.per_step()


def with_trainer(case: Case, dataset: Samples, package: Any, log: bool, **flags: Any) -> float:
    """Times the same through a Trainer, of Fulmen or of Lightning."""
    clock = case.clock()

    class Model(package.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = case.network()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            inputs, labels = batch
            loss = clock(self.network(inputs), labels)
            if log:
                self.log("train_loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    os.environ.update(LOCAL_RANK=os.environ["BENCH_RANK"], NODE_RANK="0", WORLD_SIZE=str(WORLD))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = package.Trainer(
            default_root_dir=folder, max_epochs=1, accelerator="cpu", devices=WORLD, strategy="ddp", **flags
        )
        trainer.fit(Model(), DataLoader(dataset, case.batch, shuffle=True))
    return clock.per_step()


def aligned(run: Callable[[], float]) -> Callable[[], float]:
    """Lets both processes begin a run together."""

    def begin() -> float:
        torch.distributed.barrier()
        return run()

    return begin


def work(rounds: int, cases: list[str], packages: dict[str, Any]) -> None:
    """What each of the processes does."""
    torch.distributed.init_process_group("gloo", rank=int(os.environ["BENCH_RANK"]), world_size=WORLD)
    for name in cases:
        case = CASES[name]
        dataset = case.data()
        rows = {"DDP by hand": aligned(lambda case=case, dataset=dataset: by_hand(case, dataset))}
        for package_name, package in packages.items():
            for log in (False, True):
                rows[f"{package_name}, {'one log' if log else 'bare'}"] = aligned(
                    lambda package=package, log=log, case=case, dataset=dataset: with_trainer(
                        case, dataset, package, log, **BARE
                    )
                )
        compare(
            f"{WORLD} processes (gloo), {case.title}, SGD, shuffled map-style dataset", rows, rounds, ("µs a step", 1e6)
        )
    torch.distributed.destroy_process_group()


@contextlib.contextmanager
def other_process() -> Iterator[None]:
    """Runs this program once more beside this one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), BENCH_RANK="0")
    other = subprocess.Popen(
        [sys.executable, *sys.argv], env={**os.environ, "BENCH_RANK": "1"}, stdout=subprocess.DEVNULL
    )
    try:
        yield
        other.wait(60)
    finally:
        other.kill()
        other.wait()


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs, not to quote from")
    parser.add_argument("--rounds", type=int, default=31, help="paired runs of each row")
    parser.add_argument("--wall", action="store_true", help="the time that passes, in place of CPU time")
    parser.add_argument("--only", choices=list(CASES), help="one table alone")
    parser.add_argument("--no-lightning", action="store_true", help="leave Lightning's rows out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with contextlib.nullcontext() if "BENCH_RANK" in os.environ else other_process():
        packages = import_packages()
        if arguments.no_lightning:
            packages.pop("Lightning", None)
        print(f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
        work(3 if arguments.quick else arguments.rounds, [arguments.only] if arguments.only else list(CASES), packages)


if __name__ == "__main__":
    main()
