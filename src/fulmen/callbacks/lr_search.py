"""The learning rate range test: the loss while the rate rises from step to step, and the rate that it suggests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch

from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.imports import available, require
from fulmen.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.loops.optimize import Automatic
    from fulmen.trainer.trainer import Trainer

MODES = ("linear", "exponential")
_SMOOTHING = 0.98


class LRFinder:
    """What a learning rate range test has found.

    Args:
        mode: How the rate rose, ``"linear"`` or ``"exponential"``.
        lr_min: Where it began.
        lr_max: Where it was to end.
        num_training: The number of steps.

    Attributes:
        results: The rates under ``"lr"`` and the smoothed losses under ``"loss"``.
        stopped: Why it ended before its last step; empty if it did not.
    """

    def __init__(self, mode: str, lr_min: float, lr_max: float, num_training: int) -> None:
        self.mode = mode
        self.lr_min = lr_min
        self.lr_max = lr_max
        self.num_training = num_training
        self.results: dict[str, list[float]] = {}
        self.stopped = ""
        self._total_batch_idx = 0
        self._optimal_idx: int | None = None

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """The rate at which the loss fell most steeply.

        Args:
            skip_begin: Points to leave out at the start, where the smoothed loss has not settled.
            skip_end: Points to leave out at the end, where the loss may have begun to diverge.

        Returns:
            The rate, or None with a warning where too few points are left.
        """
        rates, losses = self.results.get("lr", []), self.results.get("loss", [])
        span = range(skip_begin, len(losses) - skip_end)
        indices = [index for index in span if math.isfinite(losses[index])]
        if len(indices) < 2:
            self._optimal_idx = None
            rank_zero_warn(self._why_none(len(losses), len(span), skip_begin, skip_end))
            return None
        spacing = torch.tensor([rates[index] for index in indices])
        slopes = torch.gradient(torch.tensor([losses[index] for index in indices]), spacing=[spacing])[0]
        self._optimal_idx = indices[int(torch.argmin(slopes).item())]
        return rates[self._optimal_idx]

    def _why_none(self, points: int, left: int, skip_begin: int, skip_end: int) -> str:
        found = f"it has {points} points, of which skip_begin={skip_begin} and skip_end={skip_end} leave {left}"
        fix = "raise `num_training`, or call `suggestion(skip_begin=..., skip_end=...)` with smaller numbers"
        if left >= 2:
            found += ", and of those fewer than 2 have a finite loss"
            fix = "look at the loss, which was NaN, infinite or missing, or lower `min_lr` and `max_lr`"
        elif self.stopped:
            found += f"; {self.stopped}"
            fix += ", lower `min_lr` and `max_lr`, or raise `early_stop_threshold` (None never stops)"
        return f"The learning rate finder suggests no rate: {found}. What to do: {fix}."

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """Draws the losses over the rates.

        Args:
            suggest: Whether to mark the suggestion.
            show: Whether to open a window with the figure.
            ax: Where to draw, of matplotlib; None makes a figure.

        Returns:
            The figure.
        """
        pyplot = require("matplotlib.pyplot", "loggers", "The plot of a learning rate finder")
        if ax is None:
            figure, ax = pyplot.subplots()
        else:
            figure = ax.figure
        rates, losses = self.results["lr"], self.results["loss"]
        ax.plot(rates, losses)
        if self.mode == "exponential":
            ax.set_xscale("log")
        ax.set_xlabel("Learning rate")
        ax.set_ylabel("Loss")
        if suggest:
            self.suggestion()
            if self._optimal_idx is not None:
                ax.plot(rates[self._optimal_idx], losses[self._optimal_idx], markersize=10, marker="o", color="red")
        if show:
            pyplot.show()
        return figure


def check_search(min_lr: float, max_lr: float, num_training: int, mode: str, threshold: float | None) -> None:
    """Complains of a test that makes no sense.

    Raises:
        MisconfigurationException: Naming the argument.
    """
    if mode not in MODES:
        raise MisconfiguredValue(
            "`mode` should be either of ('linear', 'exponential').", got=mode, fix='Pass `mode="exponential"`.'
        )
    if not 0 <= min_lr < max_lr or (mode == "exponential" and min_lr == 0):
        raise MisconfiguredValue(
            "The rate rises from `min_lr` to `max_lr`, and by factors (`exponential`) only from above 0.",
            got=f"min_lr={min_lr}, max_lr={max_lr}, mode={mode!r}",
            fix="For example `min_lr=1e-6, max_lr=1`.",
        )
    if not isinstance(num_training, int) or num_training < 1:
        raise MisconfiguredValue(
            "The number of steps is an integer of 1 or more.", got=num_training, fix="The default of 100 suits most."
        )
    if threshold is not None and not threshold > 0:
        raise MisconfiguredValue(
            "`early_stop_threshold` is the multiple of the best loss at which the test stops.",
            got=threshold,
            fix="Pass 4.0, or None to never stop early.",
        )


def rate_at(step: int, finder: LRFinder) -> float:
    """The rate of a step of a test; steps count from 0, and the second one goes two parts of the way.

    Args:
        step: The step.
        finder: Knows the bounds.
    """
    part = (step + 1 if step else 0) / finder.num_training
    if finder.mode == "linear":
        return finder.lr_min + part * (finder.lr_max - finder.lr_min)
    factor: float = (finder.lr_max / finder.lr_min) ** part
    return finder.lr_min * factor


class RateSweep(Callback):
    """Raises the rate from step to step, and notes rate and smoothed loss.

    Args:
        finder: Takes the results.
        threshold: The multiple of the best loss at which to stop; None for never.
        show: Whether to show a progress bar.
    """

    def __init__(self, finder: LRFinder, threshold: float | None, show: bool) -> None:
        self.finder, self.threshold = finder, threshold
        self.rates: list[float] = []
        self.losses: list[float] = []
        finder.results = {"lr": self.rates, "loss": self.losses}
        self._average = 0.0
        self._best: float | None = None
        self._window: list[float | None] = []
        self._bar: Any = None
        self._show = show and available("tqdm")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Sets the rate of the step that begins."""
        if self._window:
            return
        rate = rate_at(len(self.rates), self.finder)
        for group in trainer.optimizers[0].param_groups:
            set_rate(group, "lr", rate)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Notes rate and loss of a step that is done."""
        self._window.append(_loss_of(outputs, pl_module))
        optimization = cast("Automatic", trainer.fit_loop.optimization)
        if not optimization.closed:
            return
        known = [loss for loss in self._window if loss is not None]
        loss = sum(known) if known else None
        if loss is not None and trainer.accumulate_grad_batches > 1:
            exact = optimization.window.exact
            loss *= optimization.window.correction if exact else optimization.planned / len(known)
        loss = _mean_over_processes(loss, trainer)
        self._window = []
        self.rates.append(rate_at(len(self.rates), self.finder))
        self._note(loss, trainer)
        self._advance()
        if len(self.rates) == self.finder.num_training:
            trainer.fit_loop.max_steps = trainer.global_step

    def _note(self, loss: float | None, trainer: Trainer) -> None:
        if loss is None:  # the batch was skipped
            self.losses.append(math.nan)
            return
        self._average = _SMOOTHING * self._average + (1 - _SMOOTHING) * loss
        smoothed = self._average / (1 - _SMOOTHING ** (len(self.rates) + 1))
        self.losses.append(smoothed)
        best = self._best
        if best is not None and self.threshold is not None and smoothed > _limit(best, self.threshold):
            self.finder.stopped = (
                f"it stopped after {len(self.rates)} of {self.finder.num_training} steps, since the smoothed loss "
                f"({smoothed:.4g}) rose above {self.threshold} times its best ({best:.4g})"
            )
            trainer.fit_loop.max_steps = trainer.global_step
        if best is None or smoothed < best:
            self._best = smoothed

    def _advance(self) -> None:
        if self._show:
            from tqdm.auto import tqdm

            self._bar = self._bar or tqdm(desc="Finding best initial lr", total=self.finder.num_training)
            self._bar.update()

    def close(self) -> None:
        """Ends the progress bar."""
        if self._bar is not None:
            self._bar.close()


def _mean_over_processes(loss: float | None, trainer: Trainer) -> float | None:
    """The loss of all batches of the step, so that all processes stop at the same one and suggest the same rate."""
    if trainer.world_size == 1:
        return loss
    parts = [part for part in trainer.strategy.all_gather_object(loss) if part is not None]
    return sum(parts) / len(parts) if parts else None


def _limit(best: float, threshold: float) -> float:
    return threshold * best if best >= 0 else best - (threshold - 1) * best


def _loss_of(outputs: Any, module: LightningModule) -> float | None:
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    if isinstance(loss, torch.Tensor):
        return float(loss.item())
    if not module.automatic_optimization:
        raise MisconfigurationException(
            "The learning rate finder looks at the loss, which under manual optimization it knows only if "
            "`training_step` returns it.",
            got=f"{outputs!r} from `{type(module).__name__}.training_step`",
            fix="Write `return loss.detach()` at its end.",
        )
    return None


def set_rate(group: dict[str, Any], key: str, rate: float) -> None:
    """Sets an entry of a parameter group; a rate that is a tensor stays the same tensor."""
    if isinstance(group[key], torch.Tensor):
        group[key].fill_(rate)
    else:
        group[key] = rate
