"""What is left of an epoch that another number of processes, or other batches, began.

An epoch over map-style data has a list of indices (or of batches), of which each process takes every n-th. What nobody
has taken yet is dealt out anew. Batches of an iterable are read over up to the place that all together had come to.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler

from fulmen.data.distributed import Items, SharedSampler, as_list, as_tensor, is_shared, replaced
from fulmen.data.pace import Pace
from fulmen.data.parts import is_stateful, parts_of
from fulmen.data.stream import MapStream, read_over
from fulmen.utilities.combined_loader import CombinedLoader, length_of, open_once
from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.rank_zero import rank_zero_warn


class Rest(Sampler[Any]):
    """What is left of a list: each process takes every `num_replicas`-th, from its number on.

    Args:
        items: The list, which is the same on all processes.
        rank: This process's number.
        num_replicas: The number of processes.
        after: What is read where it is opened once more in the same pass.

    Attributes:
        is_list: That it gives the same each time.
    """

    is_list = True

    def __init__(self, items: Items, rank: int, num_replicas: int, after: Any) -> None:
        self.items, self.rank, self.num_replicas, self.after = items, rank, num_replicas, after
        self._opened = False

    def whole(self) -> Items:
        """The list, of all processes."""
        return self.items

    def __iter__(self) -> Iterator[Any]:
        if self._opened:
            return iter(self.after)
        self._opened = True
        return iter(as_list(self.items[self.rank :: self.num_replicas]))

    def __len__(self) -> int:
        return len(range(self.rank, len(self.items), self.num_replicas))


class Later:
    """An iterable without its first batches.

    Args:
        loader: The iterable.
        skip: How many.
    """

    shards_itself = False

    def __init__(self, loader: Any, skip: int) -> None:
        self.loader, self.skip = loader, skip
        self._opened = False

    def __iter__(self) -> Iterator[Any]:
        batches = open_once(self.loader)
        if not self._opened:  # at once, in the random state in which it is opened
            read_over(batches, self.skip)
            self._opened = True
        return batches

    def __len__(self) -> int:
        length = length_of(self.loader)
        if length == math.inf:
            raise TypeError(f"{type(self.loader).__name__} has no length")
        return max(int(length) - self.skip, 0)


def list_of(loader: Any) -> dict[str, Any] | None:
    """What a loader reads in this epoch, on all processes, in plain values; None where that is not known, or plain."""
    if isinstance(loader, Later):
        return {"after": loader.skip}
    sampler = _sampler_of(loader)
    if not isinstance(sampler, (SharedSampler, Rest)):
        return None
    items = sampler.whole()
    if isinstance(items, Tensor) and (not len(items) or int(items.max()) < 2**31):
        items = items.to(torch.int32)
    return {
        "items": items,
        "size": loader.batch_sampler.batch_size if type(loader.batch_sampler) is BatchSampler else None,
        "world": sampler.num_replicas,
        "given": isinstance(sampler, Rest) or sampler.source is not None,  # the loader alone does not bring it back
    }


def made_of(loader: Any) -> list[Any] | None:
    """What decides of which samples the batches of a loader are made, in plain values; None where that is not known.

    Returns:
        Of how many samples, and whether a last batch that is not full is left out: None instead, where the number of
        batches that were read does not tell which samples they had.
    """
    if not isinstance(loader, DataLoader):
        return None
    batches = loader.batch_sampler
    listed = not isinstance(loader.dataset, IterableDataset) and not is_stateful(loader)
    if type(batches) is BatchSampler:
        return [int(batches.batch_size), bool(batches.drop_last) if listed else None]
    size = getattr(loader.sampler if batches is None else batches, "batch_size", None)
    if isinstance(size, int):
        return [size, None]
    return [1, False] if batches is None and listed else None


def warn_of_another(before: str, now: str, skipped: int) -> None:
    """Warns of an epoch that goes on with a loader of which nobody knows what is left."""
    rank_zero_warn(
        f"The epoch that goes on was read from a loader of {before}, and this is another one (of {now}). Its first "
        f"{skipped} batches are left out. What to do: the same loader, to see the samples that are left and no others; "
        "or a checkpoint of the end of an epoch."
    )


def described(length: int | float, made: list[Any] | None) -> str:
    """A loader in words.

    Args:
        length: How many batches it has.
        made: What :func:`made_of` gave.
    """
    return f"{'batches' if length == math.inf else f'{length} batches'}{'' if made is None else f' of {made[0]}'}"


def _is_rebatched(loaders: list[Any], saved: dict[str, Any]) -> bool:
    """Whether an epoch goes on with other batches, and it is known which samples the earlier ones had."""
    both = zip(map(made_of, loaders), saved.get("made", []), strict=False)
    return any(now != before and _is_plain(now) and _is_plain(before) for now, before in both)


def _is_plain(made: list[Any] | None) -> bool:
    return made is not None and made[1] is not None


def left_of(items: Items, size: int | None, counts: list[int], cuts: list[float]) -> Items:
    """What of a list nobody has taken, in its order.

    Args:
        items: The list, of which each process takes every n-th.
        size: Of how many items a batch is made; None where an item is a batch.
        counts: For each process how many batches it has taken.
        cuts: For each process after how many batches its pass would have ended.
    """
    world, size = len(counts), size or 1
    if isinstance(items, Tensor):
        places = torch.arange(len(items))
        own, rank = places // world, places % world
        taken = torch.tensor(counts)[rank] * size
        ends = torch.tensor([min(cut * size, 2**62) for cut in cuts], dtype=torch.float64)[rank]
        return items[(own >= taken) & (own < ends)].to(torch.int64)
    return [
        item
        for place, item in enumerate(items)
        if counts[place % world] * size <= place // world < cuts[place % world] * size
    ]


def reopened(loader: Any, whole: Any, saved: dict[str, Any], rank: int, world: int) -> tuple[Any, dict[str, Any], bool]:
    """What to read of an epoch that goes on.

    Args:
        loader: The training loader, shared out.
        whole: The same before it was shared out.
        saved: Where the epoch was: of this process, and under ``"ranks"`` of each where they are several; or only under
            ``"by_rank"``, of each of another number of them.
        rank: This process's number.
        world: The number of processes.

    Returns:
        What to read in this epoch, the place in it for a ``Feed``, and whether it is a rest, to which limits do not
        apply: the list was cut where they would have.

    Raises:
        MisconfiguredRun: If it cannot be known what is left.
    """
    flat = loader.flattened if isinstance(loader, CombinedLoader) else [loader]
    ranks = saved.get("ranks", [saved])
    saved = {name: value for name, value in saved.items() if name != "ranks"}
    if saved["consumed"] and _is_rebatched(flat, saved):
        saved = {"by_rank": ranks}
    if "by_rank" not in saved:
        lists = saved.get("lists") or []
        if not any(one is not None and (one.get("given") or "after" in one) for one in lists):
            return loader, saved, False
        known = zip(flat, lists, saved["streams"], strict=True)
        parts = [_as_listed(one, listed, state, rank, world) for one, listed, state in known]
        return _put_together(loader, parts), saved, bool(saved.get("shift"))
    feeds = saved["by_rank"]
    originals = whole.flattened if isinstance(whole, CombinedLoader) else [whole]
    if len(feeds[0]["streams"]) != len(flat):
        raise MisconfiguredRun(
            "An epoch goes on with the loaders that it began with, where the number of processes or the batch size has "
            "changed.",
            got=f"{len(flat)} loaders, and a checkpoint of a run over {len(feeds[0]['streams'])}",
            fix="Resume with the same training loaders, or from a checkpoint of the end of an epoch.",
        )
    parts, states, finished = [], [], []
    for position, (one, original) in enumerate(zip(flat, originals, strict=True)):
        part, state = _Left(position, feeds).of(one, original, rank, world)
        finished += [position] if part is one else []
        parts.append(part)
        states.append(state)
    read = _put_together(loader, parts)
    consumed = feeds[0]["consumed"]
    place = {
        "consumed": consumed, "shift": -consumed, "ended": False, "length": length_of(read), "pending": [],
        "streams": states, "finished": finished, "lists": [list_of(part) for part in parts],
        "made": [made_of(part) for part in parts],
    }  # fmt: skip
    each = batches_by_rank(read)
    left = length_of(read) if each is None else max(each)
    place["pace"] = None if left == math.inf else Pace.of(feeds[0], int(left))
    return read, place, True


def _put_together(loader: Any, parts: list[Any]) -> Any:
    if not isinstance(loader, CombinedLoader):
        return parts[0]
    combined = copy.copy(loader)
    combined.flattened = parts
    return combined


def _as_listed(loader: Any, known: dict[str, Any] | None, state: Any, rank: int, world: int) -> Any:
    """What a loader was read as in the run that goes on with as many processes."""
    if known is None or (state is not None and state["opens"] > 1):
        return loader
    if "after" in known:
        return Later(loader, known["after"])
    return _reading(loader, known["items"], rank, world) if known["given"] else loader


def _reading(loader: Any, items: Items, rank: int, world: int) -> Any:
    plain, after = type(loader.batch_sampler) is BatchSampler, _sampler_of(loader)
    if not plain and loader.batch_sampler is not None and isinstance(items, Tensor) and len(items):
        raise _unknown_batches(after)
    if plain and not isinstance(items, Tensor):
        items = as_tensor([index for one in items for index in (one if isinstance(one, list) else [one])])
    return replaced(loader, Rest(items, rank, world, after))


def _unknown_batches(sampler: Any) -> MisconfiguredRun:
    return MisconfiguredRun(
        "An epoch can go on with other batches only if it is known which samples the earlier ones had.",
        got=f"batches that `{type(sampler).__name__}` makes, and a checkpoint of an epoch that was read in others",
        fix="Resume with the batch sampler, or the batch size, that the epoch began with, or from a checkpoint of the "
        "end of an epoch.",
    )


def _batched(loader: Any, size: int, drop_last: bool) -> Any:
    """A copy of a loader that makes batches of another size of the same samples."""
    sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler.sampler
    copied = copy.copy(loader)
    copied.__dict__["batch_sampler"] = BatchSampler(sampler, size, drop_last)
    return copied


class _Left:
    """What is left of one of the loaders of a pass."""

    def __init__(self, position: int, feeds: list[dict[str, Any]]) -> None:
        self.states: list[Any] = [feed["streams"][position] for feed in feeds]
        self.known = (feeds[0].get("lists") or {position: None})[position]
        self.feed, self.position = feeds[0], position
        self.kinds = [(feed.get("kinds") or {position: ""})[position] for feed in feeds]
        self.counts: list[int] = [0 if state is None else state["count"] for state in self.states]
        totals = [feed.get("total") for feed in feeds]
        self.cuts = [
            math.inf if total is None else count + total - feed["consumed"]
            for count, total, feed in zip(self.counts, totals, feeds, strict=True)
        ]

    def of(self, loader: Any, original: Any, rank: int, world: int) -> tuple[Any, Any]:
        """The loader that reads it, and the place to begin at; the loader itself where it begins anew."""
        if any(state is not None and state["opens"] > 1 for state in self.states):
            return loader, None  # samples come again and again, so that there is no rest
        if self.known is not None and "items" in self.known:
            return _reading(loader, self._listed(self.known), rank, world), None
        if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
            return _reading(loader, self._redrawn(loader, original, world), rank, world), None
        self._check_iterable(loader, world)
        before = 0 if self.known is None else self.known["after"]
        self._compare(loader, before + sum(self.counts))
        state = next((one for one in self.states if one is not None), None)
        if state is not None:
            state = {"opens": 1, "count": 0, "opened": state["opened"], "first": None, "workers": 0}
        return Later(loader, before + sum(self.counts)), state

    def _listed(self, known: dict[str, Any]) -> Items:
        return left_of(known["items"], known["size"], self.counts, self.cuts)

    def _compare(self, loader: Any, skipped: int) -> None:
        """Warns of a loader that is not known to have batches of the same samples."""
        now, before = made_of(loader), self._made(loader)
        if now != before:
            warn_of_another(described(math.inf, before), described(math.inf, now), skipped)

    def _made(self, loader: Any) -> list[Any] | None:
        """What batches were made of before; as now, where that is not known."""
        known: list[Any] | None = self.feed["made"][self.position] if "made" in self.feed else made_of(loader)
        return known

    def _redrawn(self, loader: Any, original: Any, world: int) -> Items:
        """What one process had still to read, drawn again in the random state in which it drew it."""
        state = self.states[0]
        alone = len(self.states) == world == 1
        shared = world > 1 and not isinstance(_sampler_of(loader), SharedSampler)
        several = len(self.states) > 1 or shared or (not alone and is_shared(_sampler_of(original)))
        if several or (state and "part" in state):
            kind = type(_sampler_of(original)).__name__
            raise MisconfiguredRun(
                "An epoch can go on with another number of processes, or another batch size, only if it is known which "
                "samples are left of it.",
                got=f"{len(self.states)} processes before and {world} now, and samples that are shared out by `{kind}`"
                if len(self.states) > 1 or shared
                else f"a loader or sampler `{kind}` that keeps its place",
                fix="Leave the sharing to the Trainer (`use_distributed_sampler=True`, and a loader without a sampler "
                f"for several processes), resume with {len(self.states)} and the same batch size, or from a checkpoint "
                "of the end of an epoch.",
            )
        now, before = made_of(original), self._made(original)
        if now != before:
            if before is None or not (_is_plain(now) and _is_plain(before)):
                raise _unknown_batches(_sampler_of(original))
            original = _batched(original, *before)
        batches = [] if state is None else self._left_by(MapStream(original, False), state, alone)
        left = batches[: int(self.cuts[0] - self.counts[0])] if self.cuts[0] != math.inf else batches
        if type(original.batch_sampler) is BatchSampler:
            left = [index for batch in left for index in batch]
        return as_tensor(left)

    def _left_by(self, stream: MapStream, state: dict[str, Any], alone: bool) -> list[Any]:
        if not alone or not stream.stateful:
            return stream.left(state)
        # the next epoch begins where samplers that know where they are come to in this one
        if self.feed["ended"] and len(self.feed["streams"]) == 1:
            stream.end(state)
            return []
        return stream.left(state, back=False)

    def _check_iterable(self, loader: Any, world: int) -> None:
        parts = parts_of(loader)
        itself = any(getattr(part, "shards_itself", False) or getattr(part, "_distributed", None) for part in parts)
        if world == len(self.states) and any(state is not None and "part" in state for state in self.states):
            raise _unknown_batches(loader)
        if (itself or "own" in self.kinds) and len(self.states) > 1:
            raise MisconfiguredRun(
                "What is left of an epoch cannot be known with another number of processes, or another batch size, "
                "where the data set shards itself.",
                got=f"`{type(getattr(loader, 'dataset', loader)).__name__}`, read by {len(self.states)} processes",
                fix=f"Resume with {len(self.states)} processes, or from a checkpoint of the end of an epoch; or let "
                "the Trainer share it out (`shards_itself = False`).",
            )


def _sampler_of(loader: Any) -> Any:
    """What says what a loader reads: indices, or batches of them; None where nothing does."""
    batches = getattr(loader, "batch_sampler", None)
    if type(batches) is BatchSampler:
        return batches.sampler
    return getattr(loader, "sampler", None) if batches is None else batches  # an empty one counts as False


def batches_by_rank(loader: Any) -> list[int] | None:
    """How many batches of a rest each process reads; None if a loader reads none, or that is not known."""
    sampler = _sampler_of(loader) if isinstance(loader, DataLoader) else None
    if not isinstance(sampler, Rest):
        return None
    batches = loader.batch_sampler
    plain = type(batches) is BatchSampler
    found = []
    for rank in range(sampler.num_replicas):
        samples = len(range(rank, len(sampler.items), sampler.num_replicas))
        if plain:
            size = batches.batch_size
            samples = samples // size if batches.drop_last else math.ceil(samples / size)
        found.append(samples)
    return found
