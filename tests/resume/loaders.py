"""Loaders of all kinds that a run can be stopped and resumed with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from fulmen.utilities.combined_loader import CombinedLoader


def table(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    fixed = torch.Generator().manual_seed(3)
    inputs = torch.randn(count, 4, generator=fixed)
    return inputs, (inputs.sum(1) > 0).long()


class Augmented(Dataset[Any]):
    """Samples with their numbers, to which all three generators add noise."""

    def __init__(self, count: int, noise: bool = True) -> None:
        self.inputs, self.labels = table(count)
        self.noise = noise

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        inputs = self.inputs[index]
        if self.noise:
            inputs = inputs + 0.1 * torch.randn(4) + 0.1 * numpy.random.randn() + 0.1 * random.random()
        return inputs, self.labels[index], index


class WithGenerator(Augmented):
    """Draws from a generator of its own."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        super().__init__(count, noise=False)
        self.generator = generator

    def __getitem__(self, index: int) -> Any:
        inputs, label, number = super().__getitem__(index)
        return inputs + torch.randn(4, generator=self.generator), label, number


class Remembering(Augmented):
    """Counts how often a sample was asked for, and can say so."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.asked = 0

    def __getitem__(self, index: int) -> Any:
        self.asked += 1
        inputs, label, number = super().__getitem__(index)
        return inputs + 0.001 * self.asked, label, number

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.asked = state["asked"]


class Flow(IterableDataset[Any]):
    """Gives its samples in order, with noise; without a length."""

    def __init__(self, count: int) -> None:
        self.data = Augmented(count)

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        first, step = (info.id, info.num_workers) if info is not None else (0, 1)
        for index in range(first, len(self.data), step):
            yield self.data[index]


class SizedFlow(Flow):
    def __len__(self) -> int:
        return len(self.data)


class StatefulFlow(IterableDataset[Any]):
    """Goes on where it was, over the epochs too, and draws from its own generator."""

    def __init__(self, count: int, reads: list[int]) -> None:
        self.data = Augmented(count)
        self.position = 0
        self.reads = reads
        self.own = random.Random(5)

    def __iter__(self) -> Iterator[Any]:
        while self.position < len(self.data):
            self.reads.append(self.position)
            inputs, label, number = self.data[self.position]
            self.position += 1
            yield inputs + self.own.random(), label, number
        self.position = 0

    def state_dict(self) -> dict[str, Any]:
        version, state, gauss = self.own.getstate()
        return {"position": self.position, "own": [version, list(state), gauss]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]
        version, own, gauss = state["own"]
        self.own.setstate((version, tuple(own), gauss))


class ShardedFlow(IterableDataset[Any]):
    """Has a state that ends with its pass, and begins anew when it is opened without being given one."""

    def __init__(self, count: int) -> None:
        self.data = Augmented(count)
        self.starts = self.position = 0

    def __iter__(self) -> Iterator[Any]:
        self.position, self.starts = self.starts, 0
        while self.position < len(self.data):
            self.position += 1
            yield self.data[self.position - 1]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.starts = self.position = state["position"]


class StatefulLoader:
    """A loader of the user's own that says where it is."""

    def __init__(self, count: int) -> None:
        self.flow = StatefulFlow(count, [])

    def __iter__(self) -> Iterator[Any]:
        samples: list[Any] = []
        for sample in self.flow:
            samples.append(sample)
            if len(samples) == 4:
                yield torch.utils.data.default_collate(samples)
                samples = []

    def state_dict(self) -> dict[str, Any]:
        return self.flow.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.flow.load_state_dict(state)


class Plain:
    """Batches that are there already."""

    def __init__(self, count: int) -> None:
        self.batches = list(DataLoader(memory(count), 4))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


class Halves:
    """A sampler of the user's own, which draws from Python's generator when it is asked."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        order = list(range(self.count))
        random.shuffle(order)
        return iter(order)


class StatefulSampler:
    """A sampler that says where it is."""

    def __init__(self, count: int) -> None:
        self.count, self.given, self.order = count, 0, []

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        if not self.order:
            self.order = torch.randperm(self.count).tolist()
        while self.given < self.count:
            self.given += 1
            yield self.order[self.given - 1]
        self.order, self.given = [], 0

    def state_dict(self) -> dict[str, Any]:
        return {"order": list(self.order), "given": self.given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order, self.given = list(state["order"]), state["given"]


class Buckets:
    """A batch sampler of the user's own."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count // 3

    def __iter__(self) -> Iterator[list[int]]:
        for start in torch.randperm(self.count // 3).tolist():
            yield [3 * start, 3 * start + 1, 3 * start + 2]


def own(number: int = 9) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def memory(count: int) -> TensorDataset:
    return TensorDataset(*table(count), torch.arange(count))


LOADERS: dict[str, Callable[[], Any]] = {
    "memory": lambda: DataLoader(memory(26), 4, shuffle=True),
    "memory in whole batches": lambda: DataLoader(memory(26), 4, shuffle=True, drop_last=True, generator=own()),
    "memory, divisible": lambda: DataLoader(memory(24), 4, shuffle=True, generator=own()),
    "subset": lambda: DataLoader(Subset(Augmented(40), range(5, 31)), 4, shuffle=True),
    "own generator": lambda: DataLoader(Augmented(26), 4, shuffle=True, generator=own()),
    "shared generator": lambda: (lambda g: DataLoader(WithGenerator(26, g), 4, shuffle=True, generator=g))(own()),
    "replacement": lambda: DataLoader(
        Augmented(26), 4, sampler=RandomSampler(range(26), replacement=True, num_samples=70, generator=own())
    ),
    "weighted": lambda: DataLoader(Augmented(26), 4, sampler=WeightedRandomSampler([1.0, 2.0] * 13, 26)),
    "subset sampler": lambda: DataLoader(Augmented(40), 4, sampler=SubsetRandomSampler(range(3, 29), generator=own())),
    "more than all": lambda: DataLoader(memory(10), 4, sampler=RandomSampler(range(10), num_samples=26)),
    "own sampler": lambda: DataLoader(Augmented(26), 4, sampler=Halves(26)),
    "stateful sampler": lambda: DataLoader(Augmented(26), 4, sampler=StatefulSampler(26)),
    "own batch sampler": lambda: DataLoader(Augmented(26), batch_sampler=Buckets(26)),
    "batch sampler": lambda: DataLoader(
        Augmented(26), batch_sampler=BatchSampler(RandomSampler(range(26)), 5, drop_last=False)
    ),
    "remembering": lambda: DataLoader(Remembering(26), 4, shuffle=True),
    "flow": lambda: DataLoader(Flow(26), 4),
    "sized flow": lambda: DataLoader(SizedFlow(26), 4),
    "stateful flow": lambda: DataLoader(StatefulFlow(26, []), 4),
    "sharded flow": lambda: DataLoader(ShardedFlow(26), 4),
    "sharded flow, divisible": lambda: DataLoader(ShardedFlow(24), 4),
    "stateful loader": lambda: StatefulLoader(26),
    "plain": lambda: Plain(26),
    "two workers": lambda: DataLoader(Augmented(26), 4, shuffle=True, num_workers=2),
    "three workers": lambda: DataLoader(Augmented(26), 4, shuffle=True, num_workers=3, generator=own()),
    "workers, stateful sampler": lambda: DataLoader(Augmented(26), 4, sampler=StatefulSampler(26), num_workers=2),
    "workers that live on": lambda: DataLoader(Augmented(26), 4, shuffle=True, num_workers=2, persistent_workers=True),
    "workers by sample": lambda: DataLoader(Augmented(5), batch_size=None, shuffle=True, num_workers=2),
    "workers of a flow": lambda: DataLoader(Flow(26), 4, num_workers=2),
    "flow, workers that live on": lambda: DataLoader(Flow(26), 4, num_workers=2, persistent_workers=True),
    "shortest": lambda: CombinedLoader(
        {"a": DataLoader(Augmented(26), 4, shuffle=True), "b": DataLoader(Flow(40), 4)}, "min_size"
    ),
    "cycle": lambda: [DataLoader(Augmented(26), 4, shuffle=True), DataLoader(Augmented(9), 4, shuffle=True)],
    "longest": lambda: CombinedLoader(
        [DataLoader(Augmented(26), 4, shuffle=True), DataLoader(Augmented(9), 4, shuffle=True)], "max_size"
    ),
    "cycle with workers": lambda: [
        DataLoader(Augmented(26), 4, shuffle=True, num_workers=2),
        DataLoader(Augmented(9), 4, shuffle=True, generator=own()),
        DataLoader(StatefulFlow(12, []), 4),
    ],
    "cycle with a flow": lambda: [DataLoader(Augmented(26), 4, shuffle=True), DataLoader(Flow(35), 4)],
    "longest flows": lambda: CombinedLoader({"a": DataLoader(Flow(26), 4), "b": DataLoader(Flow(9), 4)}, "max_size"),
}
