"""What was logged in one pass, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.core.logging import LogOptions

if TYPE_CHECKING:
    from fulmen.loops.entries import Entry
    from fulmen.loops.results import Results


class _Metadata:
    """How a key is logged.

    Args:
        entry: What was logged under it.
    """

    def __init__(self, entry: Entry) -> None:
        asked = LogOptions(*entry.asked)
        self.fx, self.name = entry.hook, entry.name
        self.prog_bar, self.logger = asked.prog_bar, asked.logger
        self.on_step, self.on_epoch = entry.on_step, entry.on_epoch
        self.reduce_fx, self.enable_graph = asked.reduce_fx, asked.enable_graph
        self.add_dataloader_idx, self.metric_attribute = asked.add_dataloader_idx, asked.metric_attribute


class _ResultMetric:
    """One key.

    Args:
        entry: What was logged under it.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self.meta = _Metadata(entry)

    @property
    def value(self) -> Any:
        """The metric that was logged, else the newest number as a tensor."""
        return self._entry.step_value() if self._entry.metric is None else self._entry.metric

    @property
    def has_reset(self) -> bool:
        """Whether nothing was logged since the last reset."""
        return not self._entry.updated

    @property
    def is_tensor(self) -> bool:
        """Whether it is a number and no metric."""
        return self._entry.metric is None

    def compute(self) -> Tensor | None:
        """The value of the epoch so far."""
        return self._entry.epoch_value() if self._entry.on_epoch else self._entry.step_value()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._entry.name!r}, value={self.value})"


class _ResultCollection(Mapping[str, _ResultMetric]):
    """The entries of a pass, by the hook and the key: ``"training_step.loss"``.

    Args:
        results: The pass's.
    """

    def __init__(self, results: Results) -> None:
        self._of = results

    @property
    def training(self) -> bool:
        """Whether the pass trains."""
        return self._of.training

    @property
    def batch(self) -> Any:
        """The batch that runs."""
        return self._of.batch

    @property
    def dataloader_idx(self) -> int | None:
        """Which of several loaders is read."""
        return self._of.dataloader_idx

    def _entries(self) -> dict[str, Entry]:
        found = {}
        for index, tables in self._of._tables.items():
            where = "" if index is None else f".{index}"
            for hook, entries in tables.items():
                found.update({f"{hook}.{name}{where}": entry for name, entry in entries.items() if entry.updated})
        return found

    def __getitem__(self, key: str) -> _ResultMetric:
        return _ResultMetric(self._entries()[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def metrics(self, on_step: bool) -> dict[str, dict[str, Any]]:
        """The values as they are shown.

        Args:
            on_step: Those of the step, else those of the epoch so far.

        Returns:
            By who gets them: ``"callback"``, ``"log"``, ``"pbar"``.
        """
        shown: dict[str, dict[str, Any]] = {"callback": {}, "log": {}, "pbar": {}}
        for entry in self._entries().values():
            if not (entry.on_step if on_step else entry.on_epoch):
                continue
            value = entry.step_value() if on_step else entry.epoch_value()
            if value is None:
                continue
            asked, forked = LogOptions(*entry.asked), entry.forked_key(on_step)
            shown["callback"].update({entry.key: value, forked: value})
            if asked.logger is not False:
                shown["log"][forked] = value
            if asked.prog_bar:
                shown["pbar"][forked] = value.item()
        return shown
