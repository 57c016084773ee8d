"""One entry a logged key: takes values as they come, and knows the step's and the epoch's value.

Numbers on the host are added up in double precision. Values on another device are kept there and reduced in bulk, so
that logging never waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.core.logging import LogOptions
from fulmen.loops.metric_merge import value_here
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType, MisconfiguredValue
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    from fulmen.loops.results import Results

_BULK = 64  # values kept on a device before they are reduced there in one go


class Entry:
    """What was logged under one key in one hook."""

    __slots__ = (
        "asked", "dtype", "hook", "metric", "name", "on_epoch", "on_step", "pending", "reduced", "reduction",
        "restored", "results", "seen", "size", "take", "total", "value", "weight", "where",
    )  # fmt: skip

    def __init__(
        self, name: str, where: str, asked: LogOptions, results: Results, meaning: tuple[bool, bool, str], hook: str
    ) -> None:
        self.name = name
        self.where = where
        self.hook = hook
        self.asked: tuple[Any, ...] = asked
        self.on_step, self.on_epoch, self.reduction = meaning
        self.results = results
        self.metric: Any = None
        self.restored = False  # from a checkpoint, which knows less of the options than a call says
        # the default is half inside a step in true half precision, and too coarse to show a mean
        self.dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        self.pending: list[tuple[Tensor, float]] = []
        self.take: Callable[[Any, int | None], None] = self._take_number
        self.reset()

    def reset(self) -> None:
        """Forgets the values of the epoch."""
        self.value: Any = None
        self.size: Any = None  # of the last batch, as it was given
        self.reduced: Tensor | None = None  # the epoch's value over all processes
        self.seen = -1
        self.total: Any = {"max": -float("inf"), "min": float("inf")}.get(self.reduction, 0.0)
        self.weight = 0.0
        self.pending.clear()
        if self.metric is not None:
            self.metric.reset()

    def adopt(self, asked: tuple[Any, ...], meaning: tuple[bool, bool, str], value: Any) -> None:
        """Goes on with the options of the first call after it was restored."""
        self.asked = asked
        self.on_step, self.on_epoch, self.reduction = meaning
        self.restored = False
        if is_metric(value):
            self.metric = value

    def prepare(self, value: Any) -> None:
        """Chooses how values are taken, by the first one."""
        if isinstance(value, Tensor):
            if value.dtype == torch.float64:  # half precision is shown in single, where the mean is more than a guess
                self.dtype = value.dtype
            if not value.is_cpu or self.asked[5]:
                self.take = self._take_tensor

    def _take_number(self, value: Any, batch_size: int | None) -> None:
        if isinstance(value, Tensor):
            if not value.is_cpu:
                self.take = self._take_tensor
                return self._take_tensor(value, batch_size)
            try:
                value = value.item()
            except RuntimeError:
                raise _no_scalar(self.name, value) from None
        elif type(value) is not float:
            value = plain_number(self.name, value)
        self.value = value
        self.size = batch_size
        results = self.results
        self.seen = results.batch_index
        if self.on_epoch:
            reduction = self.reduction
            if reduction == "mean":
                size = results.batch_size(self) if batch_size is None else _weight(self.name, batch_size)
                self.total += value * size
                self.weight += size
            else:
                self.weight += 1
                # written so that nan wins, as it does in torch.maximum and torch.minimum
                if reduction == "sum":
                    self.total += value
                elif value != value or (value > self.total if reduction == "max" else value < self.total):
                    self.total = value

    def _take_tensor(self, value: Any, batch_size: int | None) -> None:
        results = self.results
        if not isinstance(value, Tensor):
            number = plain_number(self.name, value)
            value = torch.full((), number, dtype=self.dtype, device=results.device)  # filled there, without a copy
        elif value.numel() != 1:
            raise _no_scalar(self.name, value)
        graph = self.asked[5]
        value = value.reshape(()) if graph else value.detach().clone().reshape(())
        self.value = value
        self.size = batch_size
        self.seen = results.batch_index
        if self.on_epoch:
            size: float = 1
            if self.reduction == "mean":
                size = results.batch_size(self) if batch_size is None else _weight(self.name, batch_size)
            self.pending.append((value, size))
            self.weight += size if self.reduction == "mean" else 1
            if len(self.pending) >= _BULK and not graph:
                self.settle()

    def settle(self) -> None:
        """Reduces what is pending into the running total, on the device."""
        if not self.pending:
            return
        wide = torch.float32 if self.pending[0][0].device.type == "mps" else torch.float64
        # weights are multiplied in as numbers: as a tensor they would have to be copied, and waited for
        mean = self.reduction == "mean"
        values = torch.stack([value.to(wide) * size if mean else value.to(wide) for value, size in self.pending])
        if mean or self.reduction == "sum":
            self.total = self.total + values.sum()
        else:
            reduced = values.max() if self.reduction == "max" else values.min()
            bound = {"min" if self.reduction == "max" else "max": self.total}
            self.total = reduced.clamp(**bound)
        self.pending.clear()

    def take_metric(self, metric: Any, batch_size: int | None) -> None:
        """Takes a TorchMetrics metric, which keeps its own sums."""
        if not is_metric(metric):
            raise _not_loggable(self.name, metric)
        value = metric._forward_cache
        if isinstance(value, Mapping) or (isinstance(value, Tensor) and value.numel() != 1):
            raise _no_scalar(self.name, value, of_metric=True)
        if value is None and not self.on_epoch:
            warn_once(
                f"`self.log({self.name!r}, metric, on_step=True)` logs what the metric's last call returned, and it "
                "was only updated. Call it, `metric(preds, target)`, or log it with `on_epoch=True`."
            )
        self.metric = metric
        self.value = value
        self.seen = self.results.batch_index
        self.weight = 1.0

    @property
    def updated(self) -> bool:
        """Whether anything was logged since the last reset."""
        return self.seen >= 0

    def step_value(self) -> Tensor | None:
        """The value of the last step, as a tensor without dimensions."""
        return self._as_tensor(self.value)

    def epoch_value(self) -> Tensor | None:
        """The value of the epoch so far, as a tensor without dimensions.

        Raises:
            MisconfigurationException: If a metric computes something that is no scalar.
        """
        if self.reduced is not None:
            return self.reduced
        if self.metric is not None:
            return self.scalar(self.metric.compute() if self.results.alone else value_here(self.metric))
        if self.weight == 0:
            return None
        self.settle()
        return self._as_tensor(self.total / self.weight if self.reduction == "mean" else self.total)

    def scalar(self, computed: Any) -> Tensor:
        """What a metric computed, as a tensor without dimensions.

        Raises:
            MisconfigurationException: If it is no scalar.
        """
        if not isinstance(computed, Tensor) or computed.numel() != 1:
            raise _no_scalar(self.name, computed, of_metric=True)
        return computed.detach().reshape(())

    @property
    def is_synced(self) -> bool:
        """Whether the value of a single step is to be that of all processes."""
        options: Any = self.asked
        return self.on_step and options.sync_dist and not options.rank_zero_only and self.metric is None

    @property
    def is_apart(self) -> bool:
        """Whether its value is that of some processes alone, also at the end of a pass."""
        options: Any = self.asked
        alone = options.rank_zero_only or options.sync_dist_group is not None
        return bool(alone or (self.metric is not None and not self.metric.sync_on_compute))

    def step_weight(self) -> float:
        """The weight of the last value in a mean over processes."""
        if self.reduction != "mean":
            return 1
        return float(self.results.batch_size(self) if self.size is None else _weight(self.name, self.size))

    def _as_tensor(self, value: Any) -> Tensor | None:
        if value is None:
            return None
        if isinstance(value, Tensor):
            value = value if self.metric is None else value.detach()
            tensor: Tensor = value if self.metric is not None else value.to(self.dtype)
            return tensor.reshape(())
        return torch.tensor(value, dtype=self.dtype)  # on the host, where it already is

    @property
    def key(self) -> str:
        """The name and, with several loaders, which one it is of."""
        return self.name + self.where

    def forked_key(self, on_step: bool) -> str:
        """The key for loggers and the progress bar, where step and epoch must not be mixed up."""
        suffix = ("_step" if on_step else "_epoch") if self.on_step and self.on_epoch else ""
        return self.name + suffix + self.where


def _no_scalar(name: str, value: Any, of_metric: bool = False) -> MisconfigurationException:
    shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__}"
    advice = f"Reduce it first: `self.log({name!r}, value.mean())`; for several numbers use `self.log_dict`."
    if of_metric:
        advice = (
            "Log its parts at the end of the epoch, e.g. in `on_validation_epoch_end`: call `.compute()` on the "
            "metric, `self.log_dict` with the numbers, and `.reset()` on the metric."
        )
    return MisconfiguredValue(
        f"`self.log({name!r}, value)` takes one number.",
        got=f"a metric that computes {shape}" if of_metric else shape,
        fix=advice,
    )


def _not_loggable(name: str, value: Any) -> MisconfigurationException:
    advice = "Pass a number, e.g. `value.item()`."
    if value is None:
        advice = "See that what computes the value returns a number."
    elif isinstance(value, str):
        advice = "Convert it: `float(value)`. Text goes to a logger itself: `self.logger.experiment`."
    elif hasattr(value, "items"):
        advice = "Log all of it with `self.log_dict(values)`."
    elif isinstance(value, (list, tuple)):
        advice = 'Log one number, e.g. `sum(values) / len(values)`, or several: `self.log_dict({"a": a, "b": b})`.'
    return MisconfiguredValue(
        f"`self.log({name!r}, value)` takes a number, a tensor with one element, or a TorchMetrics metric.",
        got=f"{type(value).__name__} ({value!r})"[:200],
        fix=advice,
    )


def check_value(name: str, value: Any) -> None:
    """Raises unless a value can be logged.

    Args:
        name: The key.
        value: What was given.

    Raises:
        MisconfigurationException: If it is no number, no tensor with one element and no metric.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise _no_scalar(name, value)
    elif not is_metric(value):
        plain_number(name, value)


def plain_number(name: str, value: Any) -> int | float:
    """A value that is no tensor as Python's own number.

    Args:
        name: The key, for the error text.
        value: What was given.

    Returns:
        The number.

    Raises:
        MisconfigurationException: If it is none.
    """
    if isinstance(value, (int, float)):
        return value
    if callable(getattr(value, "item", None)) and getattr(value, "size", None) == 1:  # NumPy's
        number: int | float = value.item()
        return number
    raise _not_loggable(name, value)


def _weight(name: str, batch_size: Any) -> Any:
    if type(batch_size) is int:
        return batch_size
    if isinstance(batch_size, Tensor) and batch_size.numel() == 1:
        return batch_size.detach().reshape(())  # stays on its device
    try:
        return float(batch_size)
    except (TypeError, ValueError, RuntimeError):
        raise MisconfiguredType(
            "`self.log(batch_size=...)` is the number of samples in the batch.",
            got=f"{type(batch_size).__name__} ({batch_size!r})"[:200],
            fix=f"`self.log({name!r}, value, batch_size=x.size(0))`.",
        ) from None


def is_metric(value: object) -> bool:
    """Whether a value is a TorchMetrics metric; does not import TorchMetrics."""
    return any(base.__name__ == "Metric" and base.__module__.startswith("torchmetrics") for base in type(value).__mro__)
