"""How long each action took, by the clock."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Sequence

from fulmen.profilers.profiler import Profiler, not_running
from fulmen.utilities.exceptions import MisconfiguredValue


class SimpleProfiler(Profiler):
    """Measures the duration of every action with the clock, and shows a table of all since it was made.

    Work that an accelerator does beside the host is counted where the host waits for it.

    Args:
        dirpath: The folder for the report; None for the logger's.
        filename: Saves the report as ``<stage>-<filename>.txt``; None prints it.
        extended: Whether to show the number of calls and the share of the time too. The whole is the time since the
            profiler's first stage began. Actions contain each other, so the shares add up to more than 100 %.

    Attributes:
        recorded_durations: For each action its durations, in seconds.
        current_actions: For each running action when it began.
        start_time: When the measuring began.
    """

    def __init__(
        self, dirpath: str | os.PathLike[str] | None = None, filename: str | None = None, extended: bool = True
    ) -> None:
        super().__init__(dirpath=dirpath, filename=filename)
        self.extended = extended
        self.current_actions: dict[str, float] = {}
        self.recorded_durations: dict[str, list[float]] = defaultdict(list)
        self.start_time = time.perf_counter()

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        if not self.recorded_durations and not self.current_actions:
            self.start_time = time.perf_counter()

    def start(self, action_name: str) -> None:
        """Called when an action begins.

        Args:
            action_name: Its name.

        Raises:
            MisconfigurationException: If an action of this name is running.
        """
        if action_name in self.current_actions:
            raise MisconfiguredValue(
                f"The action {action_name!r} is running already, and an action is not started within itself.",
                fix=f"Call `profiler.stop({action_name!r})` first, or give the inner action a name of its own.",
            )
        self.current_actions[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Called when an action ends.

        Args:
            action_name: Its name.

        Raises:
            MisconfigurationException: If no action of this name is running.
        """
        end = time.perf_counter()
        start = self.current_actions.pop(action_name, None)
        if start is None:
            raise not_running(action_name)
        self.recorded_durations[action_name].append(end - start)

    def summary(self) -> str:
        """The durations as a table, the longest first."""
        elapsed = time.perf_counter() - self.start_time
        recorded = [(name, len(durations), sum(durations)) for name, durations in self.recorded_durations.items()]
        if not recorded:
            return f"{self._title}\n\nNo action was recorded.\n"
        if not self.extended:
            recorded.sort(key=lambda row: row[2] / row[1], reverse=True)
            rows = [(name, f"{total / calls:.5g}", f"{total:.5g}") for name, calls, total in recorded]
            return f"{self._title}\n\n{_table(('Action', 'Mean duration (s)', 'Total time (s)'), rows)}"
        recorded.sort(key=lambda row: row[2], reverse=True)
        whole = ("Total", "-", str(sum(calls for _, calls, _ in recorded)), f"{elapsed:.5g}", "100 %")
        extended = [
            (name, f"{total / calls:.5g}", str(calls), f"{total:.5g}", f"{100 * total / elapsed:.5g}")
            for name, calls, total in recorded
        ]
        header = ("Action", "Mean duration (s)", "Num calls", "Total time (s)", "Percentage %")
        return f"{self._title}\n\n{_table(header, extended, first=whole)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], first: Sequence[str] | None = None) -> str:
    """A table with a line around its parts; `first` is a row of its own above the others."""
    parts = [[header], *([[first]] if first is not None else []), rows]
    widths = [max(len(row[column]) for part in parts for row in part) for column in range(len(header))]
    line = "-" * (sum(widths) + 3 * len(widths) + 1)
    lines = [line]
    for part in parts:
        for row in part:
            lines.append("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |")
        lines.append(line)
    return "\n".join(lines) + "\n"
