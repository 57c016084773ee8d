"""Stops training when a metric no longer improves."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.monitor import advice_for_missing, check_mode, show
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun
from fulmen.utilities.generations import taught
from fulmen.utilities.rank_zero import log, rank_zero_warn

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class EarlyStoppingReason(Enum):
    """Why training was stopped."""

    NOT_STOPPED = 0
    STOPPING_THRESHOLD = 1
    DIVERGENCE_THRESHOLD = 2
    PATIENCE_EXHAUSTED = 3
    NON_FINITE_METRIC = 4


@taught
class EarlyStopping(Callback):
    """Watches a metric and stops training when it stops improving.

    Args:
        monitor: The key of the metric, as given to ``self.log``.
        min_delta: The least change that counts as an improvement.
        patience: After how many checks without improvement training stops. A check is a validation, or the end of a
            training epoch; see `check_on_train_epoch_end`.
        verbose: Whether to log each improvement, and why training stopped.
        mode: ``"min"`` if smaller is better, ``"max"`` if greater is.
        strict: Whether a metric that is not there is an error; otherwise the check is passed over.
        check_finite: Whether to stop when the metric becomes NaN or infinite.
        stopping_threshold: Stop as soon as the metric is better than this.
        divergence_threshold: Stop as soon as the metric is worse than this.
        check_on_train_epoch_end: Whether to check at the end of training epochs; False checks at the end of
            validation. None checks at the end of training epochs where each of them ends with a validation.
        log_rank_zero_only: Whether only the process with rank 0 logs.

    Attributes:
        wait_count: Checks since the last improvement.
        stopped_epoch: The epoch in which training was stopped, 0 if it was not.
        best_score: The best value so far, a scalar tensor.
        stopping_reason: Why training was stopped.
        stopping_reason_message: The same as a sentence; None if it was not stopped.

    Raises:
        MisconfigurationException: If `mode` or `patience` make no sense, or during training if `monitor` is not there.

    Example:
        >>> EarlyStopping("val_loss", patience=5).state_key
        "EarlyStopping{'monitor': 'val_loss', 'mode': 'min'}"
    """

    judges_epoch = True
    mode_dict: dict[str, Callable[..., Tensor]] = {"min": torch.lt, "max": torch.gt}
    order_dict = {"min": "<", "max": ">"}

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        super().__init__()
        if not _is_count(patience):
            raise MisconfigurationException(
                "`EarlyStopping(patience=...)` counts checks without improvement and is 0 or more.",
                got=f"patience={patience!r}",
                fix="Pass `patience=3` to stop at the third such check in a row.",
            )
        self.monitor = monitor
        self.mode = check_mode("EarlyStopping", mode)
        self.min_delta = min_delta if mode == "max" else -min_delta
        self.patience = patience
        self.verbose = verbose
        self.strict = strict
        self.check_finite = check_finite
        self.stopping_threshold = stopping_threshold
        self.divergence_threshold = divergence_threshold
        self.log_rank_zero_only = log_rank_zero_only
        self._check_on_train_epoch_end = check_on_train_epoch_end
        self.wait_count = 0
        self.stopped_epoch = 0
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        self.stopping_reason_message: str | None = None
        self._reason = EarlyStoppingReason.NOT_STOPPED  # of the value judged last
        self.best_score = torch.tensor(float("inf" if mode == "min" else "-inf"))

    @property
    def state_key(self) -> str:
        """The class with the metric and its direction."""
        return self._generate_state_key(monitor=self.monitor, mode=self.mode)

    @property
    def monitor_op(self) -> Callable[..., Tensor]:
        """Whether its first argument is better than its second."""
        return self.mode_dict[self.mode]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Decides when to check, unless that was given."""
        if self._check_on_train_epoch_end is None:
            self._check_on_train_epoch_end = trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks, if it is to be done here."""
        if self._check_on_train_epoch_end and not self._should_skip_check(trainer):
            self._run_early_stopping_check(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks, if it is to be done here."""
        if not self._check_on_train_epoch_end and not self._should_skip_check(trainer):
            self._run_early_stopping_check(trainer)

    def state_dict(self) -> dict[str, Any]:
        """What has been seen so far."""
        return {
            "wait_count": self.wait_count,
            "stopped_epoch": self.stopped_epoch,
            "best_score": self.best_score,
            "patience": self.patience,
            "stopping_reason": self.stopping_reason.value,
            "stopping_reason_message": self.stopping_reason_message,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        # files of Lightning 0.9 have no more than the first and the last of these
        self.wait_count = state_dict["wait_count"]
        self.stopped_epoch = state_dict.get("stopped_epoch", self.stopped_epoch)
        self.best_score = torch.as_tensor(state_dict.get("best_score", self.best_score)).cpu()
        self.patience = state_dict.get("patience", self.patience)
        self.stopping_reason = EarlyStoppingReason(state_dict.get("stopping_reason", 0))
        self.stopping_reason_message = state_dict.get("stopping_reason_message")

    # Libraries derive from this class and replace one of these; each is called where its name says.

    def _should_skip_check(self, trainer: Trainer) -> bool:
        return bool(trainer.state.fn != "fit" or trainer.sanity_checking or trainer.fast_dev_run)

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        metrics = trainer.callback_metrics
        is_there = self._validate_condition_metric(metrics)
        current = torch.as_tensor(metrics[self.monitor]).detach().squeeze().cpu() if is_there else None
        if trainer.world_size > 1:  # values of single steps may be each process's own, or that of some
            current = next((one for one in trainer.strategy.all_gather_object(current) if one is not None), None)
        if current is None:
            return
        self._reason = EarlyStoppingReason.NOT_STOPPED
        stop, message = self._evaluate_stopping_criteria(current)
        stop = trainer.strategy.reduce_boolean_decision(bool(stop), all=False)
        if stop:
            trainer.should_stop = True
            self.stopped_epoch = trainer.current_epoch
            self.stopping_reason, self.stopping_reason_message = self._reason, message
        if message is not None and self.verbose:
            self._log_info(trainer, message, self.log_rank_zero_only)

    def _validate_condition_metric(self, logs: dict[str, Tensor]) -> bool:
        """Whether the metric is there; complains if it is not."""
        if self.monitor in logs:
            return True
        rule = f"`EarlyStopping(monitor={self.monitor!r})` needs a metric that is logged."
        if self.strict:
            raise MisconfiguredRun(
                rule,
                got=f"these metrics: {show(logs)}",
                fix=advice_for_missing(self.monitor, logs) + " `strict=False` passes over checks without it.",
            )
        if self.verbose:
            rank_zero_warn(f"{rule} It is not among these: {show(logs)}.", category=RuntimeWarning)
        return False

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        """Whether a value ends training, and what there is to say of it."""
        self._reason, message = self._judge(current)
        return self._reason is not EarlyStoppingReason.NOT_STOPPED, message

    def _judge(self, current: Tensor) -> tuple[EarlyStoppingReason, str | None]:
        better, value, name = self.monitor_op, current.item(), self.monitor
        end = "Signaling Trainer to stop."
        if self.check_finite and not torch.isfinite(current):
            return EarlyStoppingReason.NON_FINITE_METRIC, (
                f"Monitored metric {name} = {value} is not finite. Previous best value was {self.best_score:.3f}. {end}"
            )
        if self.stopping_threshold is not None and better(current, self.stopping_threshold):
            return EarlyStoppingReason.STOPPING_THRESHOLD, (
                f"Stopping threshold reached: {name} = {value} {self.order_dict[self.mode]} "
                f"{self.stopping_threshold}. {end}"
            )
        if self.divergence_threshold is not None and better(-current, -self.divergence_threshold):
            worse = self.order_dict["max" if self.mode == "min" else "min"]
            return EarlyStoppingReason.DIVERGENCE_THRESHOLD, (
                f"Divergence threshold reached: {name} = {value} {worse} {self.divergence_threshold}. {end}"
            )
        if better(current - self.min_delta, self.best_score):
            message = self._improvement_message(current)
            self.best_score = current
            self.wait_count = 0
            return EarlyStoppingReason.NOT_STOPPED, message
        self.wait_count += 1
        if self.wait_count >= self.patience:
            return EarlyStoppingReason.PATIENCE_EXHAUSTED, (
                f"Monitored metric {name} did not improve in the last {self.wait_count} records. "
                f"Best score: {self.best_score:.3f}. {end}"
            )
        return EarlyStoppingReason.NOT_STOPPED, None

    def _improvement_message(self, current: Tensor) -> str:
        by = ""
        if torch.isfinite(self.best_score):
            by = f" by {abs(self.best_score - current):.3f} >= min_delta = {abs(self.min_delta)}"
        return f"Metric {self.monitor} improved{by}. New best score: {current:.3f}"

    @staticmethod
    def _log_info(trainer: Trainer, message: str, log_rank_zero_only: bool) -> None:
        if log_rank_zero_only and not trainer.is_global_zero:
            return
        log.info(f"[rank: {trainer.global_rank}] {message}" if trainer.world_size > 1 else message)


def _is_count(value: Any) -> bool:
    return isinstance(value, Real) and float(value) >= 0
