"""Data of which processes have different parts, and runs over them; each run has a counterpart in one process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch._dynamo.utils  # which DDP needs: once, before there are several processes
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, IterableDataset, TensorDataset

from fulmen import Callback, LightningModule, Trainer
from fulmen.strategies.ddp import DDPStrategy
from fulmen.utilities.combined_loader import CombinedLoader

Batch = list[Tensor]
MOST = 100  # batches of a process


def batch(number: int, size: int = 2) -> Batch:
    drawn = torch.Generator().manual_seed(number)
    return [torch.randn(size, width, dtype=torch.float64, generator=drawn) for width in (4, 1)]


def rank() -> int:
    return int(os.environ["LOCAL_RANK"])


class Net(LightningModule):
    """A small model in double precision.

    Args:
        skip: The numbers of batches that a rank skips: (rank, batch).
        weigh: Whether a loss says what it weighs.
        norm: Whether it has a layer that keeps running means.
    """

    def __init__(self, skip: tuple[tuple[int, int], ...] = (), weigh: bool = False, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        middle = [nn.BatchNorm1d(8)] if norm else []
        self.layers = nn.Sequential(nn.Linear(4, 8), *middle, nn.Tanh(), nn.Linear(8, 1)).double()
        self.skip, self.weigh = skip, weigh

    def loss(self, batch: Batch) -> Tensor:
        loss: Tensor = (self.layers(batch[0]) - batch[1]).pow(2).mean()
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        if (rank(), batch_idx) in self.skip:
            return None
        loss = self.loss(batch)
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        return {"loss": loss, "loss_weight": len(batch[0])} if self.weigh else loss

    def configure_optimizers(self) -> Any:
        return optimizers(self)


class Unused(Net):
    """Has a layer that no loss comes from."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.spare = nn.Linear(2, 2).double()


class ByHand(Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


def optimizers(net: nn.Module) -> Any:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)
    return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Stream(IterableDataset[Batch]):
    """The same batches on every process; each worker has its part of them."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for number in range(first, len(self.sizes), step):
            yield batch(number, self.sizes[number])


class Sized:
    """The same batches on every process, and their number."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Batch]:
        return (batch(number, size) for number, size in enumerate(self.sizes))


class Own(IterableDataset[Batch]):
    """Batches of this process's alone."""

    shards_itself = True

    def __init__(self, sizes: list[list[int]]) -> None:
        self.sizes = sizes

    def __iter__(self) -> Iterator[Batch]:
        for number, size in enumerate(self.sizes[rank()]):
            yield batch(MOST * rank() + number, size)


class Different(Own):
    """The same, which does not say so."""

    shards_itself = None  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        if name == "shards_itself":
            raise AttributeError(name)
        return super().__getattribute__(name)


class Known(Dataset[Batch]):
    """The same, of known length."""

    def __init__(self, sizes: list[list[int]]) -> None:
        self.sizes = sizes[rank()]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Batch:
        return batch(MOST * rank() + index, self.sizes[index])


def table(count: int) -> TensorDataset:
    return TensorDataset(*batch(11, count))


def rounds_of_table(count: int, size: int, world: int) -> list[list[Batch]]:
    """What PyTorch's sampler gives the processes, in order."""
    samplers = [DistributedSampler(table(count), world, one, shuffle=False) for one in range(world)]
    batches = [[list(table(count)[part]) for part in BatchSampler(list(sampler), size, False)] for sampler in samplers]
    return [list(one) for one in zip(*batches, strict=True)]


def fit_table(world: int, count: int, size: int, weigh: bool, **flags: Any) -> tuple[list[list[float]], int, int]:
    """Trains on map-style data. Returns the weights, and how many collectives there were in each of two epochs.

    Those of DDP itself, which are not called from Python, are not among them.
    """
    calls = [0]
    plain = torch.distributed.all_reduce
    seen: list[int] = []

    def counting(*args: Any, **named: Any) -> Any:
        calls[0] += 1
        return plain(*args, **named)

    class Marks(Callback):
        def on_train_epoch_start(self, *args: Any) -> None:
            calls[0] = 0

        def on_train_epoch_end(self, *args: Any) -> None:
            seen.append(calls[0])

    net = Net(weigh=weigh)
    trainer = Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", enable_progress_bar=False,
        enable_model_summary=False, max_epochs=2, logger=False, enable_checkpointing=False, callbacks=[Marks()],
        **flags,
    )  # fmt: skip
    torch.distributed.all_reduce = counting
    try:
        trainer.fit(net, DataLoader(table(count), batch_size=size))
    finally:
        torch.distributed.all_reduce = plain
    return [parameter.flatten().tolist() for parameter in net.parameters()], *seen


DEALT = ("stream", "workers", "sized", "rows")
OWN = ("own", "different", "known")


def loader_of(kind: str, sizes: list[list[int]]) -> Any:
    """A loader of a kind; `sizes` are those of batches by rank, for a stream that is dealt out one after the other."""
    if kind in DEALT:
        flat = [size for one in sizes for size in one]
        if kind == "sized":
            return Sized(flat)
        if kind == "rows":
            second = DataLoader(Stream(flat[:2]), batch_size=None)
            return CombinedLoader({"a": Sized(flat), "b": second}, "max_size_cycle")
        return DataLoader(Stream(flat), batch_size=None, num_workers=2 if kind == "workers" else 0)
    data: Any = {"own": Own, "different": Different, "known": Known}[kind](sizes)
    return DataLoader(data, batch_size=None)


def rounds_of(kind: str, sizes: list[list[int]]) -> list[list[Batch]]:
    """The batches of each round, as one process would have them."""
    world = len(sizes)
    if kind in DEALT:
        flat = [batch(number, size) for number, size in enumerate(size for one in sizes for size in one)]
        return [flat[start : start + world] for start in range(0, len(flat), world)]
    longest = max(map(len, sizes))
    return [
        [batch(MOST * rank + number, one[number]) for rank, one in enumerate(sizes) if number < len(one)]
        for number in range(longest)
    ]


class Witness(Callback):
    """Notes what hooks get."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Any, bool]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        first = None if batch is None else float((batch["a"] if isinstance(batch, dict) else batch)[0][0, 0])
        self.seen.append((batch_idx, first, bool(outputs)))
        pl_module.log("witness", float(batch_idx), on_step=False, on_epoch=True, batch_size=1)


class Ending(Callback):
    """Asks all ranks to stop after a batch."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx == self.after:
            trainer.should_stop = True


class Saving(Callback):
    """Saves after each batch of the first epoch."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(f"{self.folder}/{args[3]}.ckpt")


class Rows(Net):
    def loss(self, batch: Any) -> Tensor:
        return super().loss(batch["a"] if isinstance(batch, dict) else batch)


class Validated(Net):
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val", self.loss(batch))


NETS = {"plain": Net, "validated": Validated, "unused": Unused, "by hand": ByHand, "rows": Rows}


def fit(
    kind: str,
    sizes: list[list[int]],
    net: str = "plain",
    model: dict[str, Any] | None = None,
    strategy: dict[str, Any] | None = None,
    **flags: Any,
) -> dict[str, Any]:
    """Trains on this rank, and returns what came of it."""
    warnings.filterwarnings("ignore", "`training_step` returned None")
    if kind == "known":  # each process has data of its own
        flags["use_distributed_sampler"] = False
    module = NETS[net](**(model or {}))
    witness = Witness()
    options = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, **flags}
    ckpt_path = options.pop("ckpt_path", None)
    trainer = Trainer(
        accelerator="cpu", devices=len(sizes), strategy=DDPStrategy(**(strategy or {})), enable_progress_bar=False,
        enable_model_summary=False, callbacks=[*options.pop("callbacks", []), witness], **options,
    )  # fmt: skip
    validation = DataLoader(TensorDataset(*batch(7, 6)), batch_size=2) if net == "validated" else None
    trainer.fit(module, loader_of(kind, sizes), validation, ckpt_path=ckpt_path)
    state = trainer.optimizers[0].state_dict()["state"]
    return {
        "weights": [parameter.flatten().tolist() for parameter in module.parameters()],
        "buffers": [buffer.flatten().tolist() for buffer in module.buffers()],
        "optimizer": [value["exp_avg_sq"].flatten().tolist() for value in state.values()],
        "rate": trainer.optimizers[0].param_groups[0]["lr"],
        "steps": trainer.global_step,
        "batches": trainer.progress.batches,
        "metrics": {key: float(value) for key, value in trainer.callback_metrics.items()},
        "seen": witness.seen,
    }


def same_everywhere(results: list[dict[str, Any]]) -> dict[str, Any]:
    """What all ranks have alike, bit for bit."""
    for key in ("weights", "optimizer", "rate", "steps", "batches"):
        assert all(one[key] == results[0][key] for one in results), key
    return results[0]


def alone(
    rounds: list[list[Batch]], accumulate: int = 1, epochs: int = 2, clip: float | None = None, by_sample: bool = False
) -> tuple[list[list[float]], float]:
    """The weights after training in one process on the same batches, and the last epoch's loss by samples."""
    net = Net()
    (optimizer,), (schedule,) = optimizers(net)
    total = weight = 0.0
    for _ in range(epochs):
        total = weight = 0.0
        for start in range(0, len(rounds), accumulate):
            window = [one for batches in rounds[start : start + accumulate] for one in batches]
            losses, sizes = [net.loss(one) for one in window], [len(one[0]) for one in window]
            total += sum(loss.item() * size for loss, size in zip(losses, sizes, strict=True))
            weight += sum(sizes)
            shares = sizes if by_sample else [1] * len(sizes)
            optimizer.zero_grad()
            if window:
                (sum(loss * share for loss, share in zip(losses, shares, strict=True)) / sum(shares)).backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            schedule["scheduler"].step()
    return [parameter.flatten().tolist() for parameter in net.parameters()], total / weight


def close(ours: list[list[float]], theirs: list[list[float]]) -> bool:
    """Whether weights are equal, but for the order in which numbers are added up."""
    pairs = [(torch.tensor(a).double(), torch.tensor(b).double()) for a, b in zip(ours, theirs, strict=True)]
    return all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in pairs)
