"""How much a run gets through: batches, samples, items and operations a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from fulmen.utilities.device_flops import get_available_flops as get_available_flops
from fulmen.utilities.exceptions import MisconfiguredRun, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_only

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", bound=float)


class Throughput:
    """Rates over a window of updates, from totals and a clock that the caller reads.

    Args:
        available_flops: What one device can compute at best, in operations a second; with it there is an ``mfu``.
        world_size: How many devices work alike; with more than one there are rates of all, and of each below
            ``device/``.
        window_size: Over how many updates rates go, 2 or more. Until there are so many, there are no rates.
        separator: What stands between the parts of a name.

    Raises:
        MisconfigurationException: If `world_size` or `window_size` make no sense.

    Example:
        >>> throughput = Throughput(window_size=2)
        >>> throughput.update(time=1.0, batches=10, samples=320)
        >>> throughput.update(time=3.0, batches=30, samples=960)
        >>> throughput.compute()["device/samples_per_sec"]
        320.0
    """

    def __init__(
        self,
        available_flops: float | None = None,
        world_size: int = 1,
        window_size: int = 100,
        separator: str = "/",
    ) -> None:
        for name, value, least in (("world_size", world_size, 1), ("window_size", window_size, 2)):
            if not isinstance(value, int) or value < least:
                raise MisconfiguredValue(
                    f"`Throughput({name}=...)` is a whole number of {least} or more.",
                    got=value,
                    fix=f"Pass `{name}={max(least, 100 if least > 1 else 1)}`.",
                )
        self.available_flops = available_flops
        self.separator = separator
        self.world_size = world_size
        self.window_size = window_size
        self.reset()

    def reset(self) -> None:
        """Forgets all updates."""
        # time, batches, samples, lengths, and the operations since the last update
        self._updates: deque[tuple[float, int, int, int | None, int | None]] = deque(maxlen=self.window_size)

    def update(
        self, *, time: float, batches: int, samples: int, lengths: int | None = None, flops: int | None = None
    ) -> None:
        """Takes the totals at a time; nothing is taken if they make no sense.

        Args:
            time: The clock, in seconds. It goes on with each update.
            batches: All batches so far.
            samples: All samples so far.
            lengths: All items so far, for example tokens. Given with each update or with none.
            flops: The operations since the last update.

        Raises:
            ValueError: If a total goes back, or there are fewer samples than batches, or items than samples.
            RuntimeError: If `lengths` comes with some updates only.
        """
        if samples < batches:
            raise _mismatch("samples", samples, "batches", batches)
        if lengths is not None and lengths < samples:
            raise _mismatch("lengths", lengths, "samples", samples)
        if self._updates:
            last = self._updates[-1]
            totals = {"time": time, "batches": batches, "samples": samples, "lengths": lengths}
            if (last[3] is None) != (lengths is None):
                raise MisconfiguredRun(
                    "`lengths` is given with each update or with none.",
                    got=f"lengths={lengths} after lengths={last[3]}",
                    fix="Count the items of each batch, or call `reset()` before.",
                )
            for (name, value), before in zip(totals.items(), last, strict=False):
                if value is not None and before is not None and value <= before:
                    raise MisconfiguredValue(
                        f"`{name}` is a total, so expected the value to increase.",
                        got=f"{name}={value}, and {before} before",
                        fix="Give what there was since the beginning, or call `reset()` to begin anew.",
                    )
        self._updates.append((time, batches, samples, lengths, flops))

    def compute(self) -> dict[str, float]:
        """The newest totals, and once the window is full the rates.

        Returns:
            Values by name; none before the first update.
        """
        if not self._updates:
            return {}
        time, batches, samples, lengths, _ = self._updates[-1]
        found: dict[str, float] = {"time": time, "batches": batches, "samples": samples}
        if lengths is not None:
            found["lengths"] = lengths
        if len(self._updates) < self.window_size:
            return found
        first = self._updates[0]
        elapsed = time - first[0]
        rates = {"batches": (batches - first[1]) / elapsed, "samples": (samples - first[2]) / elapsed}
        self._add(found, rates)
        if lengths is not None and first[3] is not None:
            self._add(found, {"items": (lengths - first[3]) / elapsed})
        flops = [update[4] for update in list(self._updates)[1:]]
        if all(one is not None for one in flops):
            rate = sum(one for one in flops if one is not None) / elapsed
            if self.world_size > 1:
                found["flops_per_sec"] = rate * self.world_size
            found[f"device{self.separator}flops_per_sec"] = rate
            if self.available_flops:
                found[f"device{self.separator}mfu"] = rate / self.available_flops
        return found

    def _add(self, found: dict[str, float], rates: dict[str, float]) -> None:
        found.update({f"device{self.separator}{name}_per_sec": rate for name, rate in rates.items()})
        if self.world_size > 1:
            found.update({f"{name}_per_sec": rate * self.world_size for name, rate in rates.items()})


class ThroughputMonitor(Throughput):
    """A :class:`Throughput` that logs with a Fabric.

    Args:
        fabric: The Fabric: its loggers, device and number of processes.
        **kwargs: As for :class:`Throughput`; `available_flops` and `world_size` come from the Fabric.
    """

    def __init__(self, fabric: Any, **kwargs: Any) -> None:
        dtype = compute_dtype(fabric.strategy.precision)
        kwargs.setdefault("available_flops", get_available_flops(fabric.device, dtype))
        super().__init__(world_size=fabric.world_size, **kwargs)
        self._fabric = fabric
        self.step = -1

    def compute_and_log(self, step: int | None = None, **kwargs: Any) -> dict[str, float]:
        """Logs what :meth:`compute` gives.

        Args:
            step: The x axis; None for one more than at the last call.
            **kwargs: For :meth:`compute`.

        Returns:
            The values.
        """
        self.step = self.step + 1 if step is None else step
        values = self.compute(**kwargs)
        rank_zero_only(self._fabric.log_dict)(metrics=values, step=self.step)
        return values


def measure_flops(
    model: torch.nn.Module, forward_fn: Callable[[], Tensor], loss_fn: Callable[[Tensor], Tensor] | None = None
) -> int:
    """Counts the operations of a step: of matrix products, convolutions and attention, which make nearly all of it.

    On the meta device nothing is computed. Elsewhere the model is left without the gradients that this makes.

    Args:
        model: The model.
        forward_fn: Runs it.
        loss_fn: Makes a loss of what `forward_fn` returns; with it the backward pass is counted, too.

    Returns:
        The number of floating point operations.

    Example:
        >>> with torch.device("meta"):
        ...     model, x = torch.nn.Linear(3, 4), torch.empty(2, 3)
        >>> measure_flops(model, lambda: model(x)), measure_flops(model, lambda: model(x), lambda y: y.sum())
        (48, 96)
    """
    from torch.utils.flop_counter import FlopCounterMode

    before = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        if loss_fn is not None:
            for parameter, _ in before:
                parameter.grad = None
        with FlopCounterMode(display=False) as counter:
            result = forward_fn()
            if loss_fn is not None:
                loss_fn(result).backward()
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient
    return int(counter.get_total_flops())


def compute_dtype(precision: Any) -> torch.dtype:
    """What a precision computes matrix products in.

    Args:
        precision: The plugin, or its name such as ``"bf16-mixed"``.
    """
    name = str(getattr(precision, "precision", precision))
    number = name.split("-")[0]
    return {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}.get(number, torch.float32)


def _mismatch(name: str, value: int, other: str, floor: int) -> MisconfiguredValue:
    return MisconfiguredValue(
        f"Expected {name} ({value}) to be greater or equal than {other} ({floor}).",
        fix=f"Count all {name} since the beginning; each of the {other} has one or more.",
    )
