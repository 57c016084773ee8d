"""The profiler of a run that is not profiled."""

from __future__ import annotations

from fulmen.profilers.profiler import Profiler


class PassThroughProfiler(Profiler):
    """Does nothing, so that ``self.trainer.profiler.profile("...")`` works in every run.

    Args:
        dirpath: Not used.
        filename: Not used.
    """

    def start(self, action_name: str) -> None:
        pass

    def stop(self, action_name: str) -> None:
        pass
