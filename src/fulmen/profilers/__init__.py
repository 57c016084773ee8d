"""What a run spends its time on."""

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AdvancedProfiler": "fulmen.profilers.advanced",
        "PassThroughProfiler": "fulmen.profilers.passthrough",
        "Profiler": "fulmen.profilers.profiler",
        "PyTorchProfiler": "fulmen.profilers.pytorch",
        "SimpleProfiler": "fulmen.profilers.simple",
    },
)
