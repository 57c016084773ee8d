"""What every rank of a group does for `test_exact`: small evaluations and predictions, which say what they saw."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, TensorDataset
from torchmetrics import AUROC, MeanMetric, Metric, MetricCollection, PearsonCorrCoef
from torchmetrics.classification import BinaryAccuracy, BinaryPrecision, BinaryRecall

from fulmen import LightningModule, Trainer
from fulmen.callbacks.prediction_writer import BasePredictionWriter
from fulmen.loggers.logger import Logger
from fulmen.strategies.ddp import DDPStrategy
from fulmen.utilities.combined_loader import CombinedLoader

WORLD = [1]  # how many processes there are
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


class Case(NamedTuple):
    """Samples, how they come, and how many are in a batch (0: another number each time)."""

    samples: int
    kind: str
    size: int

    @property
    def values(self) -> Tensor:
        """Two numbers a sample: one between -1 and 1, and a label."""
        generator = torch.Generator().manual_seed(self.samples)
        numbers = torch.rand(self.samples, generator=generator, dtype=torch.float64) * 2 - 1
        labels = torch.rand(self.samples, generator=generator, dtype=torch.float64) > 0.5
        return torch.stack([numbers, labels.double()], 1)

    @property
    def batches(self) -> list[list[int]]:
        """The samples' numbers, batch by batch."""
        draw = random.Random(self.samples)
        left, found = list(range(self.samples)), []
        while left:
            size = self.size or draw.randint(1, 4)
            found.append(left[:size])
            left = left[size:]
        return found

    @property
    def loader(self) -> Any:
        """The loader."""
        if self.kind == "map":
            if self.size:
                return DataLoader(TensorDataset(self.values), batch_size=self.size)
            return DataLoader(TensorDataset(self.values), batch_sampler=self.batches)
        if self.kind == "single":
            return DataLoader(Rows([self.values[batch] for batch in self.batches]), batch_size=None)
        stream = Stream([[self.values[batch]] for batch in self.batches])
        return DataLoader(stream, batch_size=None) if self.kind == "iterable" else stream


class Rows(Dataset[Any]):
    """Map-style data."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return [self.items[index]]


class Stream(IterableDataset[Any]):
    """Iterable data without a length."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


class Batches(list[Any]):
    """A loader of one's own, with a length."""


class Ordered(Metric):
    """A sum in which each sample counts by its place."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("numbers", [], dist_reduce_fx="cat")

    def update(self, numbers: Tensor) -> None:
        self.numbers.append(numbers)  # type: ignore[union-attr,operator]

    def compute(self) -> Tensor:
        numbers = torch.cat(self.numbers)  # type: ignore[arg-type]
        return (numbers * torch.arange(1, len(numbers) + 1)).sum()


class Counter(LightningModule):
    """Logs the same numbers in every way that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.average = MeanMetric()
        self.ordered = Ordered()
        self.curve = AUROC("binary")
        self.pearson = PearsonCorrCoef()
        # two of them share their counts
        self.several = MetricCollection([BinaryPrecision(), BinaryRecall(), BinaryAccuracy()])
        for child in self.children():
            if isinstance(child, (Metric, MetricCollection)):
                child.set_dtype(torch.float64)
        self.seen: list[int] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        values = batch[0]
        self.seen.append(batch_idx)
        numbers, labels = values[:, 0], values[:, 1].long()
        self.log("mean", numbers.mean())
        for name in ("sum", "max", "min"):
            self.log(name, getattr(numbers, name)(), reduce_fx=name)
        self.average.update(numbers)
        self.ordered.update(numbers)
        self.curve.update((numbers + 1) / 2, labels)
        self.pearson.update(numbers, values[:, 1])
        self.several.update((numbers + 1) / 2, labels)
        for name in ("average", "ordered", "curve", "pearson"):
            self.log(name, getattr(self, name), on_epoch=True)
        self.log_dict(self.several, on_epoch=True)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        values: Tensor = batch[0][:, 0]
        return values * 2


class Counted(DDPStrategy):
    """Counts collectives.

    Attributes:
        collectives: How many there were.
    """

    collectives = 0

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        self.collectives += 1
        return super().all_gather(tensor, group, sync_grads)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        self.collectives += 1
        return super().broadcast(obj, src)

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        self.collectives += 1
        return super().reduce(tensor, group, reduce_op)


def trainer(**flags: Any) -> Trainer:
    """A Trainer that is one of several, where there are several."""
    several: dict[str, Any] = {"devices": WORLD[0], "strategy": Counted()} if WORLD[0] > 1 else {"devices": 1}
    return Trainer(**{**QUIET, **several, **flags})


def run_cases(cases: list[Case]) -> list[tuple[dict[str, float], list[int], list[list[float]]]]:
    """For each case: the epoch's values, the numbers of the batches that came here, and all predictions."""
    found = []
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metrics that say what few samples mean
        for case in cases:
            runner, module = trainer(), Counter()
            (values,) = runner.validate(module, case.loader, verbose=False)
            assert {key: value.item() for key, value in runner.callback_metrics.items()} == values or "nan" in str(
                values
            )
            predictions: Any = runner.predict(module, case.loader)
            found.append((values, module.seen, [one.tolist() for one in predictions]))
    torch.set_default_dtype(before)
    return found


# What is looked at once on two processes. Each function returns what its test asserts on.


class Seer(LightningModule):
    """Notes the batches that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[Any] = []

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen.append((batch_idx, plain(batch)))

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return plain(batch)


def plain(batch: Any) -> Any:
    """A batch as numbers."""
    if isinstance(batch, Tensor):
        return batch.flatten().tolist()
    if isinstance(batch, (list, tuple)):
        return [plain(part) for part in batch]
    return {key: plain(value) for key, value in batch.items()} if isinstance(batch, dict) else batch


def seen_of(loader: Any, **flags: Any) -> list[Any]:
    """The batches that this rank gets of a loader."""
    with torch.random.fork_rng():
        module = Seer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of loaders that shuffle
        trainer(**flags).validate(module, loader, verbose=False)
    return module.seen


def numbers(count: int) -> TensorDataset:
    return TensorDataset(torch.arange(count).double()[:, None])


def shuffled(rank: int) -> Any:
    """Ranks draw from other states; the order is one, and each rank's state goes on as if it had drawn itself."""
    found = []
    for options in ({}, {"batch_size": 3, "drop_last": True}, {"generator": torch.Generator().manual_seed(rank)}):
        torch.manual_seed(rank)
        loader = DataLoader(numbers(8), **{"batch_size": 2, "shuffle": True, **options})
        twice = seen_of(loader), seen_of(loader)
        after = torch.rand(1).item()
        torch.manual_seed(rank)
        list(loader), list(loader)
        found.append((*twice, after == torch.rand(1).item()))
    return found


def drawn_as_it_goes(rank: int) -> Any:
    """A sampler of one's own that draws between batches, as the data do, too."""

    class Drawing(torch.utils.data.Sampler[int]):
        def __iter__(self) -> Iterator[int]:
            left = list(range(6))
            while left:
                yield left.pop(int(torch.randint(len(left), ()).item()))

        def __len__(self) -> int:
            return 6

    class Noisy(Dataset[Any]):
        def __getitem__(self, index: int) -> Tensor:
            torch.rand(rank + 1)
            return torch.tensor([float(index)])

        def __len__(self) -> int:
            return 6

    torch.manual_seed(rank)
    return seen_of(DataLoader(Noisy(), batch_size=1, sampler=Drawing()))


def sharding_themselves(rank: int) -> Any:
    """Data that give each rank its own batches, in every way that this can be known."""
    mine = [[torch.tensor([float(10 * rank + number)])] for number in range(3 + rank)]
    declared = Stream([[torch.tensor([1.0])]] * 2)
    declared.shards_itself = True  # type: ignore[attr-defined]
    sampler = DistributedSampler(numbers(6), num_replicas=2, rank=rank, shuffle=False)
    return {
        "by its first batch": seen_of(DataLoader(Stream(mine), batch_size=None)),
        "nothing for one": seen_of(Stream(mine if rank else [])),
        "a list, nothing for one": seen_of(Batches(mine if rank else [])),
        "declared": seen_of(DataLoader(declared, batch_size=None)),
        "its sampler": seen_of(DataLoader(numbers(6), batch_size=1, sampler=sampler)),
        "the user's wish": seen_of(DataLoader(numbers(3), batch_size=1), use_distributed_sampler=False),
        "another length": seen_of(DataLoader(numbers(2 + rank), batch_size=1)),
        "a limit": seen_of(DataLoader(Stream(mine), batch_size=None), limit_val_batches=3),
    }


def combined(rank: int) -> Any:
    """Each mode, beside what one process sees."""
    found = {}
    for mode in ("min_size", "max_size", "max_size_cycle", "sequential"):
        loaders = {"a": DataLoader(numbers(7), batch_size=1), "b": Batches(torch.tensor([n]) for n in range(3))}
        rows = [plain(batch) for batch, _, _ in CombinedLoader(loaders, mode)]  # type: ignore[arg-type]
        found[mode] = (rows, seen_of([CombinedLoader(loaders, mode)]))  # type: ignore[arg-type]
    shuffling = {"a": DataLoader(numbers(5), 1, shuffle=True), "b": DataLoader(numbers(2), 1, shuffle=True)}
    torch.manual_seed(rank)
    found["shuffled"] = (None, seen_of([CombinedLoader(shuffling, "max_size_cycle")]))
    return found


def limited(rank: int) -> Any:
    """Limits count batches of the whole pass."""
    found = {}
    for limit in (1, 3, 0.5):
        for kind in ("map", "iterable"):
            if kind == "map" or isinstance(limit, int):
                loader = Case(8, kind, 1).loader
                found[kind, limit] = [number for number, _ in seen_of(loader, limit_val_batches=limit)]
    return found


def with_workers(rank: int) -> Any:
    """Loaders with workers, also with some that live on."""
    data = DataLoader(numbers(5), batch_size=1, num_workers=1, persistent_workers=True)
    stream = DataLoader(Stream([torch.tensor([n]) for n in range(5)]), batch_size=None, num_workers=1)
    return seen_of(data), seen_of(data), seen_of(stream)


class Keys(LightningModule):
    """Logs in ways that ranks may differ in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.reads: list[float] = []
        self.pairs: Any = None

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        value, rank = batch[0].mean(), self.global_rank
        self.log("everywhere", value)
        self.log("own", value, rank_zero_only=True)
        self.log("whole", int(batch[0].sum().item()) + 2**20, reduce_fx="sum")
        self.log("grouped", value, sync_dist_group=self.pairs)
        self.log("twice", value, on_step=True, on_epoch=True, sync_dist=True)
        self.log("first", value, on_step=True)
        if rank == 1:
            self.log("some", value)
        if rank == 0:
            before = self.trainer.strategy.collectives
            self.reads.append(self.trainer.callback_metrics.get("everywhere", torch.tensor(-1.0)).item())
            assert self.trainer.strategy.collectives == before

    def on_validation_epoch_end(self) -> None:
        self.log("at the end", float(self.global_rank))
        if self.global_rank == 0:
            self.reads.append(self.trainer.callback_metrics["everywhere"].item())


class Lines(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Any] = []

    @property
    def name(self) -> str:
        return "lines"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.lines.append((step, dict(metrics)))


def keys(rank: int) -> Any:
    """Five batches, of which a third process has one."""
    module, lines = Keys(), Lines()
    groups = [distributed.new_group([0]), distributed.new_group([1, *range(2, WORLD[0])])]
    module.pairs = groups[min(rank, 1)]
    runner = trainer(logger=lines)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (values,) = runner.validate(module, DataLoader(numbers(5), batch_size=1), verbose=False)
    return {
        "values": values, "reads": module.reads, "lines": lines.lines,
        "warnings": [str(one.message) for one in caught if "was called on the ranks" in str(one.message)],
        "collectives": runner.strategy.collectives,
    }  # fmt: skip


def gathering_in_steps(rank: int) -> Any:
    """A step that has all ranks wait for each other, with batches for some of them only."""

    class Gathering(Seer):
        def __init__(self) -> None:
            super().__init__()
            self.count = MeanMetric()

        def validation_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            self.gathered = self.all_gather(batch[0]).shape[0]
            self.count.update(batch[0])
            self.log("count", self.count, on_epoch=True)
            self.log("sum", batch[0].sum(), reduce_fx="sum")

    found = []
    for batches in (1, 3, 5):
        for loader in (
            DataLoader(numbers(batches), batch_size=1),
            Stream([[torch.tensor([n])] for n in range(batches)]),
        ):
            (values,) = trainer().validate(Gathering(), loader, verbose=False)
            found.append((batches, values))
    return found


class Writer(BasePredictionWriter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("batch_and_epoch")
        self.batches: list[Any] = []
        self.epoch: Any = None

    def write_on_batch_end(self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx):  # type: ignore[no-untyped-def]
        self.batches.append((batch_idx, batch_indices, prediction))

    def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):  # type: ignore[no-untyped-def]
        self.epoch = (list(predictions), batch_indices)


def written(rank: int) -> Any:
    """Writers get this rank's batches; what is returned is everybody's."""
    writer = Writer()
    runner = trainer(callbacks=[writer])
    loader = DataLoader(numbers(5), batch_size=2)
    returned = runner.predict(Seer(), loader)
    before = runner.strategy.collectives
    assert runner.predict(Seer(), loader, return_predictions=False) is None
    return writer.batches[:2], writer.epoch, returned, runner.strategy.collectives - before


class Fitted(LightningModule):
    """Trains on a number that is the rank's own, and is judged by what all ranks logged."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.log("train", batch[0].mean(), on_step=True, on_epoch=True, sync_dist=True)
        loss: Tensor = self.layer(batch[0].float()).sum()
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("epoch", float(self.global_rank))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fitted(rank: int) -> Any:
    """Values of training, as a callback that judges an epoch sees them, and as loggers get them."""
    from fulmen import Callback

    class Judging(Callback):
        judges_epoch = True

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.saw = {key: value.item() for key, value in trainer.callback_metrics.items()}

    judge, lines = Judging(), Lines()
    runner = trainer(callbacks=[judge], logger=lines, max_epochs=1, log_every_n_steps=2, use_distributed_sampler=False)
    data = TensorDataset(torch.arange(4).double()[:, None] + 10 * rank)
    runner.fit(Fitted(), DataLoader(data, batch_size=1))
    return judge.saw, lines.lines


CHECKS = (
    shuffled, drawn_as_it_goes, sharding_themselves, combined, limited, with_workers, keys, gathering_in_steps, written,
    fitted,
)  # fmt: skip


def everything(world: int, cases: list[Case], names: list[str]) -> dict[str, Any]:
    """All of it on one rank, or what is named."""
    WORLD[0] = world
    found: dict[str, Any] = {"cases": run_cases(cases)}
    for check in CHECKS:
        if check.__name__ in names:
            found[check.__name__] = check(int(os.environ["LOCAL_RANK"]))
    return found
