"""How the batches of a training epoch are divided among processes, and how many rounds that makes.

A round is what a batch is to one process: each process has one batch in it, or none. All processes go through the same
rounds, so that everything that counts batches comes to the same on each.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, default_collate

from fulmen.data.loaders import planned_batches
from fulmen.data.parts import generators_of, is_stateful
from fulmen.data.sharding import digest, way_of
from fulmen.data.stream import Noted
from fulmen.strategies.exchange import Group, exchange
from fulmen.utilities.combined_loader import CombinedLoader, length_of, open_once

Kind = Literal["known", "dealt", "ask", "own"]
How = Literal["even", "counts", "rows", "turns"]
NONE = object()


class Division:
    """Which batches are this process's, as all processes see it. They make it at the same time.

    Args:
        loader: A loader, or a `CombinedLoader`; map-style data have their samplers already.
        strategy: How the processes agree.
        limit: The most batches a process, or the part of them.
        flag: What set the limit.
        deals: Whether streams that are the same everywhere are dealt out; else everything belongs to its process.

    Attributes:
        kinds: Of each single loader: ``"known"`` has a length and is this process's; ``"dealt"`` is the same stream
            everywhere, of which this process has a part; ``"own"`` is a stream of this process's; ``"ask"``: which of
            the two shows at its first batch.
        limits: The most batches of each process, infinity where that is not known.
        rounds: The most rounds.
        alike: Whether batches have the same size on all processes by the way that they are made.
    """

    def __init__(self, loader: Any, strategy: Group, limit: int | float, flag: str, deals: bool = True) -> None:
        self.strategy = strategy
        self.loaders = loader.flattened if isinstance(loader, CombinedLoader) else [loader]
        mine = [kind_of(one, deals) for one in self.loaders]
        look = [digest_of_first(one) if kind == "ask" else "" for one, kind in zip(self.loaders, mine, strict=True)]
        signature = [_signature(one) for one in self.loaders]
        found = exchange(strategy, (mine, look, length_of(loader), signature))
        self.kinds = [_agreed(*each) for each in zip(*(list(zip(*one[:2], strict=True)) for one in found), strict=True)]
        lengths = [one[2] for one in found]
        self.alike = None not in signature and all(one[3] == signature for one in found)
        if self.dealt:
            shared = max(lengths)
            length = shared if shared == math.inf else math.ceil(shared / strategy.world_size)
            self.limits = [planned_batches(length, limit, flag)] * strategy.world_size
        else:
            self.limits = [planned_batches(length, limit, flag) for length in lengths]
        self.rounds = max(self.limits)

    def put_behind(self, rounds: int) -> None:
        """Takes note that so many rounds of the epoch came before those that are divided here."""
        self.limits = [limit + rounds for limit in self.limits]
        self.rounds += rounds

    @property
    def dealt(self) -> bool:
        """Whether all of it is dealt out, as far as is known."""
        return all(kind in ("dealt", "ask") for kind in self.kinds)

    @property
    def how(self) -> How:
        """How it is known who has a batch in a round.

        ``"even"``: all have, in all of them. ``"counts"``: by the number of batches of each. ``"rows"``: each process
        reads all that is dealt out. ``"turns"``: they tell each other.
        """
        if all(kind == "known" for kind in self.kinds):
            return "even" if len(set(self.limits)) == 1 else "counts"
        return "rows" if self.dealt else "turns"

    def settle(self, position: int, digests: list[str]) -> None:
        """Decides of what kind a stream is.

        Args:
            position: Which of the loaders.
            digests: Of its first batch on each process.
        """
        self.kinds[position] = "dealt" if len(set(digests)) == 1 else "own"


def kind_of(loader: Any, deals: bool) -> Kind:
    """Of what kind a single loader is; see :class:`Division`."""
    if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
        return "known"
    way = way_of(loader) if deals else "own"
    return "own" if way == "own" else "dealt" if way == "batches" else "ask"


def digest_of_first(loader: Any) -> str:
    """A text that stands for the first batch of a stream with a length; ``""`` for one without, which is asked later.

    The random state, and what the stream knows of its place, are as before afterwards.
    """
    if length_of(loader) == math.inf or hasattr(loader, "__next__"):
        return ""
    parts: list[Any] = [part for part in (loader, getattr(loader, "dataset", None)) if is_stateful(part)]
    generators = generators_of(loader)
    states, noted = [part.state_dict() for part in parts], Noted.take(generators)
    first = next(iter(open_once(loader)), NONE)
    noted.put(generators)
    for part, state in zip(parts, states, strict=True):
        part.load_state_dict(state)
    return "none" if first is NONE else digest(first)


def _agreed(*each: tuple[Kind, str]) -> Kind:
    kinds, digests = {kind for kind, _ in each}, {text for _, text in each}
    if len(kinds) > 1:
        return "own"
    kind = next(iter(kinds))
    if kind != "ask" or digests == {""}:
        return kind
    return "dealt" if len(digests) == 1 else "own"


def _signature(loader: Any) -> tuple[Any, ...] | None:
    """What decides on the sizes of batches, where they are known to follow from it."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    batches, collate = loader.batch_sampler, loader.collate_fn
    if (
        type(batches) is not BatchSampler
        or collate is not default_collate
        or type(loader).__iter__ is not DataLoader.__iter__
    ):
        return None
    return batches.batch_size, batches.drop_last, length_of(batches.sampler)
