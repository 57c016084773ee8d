"""What a logger with a slow server costs training, beside no logger at all. Run it with `make bench`."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fulmen import LightningModule, Trainer
from fulmen.loggers import CSVLogger, TensorBoardLogger
from fulmen.loggers.background_logger import BackgroundLogger


class Slow(BackgroundLogger):
    """A logger whose server takes its time for each call."""

    name = version = "slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(drain_timeout=4 * seconds + 1)
        self.seconds = seconds
        self.calls = self.records = 0

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        """Queues a record."""
        self._background.gather(self._send, (dict(metrics), step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def _send(self, records: list[Any]) -> None:
        time.sleep(self.seconds)
        self.calls += 1
        self.records += len(records)


class Model(LightningModule):
    """A step of some milliseconds, which logs three values and notes when it begins."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*[nn.Linear(width, width) for _ in range(4)])
        self.begun: list[tuple[float, float]] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The mean of the outputs."""
        self.begun.append((time.perf_counter(), time.thread_time()))
        loss: Tensor = self.layers(batch[0]).mean()
        self.log_dict({"loss": loss, "a": 1.0, "b": 2.0})
        return loss

    def configure_optimizers(self) -> Any:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def seconds_of(logger: Any, steps: int, width: int, every: int) -> tuple[float, float]:
    """The time of all steps but the first sixty, by the clock and on the processor; the end of the run is not in it."""
    torch.manual_seed(0)
    model = Model(width)
    loader = DataLoader(TensorDataset(torch.ones(64 * steps, width)), batch_size=64)
    Trainer(
        accelerator="cpu", max_epochs=1, logger=logger, log_every_n_steps=every, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(model, loader)  # fmt: skip
    first, last = model.begun[60], model.begun[-1]
    return last[0] - first[0], last[1] - first[1]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, few rounds: to see that it runs")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is timed, one after the other")
    arguments, _ = parser.parse_known_args()  # `make bench` hands on what is meant for the other benchmarks
    steps, delay, rounds = (300, 0.2, 3) if arguments.quick else (1500, 2.0, arguments.rounds)

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("fulmen").setLevel(logging.ERROR)
    print(
        f"\n{steps} steps, torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, one thread", end=""
    )
    print(f": {rounds} rounds; a row every step and every 50 steps; milliseconds a step\n")
    print(
        "Ratios are medians over rounds, to the run without a logger: by the clock, and of the training thread's time"
    )
    print("on the processor, in which what else runs on the machine does not show.\n")
    print(f"| {'logger':<28} | every | {'best':>9} | {'ratio':>9} | {'ratio on processor':>19} |")
    print(f"|:{'-' * 29}|------:|{'-' * 10}:|{'-' * 10}:|{'-' * 20}:|")
    for every in (50, 1):
        compare(steps, delay, rounds, every)


def compare(steps: int, delay: float, rounds: int, every: int) -> None:
    """Times runs with each logger in turn, several times, beside one without."""
    with tempfile.TemporaryDirectory() as folder:
        kinds: dict[str, Any] = {
            "none": lambda: False,
            f"a server with {delay:g} s a call": lambda: Slow(delay),
            "CSVLogger": lambda: CSVLogger(folder),
            "TensorBoardLogger": lambda: TensorBoardLogger(folder),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
        for _ in range(rounds):
            for name, make in kinds.items():
                clock, processor = seconds_of(make(), steps, 256, every)
                times[name].append((1e3 * clock / (steps - 61), 1e3 * processor / (steps - 61)))
    for name, own in times.items():
        pairs = list(zip(own, times["none"], strict=True))
        clock, processor = (statistics.median(mine[kind] / none[kind] for mine, none in pairs) for kind in (0, 1))
        best = min(mine[0] for mine in own)
        print(f"| {name:<28} | {every:>5} | {best:9.3f} | {clock:9.3f} | {processor:19.3f} |")


if __name__ == "__main__":
    main()
