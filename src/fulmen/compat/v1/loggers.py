"""Loggers of 1.x by their old names: ``LightningLoggerBase`` and ``LoggerCollection``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import Any

from fulmen.compat import v1
from fulmen.compat.v1.hints import hint
from fulmen.loggers.logger import DummyLogger, Logger, _DummyExperiment, merge_dicts, rank_zero_experiment

DummyExperiment = _DummyExperiment
__all__ = ["DummyExperiment", "DummyLogger", "LoggerCollection", "merge_dicts", "rank_zero_experiment"]


def __getattr__(name: str) -> Any:
    if name != "LightningLoggerBase":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    v1.speak()
    hint("`LightningLoggerBase`", "`from fulmen.loggers import Logger`.")
    return Logger


class LoggerCollection(Logger):
    """Several loggers as one.

    Args:
        logger_iterable: The loggers. A Trainer that is given the collection has each of them.
    """

    stands_for_several = True

    def __init__(self, logger_iterable: Iterable[Logger]) -> None:
        hint("`LoggerCollection`", "`Trainer(logger=[...])`, and `trainer.loggers`.")
        v1.speak()
        super().__init__()
        self._logger_iterable = list(logger_iterable)

    def __getitem__(self, index: int) -> Logger:
        return self._logger_iterable[index]

    def __iter__(self) -> Iterator[Logger]:
        return iter(self._logger_iterable)

    def __len__(self) -> int:
        return len(self._logger_iterable)

    @property
    def experiment(self) -> list[Any]:
        """What each logger writes to."""
        return [getattr(logger, "experiment", None) for logger in self._logger_iterable]

    @property
    def name(self) -> str:
        """The names, joined."""
        return "_".join(dict.fromkeys(str(logger.name) for logger in self._logger_iterable))

    @property
    def version(self) -> str:
        """The versions, joined."""
        return "_".join(dict.fromkeys(str(logger.version) for logger in self._logger_iterable))

    @property
    def save_dir(self) -> str | None:
        """The first logger's folder where there is one logger, else None."""
        return self._logger_iterable[0].save_dir if len(self._logger_iterable) == 1 else None

    def update_agg_funcs(self, agg_key_funcs: Any = None, agg_default_func: Any = None) -> None:
        """See the loggers' own."""
        self._each("update_agg_funcs", agg_key_funcs, agg_default_func)

    def agg_and_log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """See the loggers' own."""
        self._each("agg_and_log_metrics", metrics=metrics, step=step)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Passes metrics on."""
        self._each("log_metrics", metrics=metrics, step=step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Passes hyper-parameters on."""
        self._each("log_hyperparams", params, *args, **kwargs)

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Passes a graph on."""
        self._each("log_graph", model, input_array)

    def log_text(self, *args: Any, **kwargs: Any) -> None:
        """Passes a text on."""
        self._each("log_text", *args, **kwargs)

    def log_image(self, *args: Any, **kwargs: Any) -> None:
        """Passes pictures on."""
        self._each("log_image", *args, **kwargs)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Tells each logger of a checkpoint."""
        self._each("after_save_checkpoint", checkpoint_callback)

    def save(self) -> None:
        """Has each logger write."""
        self._each("save")

    def close(self) -> None:
        """Has each logger write, and end."""
        self._each("close")

    def finalize(self, status: str) -> None:
        """Ends a run of each logger."""
        self._each("finalize", status)

    def _each(self, name: str, *args: Any, **kwargs: Any) -> None:
        for logger in self._logger_iterable:
            getattr(logger, name)(*args, **kwargs)
