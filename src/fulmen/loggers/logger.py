"""What a logger is."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fulmen.core.logging import MediaLogging
from fulmen.loggers import media
from fulmen.loggers.background import Background
from fulmen.loggers.media_files import MediaFiles
from fulmen.utilities.generations import taught
from fulmen.utilities.rank_zero import rank_zero_only

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from fulmen.callbacks.callback import Callback

XAxis = Literal["step", "epoch", "samples", "time"]


def rank_zero_experiment(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Makes an ``experiment`` property give the real object on rank 0, and one that ignores every call elsewhere.

    Args:
        fn: The property's function, which makes the experiment when it is first asked.

    Returns:
        The wrapped function.
    """
    return functools.wraps(fn)(rank_zero_only(fn, default=_DummyExperiment()))


class _DummyExperiment:
    """Accepts every call and item, and does nothing."""

    def nop(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.nop

    def __getitem__(self, index: int) -> _DummyExperiment:
        return self

    def __setitem__(self, *args: Any, **kwargs: Any) -> None: ...


@taught
class Logger(MediaLogging, ABC):
    """The base of all loggers.

    A logger has a name and a version and takes metrics and hyper-parameters; all else has a default. The trainer
    calls `log_metrics` with plain numbers, `save` after each, and `finalize` at the end of a run.

    Pictures, tables, text, sound and the like come to `log_media`, which writes files to the logger's folder unless
    a logger overrides it.

    Attributes:
        x_axis: What the trainer hands over as `step`: ``"step"`` (batches after which the optimizer stepped),
            ``"epoch"``, ``"samples"`` (of training) or ``"time"`` (seconds of training).

    Example:
        >>> class PrintLogger(Logger):
        ...     name, version = "print", 0
        ...     def log_metrics(self, metrics, step=None):
        ...         print(step, metrics)
        ...     def log_hyperparams(self, params):
        ...         print(params)
        >>> PrintLogger().log_metrics({"loss": 0.5}, step=3)
        3 {'loss': 0.5}
    """

    x_axis: XAxis = "step"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    @property
    @abstractmethod
    def name(self) -> str | None:
        """The name of the experiment."""

    @property
    @abstractmethod
    def version(self) -> int | str | None:
        """The version of the experiment: one run of it."""

    @property
    def root_dir(self) -> str | None:
        """The folder of all versions of an experiment, None where the logger keeps no files."""
        return None

    @property
    def log_dir(self) -> str | None:
        """The folder of this version, None where the logger keeps no files."""
        return None

    @property
    def save_dir(self) -> str | None:
        """The folder of all experiments, None where the logger keeps no files."""
        return None

    @property
    def group_separator(self) -> str:
        """What stands between a group and a name in a metric's key."""
        return "/"

    @abstractmethod
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Records metrics.

        Args:
            metrics: Values by name.
            step: The step they belong to.
        """

    @abstractmethod
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Records hyper-parameters.

        Args:
            params: Values by name.
            *args: What a logger takes besides.
            **kwargs: What a logger takes besides.
        """

    def log_media(self, key: str, items: Sequence[media.Media], step: float | None = None) -> None:
        """Records pictures, tables, text, sound and the like: all that `log_image` and its sisters are given.

        Here, each becomes a file in the folder ``media`` of the logger, written in the background. A logger that has
        better ways for some kinds overrides this, and calls it for all others.

        Args:
            key: What they are logged as.
            items: One or several, all of one kind.
            step: The step they belong to.
        """
        folder = self._run_folder() or self.__dict__.get("_default_dir")  # the last one is the Trainer's
        files_of(self).write(folder, key, items, step)

    def _place(self) -> Any:
        """Where the run's files lie, for the other processes of the run; None where they need not know."""
        return None

    def _take_place(self, place: Any) -> None:
        """Goes by what :meth:`_place` gave on the process with rank 0."""

    def _run_folder(self) -> str | None:
        return self.log_dir or self.save_dir

    @rank_zero_only
    def _log_media(self, form: str, key: str, step: int | None, *given: Any) -> None:
        if items := media.items_of(form, key, *given):
            self.log_media(key, items, step)

    def log_graph(self, model: Module, input_array: Tensor | None = None) -> None:
        """Records the model's graph; nothing where a logger has no such thing.

        Args:
            model: The model.
            input_array: What its `forward` is called with.
        """
        return None

    def save(self) -> None:
        """Writes what was recorded so far. It is called often, and has to be cheap."""
        return None

    def _save_soon(self) -> None:
        """What the trainer calls after each row."""
        self.save()

    def finalize(self, status: str) -> None:
        """Ends a run: everything recorded is on its way to the disk afterwards.

        Args:
            status: How the run ended: ``"success"`` or ``"failed"``, for example.
        """
        self.save()

    def after_save_checkpoint(self, checkpoint_callback: Callback) -> None:
        """Called after a checkpoint was saved.

        Args:
            checkpoint_callback: The callback that saved it.
        """
        return None


def files_of(logger: Any) -> MediaFiles:
    """What writes files for a logger that has no better way.

    Args:
        logger: Any logger, also one that knows nothing of this.

    Returns:
        The same for each call.
    """
    # Loggers of users may not call the base's `__init__`.
    files: MediaFiles | None = logger.__dict__.get("_media_files")
    if files is None:
        files = MediaFiles(getattr(logger, "_background", None) or Background(f"{type(logger).__name__}'s files"))
        logger.__dict__["_media_files"] = files
    return files


class DummyLogger(Logger):
    """Takes everything and keeps nothing; stands in for the user's logger where nothing must be recorded."""

    def __init__(self) -> None:
        super().__init__()
        self._experiment = _DummyExperiment()

    @property
    def experiment(self) -> _DummyExperiment:
        """An object that ignores every call."""
        return self._experiment

    @property
    def name(self) -> str:
        """Empty."""
        return ""

    @property
    def version(self) -> str:
        """Empty."""
        return ""

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def log_media(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def _log_media(self, *args: Any, **kwargs: Any) -> None: ...

    def __getitem__(self, index: int) -> DummyLogger:
        # A user who has several loggers writes `self.logger[1].experiment`.
        return self

    def __iter__(self) -> Any:
        # Without it, `__getitem__` would make the logger an endless sequence.
        return iter((self,))

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def merge_dicts(
    dicts: Sequence[Mapping[str, Any]],
    agg_key_funcs: Mapping[str, Any] | None = None,
    default_func: Callable[[Sequence[float]], float] = _mean,
) -> dict[str, Any]:
    """Merges dictionaries into one, whose values are made from all values of a key.

    Args:
        dicts: The dictionaries; they may be nested.
        agg_key_funcs: For a key the function that makes one value of a list of them; a mapping for a nested one.
        default_func: The function for all other keys.

    Returns:
        One dictionary with every key for which there is a value other than None.

    Example:
        >>> merge_dicts([{"a": 1.5, "d": {"x": 1}}, {"a": 0.5, "d": {"x": 3}}], agg_key_funcs={"a": min})
        {'a': 0.5, 'd': {'x': 2.0}}
    """
    functions = agg_key_funcs or {}
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for mapping in dicts for key in mapping):
        values = [value for mapping in dicts if (value := mapping.get(key)) is not None]
        if not values:
            continue
        if isinstance(values[0], Mapping):
            merged[key] = merge_dicts(values, functions.get(key), default_func)
        else:
            merged[key] = (functions.get(key) or default_func)(values)
    return merged
