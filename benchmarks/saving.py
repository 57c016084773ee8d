"""How long a save keeps training waiting, beside copying the same state in memory. Run it with `make bench`."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fulmen import LightningModule, Trainer
from fulmen.checkpoint.capture import dump
from fulmen.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from fulmen.utilities.states import TrainerStatus


class Model(LightningModule):
    """Layers of a transformer, one after another, under AdamW: its state is three times its weights."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 8, 4 * width, batch_first=True)
        self.network = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.width = width

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        output: Tensor = self.network(batch[0].expand(1, 2, self.width))
        return output.mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters())


def tensors_of(state: Any) -> Iterator[Tensor]:
    """The tensors in a nest of dictionaries and lists."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, (dict, list, tuple)):
        for inner in state.values() if isinstance(state, dict) else state:
            yield from tensors_of(inner)


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds of wall clock; what the work gives back is let go of within the time."""
    gc.collect()
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def trained(io: Any, layers: int, width: int, folder: str) -> Trainer:
    """A Trainer that has made one step, so that the optimizer has its state."""
    torch.manual_seed(0)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        plugins=[io],
    )
    trainer.fit(Model(layers, width), DataLoader(TensorDataset(torch.ones(1, 1, 1))))
    trainer.state.status = TrainerStatus.RUNNING  # outside a run a save waits for its file
    return trainer


def steps_meanwhile(trainer: Trainer, io: AsyncCheckpointIO, path: str) -> tuple[float, float]:
    """The longest that a loop of small steps stood still while a file was written, and how long that took."""
    weight = torch.zeros(64, 64)
    trainer.save_checkpoint(path)
    longest, begun = 0.0, time.perf_counter()
    before = begun
    while io._flight is not None and not io._flight.is_over():
        weight @= weight
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    io.join()
    return 1e3 * longest, 1e3 * (before - begun)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small state, few rounds: to see that it runs")
    parser.add_argument("--rounds", type=int, default=15, help="how often each is timed, one after the other")
    parser.add_argument("--folder", help="where files are written; a folder of the system's for such things otherwise")
    arguments, _ = parser.parse_known_args()  # `make bench` hands on what is meant for the other benchmark
    layers, width, rounds = (2, 64, 3) if arguments.quick else (13, 512, arguments.rounds)

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("fulmen").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(layers, width, rounds, folder)


def measure(layers: int, width: int, rounds: int, folder: str) -> None:
    """Times a copy, a save that returns at once, and one that returns when the file is there."""
    io = AsyncCheckpointIO()
    flying, plain = trained(io, layers, width, folder), trained(TorchCheckpointIO(), layers, width, folder)
    state = dump(flying)
    tensors = list(tensors_of(state))
    size = sum(tensor.nbytes for tensor in tensors) / 1e6
    print(
        f"\nsaving {size:.0f} MB in {len(tensors)} tensors, torch {torch.__version__}, {platform.machine()}, ", end=""
    )
    print(f"{os.cpu_count()} cores, one thread: {rounds} rounds, milliseconds\n")

    path = os.path.join(folder, "a.ckpt")
    first_copy = timed(lambda: [tensor.clone() for tensor in tensors])
    first_save = timed(lambda: flying.save_checkpoint(path))
    io.join()
    targets = [torch.zeros_like(tensor) for tensor in tensors]

    def copy() -> None:
        for target, tensor in zip(targets, tensors, strict=True):
            target.copy_(tensor)

    times: dict[str, list[float]] = {"copy": [], "clone": [], "async": [], "sync": [], "stands": [], "writes": []}
    for _ in range(rounds):
        times["clone"].append(timed(lambda: [tensor.clone() for tensor in tensors]))
        times["copy"].append(timed(copy))
        times["async"].append(timed(lambda: flying.save_checkpoint(path)))
        io.join()  # what the next save would wait for
        times["sync"].append(timed(lambda: plain.save_checkpoint(path)))
        stands, writes = steps_meanwhile(flying, io, path)
        times["stands"].append(stands)
        times["writes"].append(writes)
    show(times, first_copy, first_save)


def show(times: dict[str, list[float]], first_copy: float, first_save: float) -> None:
    """Prints the table."""
    rows = {
        "copy into memory that is there": "copy",
        "copy into new memory (`clone`)": "clone",
        "a save, asynchronous": "async",
        "a save, synchronous": "sync",
        "the writing of it, in the background": "writes",
        "the longest pause of steps meanwhile": "stands",
    }
    print(f"| {'':<37} | {'best':>8} | {'median':>8} | best over best copy | median ratio of a round |")
    print(f"|:{'-' * 38}|{'-' * 9}:|{'-' * 9}:|{'-' * 20}:|{'-' * 24}:|")
    for title, name in rows.items():
        best, median = min(times[name]), statistics.median(times[name])
        paired = statistics.median(own / base for own, base in zip(times[name], times["copy"], strict=True))
        print(f"| {title:<37} | {best:8.1f} | {median:8.1f} | {best / min(times['copy']):19.2f} | {paired:23.2f} |")
    ratio = first_save / first_copy
    print(
        f"\nThe first save of a run, into new memory: {first_save:.1f}, {ratio:.2f} of a first copy ({first_copy:.1f})."
    )


if __name__ == "__main__":
    main()
