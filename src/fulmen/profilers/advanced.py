"""Which Python functions each action called, and how long they took."""

from __future__ import annotations

import cProfile
import io
import os
import pstats

from fulmen.profilers.profiler import Profiler, not_running


class AdvancedProfiler(Profiler):
    """Records the Python calls of every action with ``cProfile``, and shows a table for each since it was made.

    Actions contain each other, but only one ``cProfile`` can run at a time. So there is one for each chain of running
    actions, and an action's table is the sum of all chains that it takes part in: calls of an inner action are in the
    tables of the outer ones too. A function that itself starts an action is timed up to there.

    This makes every Python call slower: use it to see what is called, and ``SimpleProfiler`` to see how long it takes.

    Args:
        dirpath: The folder for files; None for the logger's.
        filename: Saves the report as ``<stage>-<filename>.txt``; None prints it.
        line_count_restriction: How much of each table to show: an int is a number of lines, a float a share of them.
        dump_stats: Whether to save each action's table as ``<stage>-<filename>-<action>.prof`` too, for the standard
            library's ``pstats`` or a viewer.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        line_count_restriction: float = 1.0,
        dump_stats: bool = False,
    ) -> None:
        super().__init__(dirpath=dirpath, filename=filename)
        self.line_count_restriction = line_count_restriction
        self.dump_stats = dump_stats
        self._chains: dict[tuple[str, ...], cProfile.Profile] = {}
        self._running: list[str] = []
        self._recording: cProfile.Profile | None = None

    def start(self, action_name: str) -> None:
        self._pause()
        self._running.append(action_name)
        self._go_on()

    def stop(self, action_name: str) -> None:
        """Called when an action ends.

        Args:
            action_name: Its name.

        Raises:
            MisconfigurationException: If no action of this name is running.
        """
        self._pause()
        if action_name not in self._running:
            self._go_on()
            raise not_running(action_name)
        last = len(self._running) - 1 - self._running[::-1].index(action_name)
        del self._running[last]
        self._go_on()

    def _pause(self) -> None:
        if self._recording is not None:
            self._recording.disable()
            self._recording = None

    def _go_on(self) -> None:
        if self._running:
            chain = tuple(self._running)
            if chain not in self._chains:
                self._chains[chain] = cProfile.Profile()
            self._recording = self._chains[chain]
            self._recording.enable()

    def summary(self) -> str:
        """One table for each action, by the time in a function and what it calls."""
        self._pause()
        tables = []
        for action in self._actions():
            text = io.StringIO()
            stats = self._stats_of(action, text)
            stats.strip_dirs().sort_stats("cumulative").print_stats(self.line_count_restriction)
            tables.append(f"Profile stats for: {action}\n{text.getvalue()}")
        self._go_on()
        return "\n".join([self._title, *tables])

    def describe(self) -> None:
        super().describe()
        if self.dump_stats:
            self._pause()
            for action in self._actions():
                self._save(self._file_name(".prof", action), self._stats_of(action, io.StringIO()).dump_stats)
            self._go_on()

    def _actions(self) -> list[str]:
        """All actions, in the order in which they first began."""
        return list(dict.fromkeys(name for chain in self._chains for name in chain))

    def _stats_of(self, action: str, stream: io.StringIO) -> pstats.Stats:
        stats = pstats.Stats(stream=stream)
        for chain, profile in self._chains.items():
            if action in chain and profile.getstats():
                stats.add(profile)
        return stats
