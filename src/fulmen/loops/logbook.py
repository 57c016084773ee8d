"""Which results ``self.log`` writes to at the moment: those of the pass and the hook that run."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.core.logging import LogOptions
    from fulmen.loops.entries import Entry
    from fulmen.loops.results import Results, Tables


class LogBook:
    """A pointer into the results. The hook table moves it; ``self.log`` reads it."""

    def __init__(self) -> None:
        self.results: Results | None = None
        self.hook: str | None = None
        self.tables: Tables = defaultdict(dict)
        self.entries: dict[str, Entry] = {}

    def open(self, results: Results | None, dataloader_idx: int | None = None) -> None:
        """Turns to the results of a pass; None: nothing can be logged."""
        self.results = results
        self.hook = None
        self.entries = {}
        if results is not None:
            results.dataloader_idx = dataloader_idx
            self.tables = results.tables(dataloader_idx)
        else:
            self.tables = defaultdict(dict)

    def enter(self, hook: str | None) -> None:
        """Turns to a hook."""
        self.hook = hook
        self.entries = self.tables[hook] if hook is not None else {}

    def admit(self, name: str, value: Any, asked: LogOptions) -> Entry:
        """Opens an entry; see ``Results.admit``."""
        if self.results is None:
            from fulmen.loops.log_rules import RULES, resolve  # only who makes the mistake pays for it

            resolve(name, None if self.hook in RULES else self.hook, asked)  # says that nothing can be logged here
            raise AssertionError("no hook outside a pass allows logging")
        return self.results.admit(name, value, asked, self.hook)
