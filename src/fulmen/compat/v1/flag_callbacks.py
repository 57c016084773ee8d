"""Callbacks that were arguments of the Trainer in 1.x."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.stochastic_weight_avg import StochasticWeightAveraging
from fulmen.compat.v1.hints import hint
from fulmen.utilities.imports import available

if TYPE_CHECKING:
    from fulmen.callbacks.callback import Callback
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


def callbacks_of(named: dict[str, Any], present: list[Any]) -> list[Callback]:
    """The callbacks that arguments of 1.x stand for.

    Args:
        named: The Trainer's arguments; those that are callbacks are taken out.
        present: The callbacks that were given, which go before.

    Returns:
        What to add to them.
    """
    kinds = {base.__name__ for callback in present for base in type(callback).__mro__}
    return [callback for kind, callback in _found(named) if kind not in kinds]


def _found(named: dict[str, Any]) -> Iterator[tuple[str, Callback]]:
    """Callbacks, and what kind of them there may be one of."""
    checkpoint = named.pop("checkpoint_callback", None)
    if checkpoint is not None:
        yield "", checkpoint
    stopping = named.pop("early_stop_callback", None)
    if stopping is True:
        from fulmen.callbacks.early_stopping import EarlyStopping

        yield "EarlyStopping", EarlyStopping("val_loss", patience=3, verbose=True)
    elif stopping:
        yield "", stopping
    yield from _bar(named)
    if named.get("weights_summary") == "full" and named.get("enable_model_summary") is not False:
        from fulmen.callbacks.model_summary import ModelSummary

        yield "ModelSummary", ModelSummary(max_depth=-1)
    if isinstance(named.get("accumulate_grad_batches"), dict):
        from fulmen.callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler

        hint(
            "`Trainer(accumulate_grad_batches={epoch: n})`",
            "`callbacks=[GradientAccumulationScheduler(scheduling={4: 2})]`.",
        )
        yield "", GradientAccumulationScheduler(named.pop("accumulate_grad_batches"))
    if named.get("accumulate_grad_batches", 1) is None:
        del named["accumulate_grad_batches"]
    if named.pop("stochastic_weight_avg", False):
        yield "StochasticWeightAveraging", FormerWeightAveraging()
    yield from _monitor(named)


def _bar(named: dict[str, Any]) -> Iterator[tuple[str, Callback]]:
    rate, position = named.pop("progress_bar_refresh_rate", None), named.pop("process_position", 0)
    if (rate is None and not position) or named.get("enable_progress_bar") is False or named.get("barebones"):
        return
    if available("tqdm"):
        from fulmen.callbacks.progress.tqdm_progress import TQDMProgressBar

        yield "ProgressBar", TQDMProgressBar(refresh_rate=1 if rate is None else rate, process_position=position)
    elif rate is not None and available("rich"):
        from fulmen.callbacks.progress.rich_progress import RichProgressBar

        yield "ProgressBar", RichProgressBar(refresh_rate=rate)


def _monitor(named: dict[str, Any]) -> Iterator[tuple[str, Callback]]:
    if named.pop("log_gpu_memory", None) and named.get("logger") is not False:
        from fulmen.accelerators.devices import current_type

        if current_type() == "cuda" and named.get("accelerator") != "cpu":  # without a GPU it logged nothing
            from fulmen.callbacks.device_stats_monitor import DeviceStatsMonitor

            yield "DeviceStatsMonitor", DeviceStatsMonitor()


class FormerWeightAveraging(StochasticWeightAveraging):
    """Averages at the rates that the optimizer begins with, as 1.x did where no rate was named."""

    def __init__(self) -> None:
        super().__init__(swa_lrs=1.0)  # replaced when the rates are known

    @property
    def state_key(self) -> str:
        """That of the class of today: a run may go on with either."""
        return StochasticWeightAveraging.__qualname__

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the optimizer's rates."""
        if trainer.optimizers:
            groups = trainer.optimizers[0].param_groups
            self._swa_lrs = [float(group.get("initial_lr", group["lr"])) for group in groups]
        super().on_fit_start(trainer, pl_module)
