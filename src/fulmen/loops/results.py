"""What was logged in one pass over data, by hook and key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from fulmen.core.logging import LogOptions
from fulmen.loops.entries import Entry, check_value, is_metric
from fulmen.loops.log_rules import resolve
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.rank_zero import warn_once
from fulmen.utilities.tree import batch_size_of

Tables = defaultdict[str, dict[str, Entry]]


class Results:
    """The entries of one kind of pass: training, or an evaluation over one or several loaders.

    Args:
        module: The module that logs; metrics are looked up among its children.
        training: Whether this is the training pass.
        device: Where values are shown as tensors.
        rank: This process's number.
        world: How many processes there are.

    Attributes:
        alone: Whether there is one process.
        first: Whether this is the first one.
        reduced: Whether the epoch's values are those of all processes.
        agreed: The keys whose values are.
        syncs: Whether values of single steps are to be those of all processes.
        some_out: Whether there are processes without a batch in the running round.
        out: Whether this is one.
    """

    def __init__(self, module: nn.Module, training: bool, device: torch.device, rank: int = 0, world: int = 1) -> None:
        self.module = module
        self.training = training
        self.device = device
        self.alone, self.first = world == 1, rank == 0
        self.reduced = self.some_out = self.out = self.syncs = False
        self.agreed: set[tuple[int | None, str, str]] = set()
        self.batch: Any = None
        self.batch_index = 0
        self.in_batch = False
        self.dataloader_idx: int | None = None
        self._size: int | None = None
        self._tables: dict[int | None, Tables] = {}

    def tables(self, dataloader_idx: int | None) -> Tables:
        """The entries by hook and key, for one loader (None: for all of them)."""
        return self._tables.setdefault(dataloader_idx, defaultdict(dict))

    def indices(self) -> list[int | None]:
        """The loaders that have tables; None for all of them."""
        return list(self._tables)

    def entries(self) -> Iterator[Entry]:
        """Every entry that was logged to since the last reset."""
        for index in self._tables:
            yield from self.entries_of(index)

    def entries_of(self, dataloader_idx: int | None) -> Iterator[Entry]:
        """Every entry of one loader that was logged to since the last reset."""
        for entries in self._tables.get(dataloader_idx, {}).values():
            for entry in entries.values():
                if entry.updated:
                    yield entry

    def reset(self) -> None:
        """Begins a new epoch: forgets values, keeps what is known of the keys."""
        for tables in self._tables.values():
            for entries in tables.values():
                for entry in entries.values():
                    entry.reset()
        self.batch = None
        self._size = None
        self.reduced = False
        self.agreed.clear()

    def batch_size(self, entry: Entry) -> int:
        """The weight of the running batch in a mean: its size.

        Raises:
            MisconfigurationException: If it cannot be read off the batch.
        """
        if not self.in_batch:
            return 1
        if self._size is None:
            size = batch_size_of(self.batch)
            if size is None:
                raise MisconfigurationException(
                    "The batch size is the weight of a batch in the mean of an epoch, and it cannot be read off a "
                    "batch without tensors.",
                    got=f"self.log({entry.name!r}, ...) with a batch of type {type(self.batch).__name__}",
                    fix=f"Pass it: `self.log({entry.name!r}, value, batch_size=len(batch))`.",
                )
            self._size = size
        return self._size

    def begin_batch(self, batch: Any, index: int) -> None:
        """Takes note of the batch that runs."""
        self.batch = batch
        self.batch_index = index
        self.in_batch = True
        self._size = None

    def admit(self, name: str, value: Any, asked: LogOptions, hook: str | None) -> Entry:
        """Checks a key's options and opens its entry.

        Args:
            name: The key.
            value: Its first value.
            asked: The options.
            hook: The hook that logs.

        Returns:
            The entry.

        Raises:
            MisconfigurationException: See ``LightningModule.log``.
        """
        if not isinstance(name, str):
            raise MisconfiguredType(
                "The first argument of `self.log` is the key, a string.",
                got=name,
                fix='`self.log("loss", loss)`.',
            )
        check_value(name, value)
        if asked.add_dataloader_idx and "/dataloader_idx_" in name:
            raise MisconfigurationException(
                "The loader's index is appended to a key by itself.",
                got=f"self.log({name!r}, ...)",
                fix="Leave it out of the key, or pass `add_dataloader_idx=False`.",
            )
        meaning = resolve(name, hook, asked)
        assert hook is not None
        entries = self.tables(self.dataloader_idx)[hook]
        known = entries.get(name)
        if known is not None and known.restored:
            known.adopt(asked, meaning, value)
            return known
        if known is not None:
            raise MisconfigurationException(
                f"A key is logged with the same options each time, and {name!r} in `{hook}` was not.",
                got=_difference(known.asked, asked),
                fix="Give one of the two calls another key.",
            )
        where = ""
        if self.dataloader_idx is not None and asked.add_dataloader_idx:
            where = f"/dataloader_idx_{self.dataloader_idx}"
        elif self.dataloader_idx is not None:
            self._refuse_collision(name, hook)
        if meaning[0] and meaning[1] and name.endswith(("_step", "_epoch")):
            warn_once(f"`self.log({name!r}, on_step=True, on_epoch=True)` makes the keys {name}_step and {name}_epoch.")
        entry = Entry(name, where, asked, self, meaning, hook)
        if is_metric(value):
            self._find_attribute(name, value, asked.metric_attribute)
            entry.metric = value
            entry.take = entry.take_metric
        else:
            entry.prepare(value)
        self.syncs |= not self.alone and entry.is_synced
        entries[name] = entry
        return entry

    def _refuse_collision(self, name: str, hook: str) -> None:
        for index, tables in self._tables.items():
            if index != self.dataloader_idx and name in tables[hook]:
                raise MisconfigurationException(
                    f"Each loader needs a key of its own where `add_dataloader_idx=False`, and {name!r} is logged for "
                    f"the loaders {index} and {self.dataloader_idx}.",
                    fix=f"Name them: `self.log(f'{name}_{{dataloader_idx}}', ..., add_dataloader_idx=False)`, or leave "
                    "`add_dataloader_idx` out.",
                )

    def _find_attribute(self, name: str, metric: Any, attribute: str | None) -> None:
        if attribute is None and not any(child is metric for child in self.module.modules()):
            raise MisconfigurationException(
                f"The metric logged as {name!r} is no attribute of `{type(self.module).__name__}`, so it would move "
                "to no device, never be reset and not be saved.",
                fix=f"Create it in `__init__`: `self.{name.replace('/', '_')} = {type(metric).__name__}(...)`.",
            )


def _difference(before: tuple[Any, ...], now: LogOptions) -> str:
    changed = [
        f"{field}={old!r}, then {field}={new!r}"
        for field, old, new in zip(LogOptions._fields, before, now, strict=True)
        if old != new
    ]
    return "; ".join(changed)
