"""Finds batches whose loss leaps out of line."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import torch

from fulmen.utilities.exceptions import MisconfiguredValue


class TrainingSpikeException(RuntimeError):
    """Raised when the loss of a batch is a spike.

    Args:
        batch_idx: The batch.
        *args: For ``RuntimeError``.
        **kwargs: For ``RuntimeError``.

    Attributes:
        batch_idx: The batch.
    """

    def __init__(self, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(f"Training spike detected in batch {batch_idx}", *args, **kwargs)
        self.batch_idx = batch_idx


class SpikeDetection:
    """Compares each loss with those before it, and raises where it leaps to the worse.

    A loss is a spike if it is worse than the one before it, and away from the mean of the last ones by `atol` at least
    and by `rtol` times that mean at least; or if it is not finite. Spikes have no part in the mean. The numbers of the
    spike's batch and of the one before it, whose update may have caused it, are added to a JSON file, so that a run
    that starts again can leave them out.

    To see the loss of each batch the host waits for the device in each step.

    Args:
        mode: ``"min"`` if a lower loss is better, ``"max"`` if a higher one is.
        window: Over how many losses the mean goes.
        warmup: How many batches pass before any loss counts as a spike.
        atol: How far from the mean a loss may be; None does not ask for it.
        rtol: The same in parts of the mean; None does not ask for it.
        exclude_batches_path: The JSON file; None for ``skip_batches.json`` in the working folder.
        finite_only: Whether a loss that is NaN or infinite is a spike in itself.

    Attributes:
        bad_batches: What the file holds.
        last_val: The last loss that was no spike.

    Raises:
        ValueError: If `mode` or `window` make no sense.
    """

    def __init__(
        self,
        mode: Literal["min", "max"] = "min",
        window: int = 10,
        warmup: int = 1,
        atol: float | None = None,
        rtol: float | None = 2.0,
        exclude_batches_path: str | os.PathLike[str] | None = None,
        finite_only: bool = True,
    ) -> None:
        super().__init__()
        if mode not in ("min", "max"):
            raise MisconfiguredValue(
                "`SpikeDetection(mode=...)` says which way the loss improves.",
                got=mode,
                fix='Pass mode="min" for a loss, mode="max" for a score.',
            )
        if not isinstance(window, int) or window < 1:
            raise MisconfiguredValue(
                "`SpikeDetection(window=...)` is over how many losses the mean goes, 1 or more.",
                got=window,
                fix="Pass `window=10`.",
            )
        self.mode = mode
        self.window = window
        self.warmup = warmup
        self.atol = atol
        self.rtol = rtol
        self.exclude_batches_path = exclude_batches_path
        self.finite_only = finite_only
        self.bad_batches: list[int] = []
        self.last_val = 0.0
        self._seen = 0
        self._recent: deque[float] = deque(maxlen=window)

    @torch.no_grad()
    def on_train_batch_end(self, fabric: Any, loss: torch.Tensor, batch: Any, batch_idx: int) -> None:
        """Looks at the loss of a batch.

        Args:
            fabric: A Fabric or a Trainer, for what the processes have to agree on.
            loss: The loss.
            batch: The batch.
            batch_idx: Its number.

        Raises:
            TrainingSpikeException: If it is a spike in any of the processes.
        """
        value = float(loss)
        if self.exclude_batches_path is None:
            self.exclude_batches_path = os.path.join(os.getcwd(), "skip_batches.json")
        self._seen += 1
        spike = self._seen > self.warmup and self._is_spike(value)
        if fabric.strategy.reduce_boolean_decision(spike, all=False):
            self._handle_spike(fabric, batch_idx)
        elif math.isfinite(value):
            self.last_val = value
            self._recent.append(value)

    def _is_spike(self, value: float) -> bool:
        if not math.isfinite(value) and (self.finite_only or math.isnan(value)):
            return self.finite_only
        if not self._recent:
            return False
        if value <= self.last_val if self.mode == "min" else value >= self.last_val:
            return False
        mean = math.fsum(self._recent) / len(self._recent)
        distance = abs(value - mean)
        near = self.atol is not None and distance < self.atol
        return not near and not (self.rtol is not None and distance < self.rtol * abs(mean))

    def _handle_spike(self, fabric: Any, batch_idx: int) -> None:
        self.bad_batches += [batch_idx - 1, batch_idx] if batch_idx > 0 else [batch_idx]
        if getattr(fabric, "is_global_zero", True):
            path = os.path.abspath(os.fspath(self.exclude_batches_path or ""))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            part = f"{path}.part"
            with open(part, "w", encoding="utf-8") as file:
                json.dump(self.bad_batches, file, indent=4)
            os.replace(part, path)
        raise TrainingSpikeException(batch_idx=batch_idx)

    def state_dict(self) -> dict[str, Any]:
        """What has been seen so far."""
        return {
            "last_val": self.last_val,
            "mode": self.mode,
            "warmup": self.warmup,
            "atol": self.atol,
            "rtol": self.rtol,
            "bad_batches": list(self.bad_batches),
            "bad_batches_path": None if self.exclude_batches_path is None else os.fspath(self.exclude_batches_path),
            "running": list(self._recent),
            "seen": self._seen,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes back what was seen; the settings stay those that the object was made with.

        Args:
            state_dict: What :meth:`state_dict` gave, also that of Lightning, which holds no losses.
        """
        self.last_val = float(state_dict["last_val"])
        self.bad_batches = list(state_dict["bad_batches"])
        self._recent = deque(list(state_dict.get("running") or ()), maxlen=self.window)
        self._seen = state_dict.get("seen", 0)
