"""Callbacks that only 1.x had."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.progress.progress_bar import ProgressBar as ProgressBarBase
from fulmen.compat.v1.hints import hint
from fulmen.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

__all__ = ["GPUStatsMonitor", "ProgressBarBase", "QuantizationAwareTraining", "XLAStatsMonitor"]

_QUERIES = {
    "memory_utilization": (("memory.used", "MB"), ("memory.free", "MB"), ("utilization.memory", "%")),
    "gpu_utilization": (("utilization.gpu", "%"),),
    "fan_speed": (("fan.speed", "%"),),
    "temperature": (("temperature.gpu", "°C"), ("temperature.memory", "°C")),
}


class GPUStatsMonitor(Callback):
    """Logs what ``nvidia-smi`` says of the GPU, around training batches.

    Args:
        memory_utilization: Log used and free memory, and how busy it is.
        gpu_utilization: Log how busy the GPU is.
        intra_step_time: Log how long a batch takes.
        inter_step_time: Log how long it is from one batch to the next.
        fan_speed: Log the fan's speed.
        temperature: Log temperatures.

    Raises:
        MisconfigurationException: If there is no NVIDIA GPU; when a run begins, if it runs elsewhere or logs nowhere.
    """

    def __init__(
        self,
        memory_utilization: bool = True,
        gpu_utilization: bool = True,
        intra_step_time: bool = False,
        inter_step_time: bool = False,
        fan_speed: bool = False,
        temperature: bool = False,
    ) -> None:
        hint("`GPUStatsMonitor`", "`DeviceStatsMonitor`, which knows devices of every kind.")
        self._program = shutil.which("nvidia-smi")
        if self._program is None:
            raise MisconfigurationException(
                "`GPUStatsMonitor` asks `nvidia-smi`, and there is none.",
                fix="Use `DeviceStatsMonitor`, which watches whatever device the run has.",
            )
        wanted = {
            "memory_utilization": memory_utilization, "gpu_utilization": gpu_utilization, "fan_speed": fan_speed,
            "temperature": temperature,
        }  # fmt: skip
        self._figures = [figure for name, on in wanted.items() if on for figure in _QUERIES[name]]
        self._intra, self._inter = intra_step_time, inter_step_time
        self._started = self._ended = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Checks that there is something to ask, and somewhere to log it."""
        if not trainer.loggers:
            raise MisconfigurationException(
                "`GPUStatsMonitor` needs a logger, and the Trainer has none.",
                fix="Pass `Trainer(logger=True)` or a logger of your choice, or remove the callback.",
            )
        device = trainer.strategy.root_device
        if device.type != "cuda":
            raise MisconfigurationException(
                "`GPUStatsMonitor` watches an NVIDIA GPU, and the run has none.",
                got=f"a run on {device}",
                fix="Use `DeviceStatsMonitor`, or `Trainer(accelerator='gpu', devices=1)`.",
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = self._ended = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._started = time.monotonic()
        if trainer.should_log:
            between = {}
            if self._inter and self._ended:
                between["batch_time/inter_step (ms)"] = (self._started - self._ended) * 1000
            self._log(trainer, between)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ended = time.monotonic()
        if trainer.should_log:
            within = {"batch_time/intra_step (ms)": (self._ended - self._started) * 1000} if self._intra else {}
            self._log(trainer, within)

    def _log(self, trainer: Trainer, times: dict[str, float]) -> None:
        index = trainer.strategy.root_device.index or 0
        values = {**self._ask(index), **times}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.fit_loop.epoch_loop._batches_that_stepped)

    def _ask(self, index: int) -> dict[str, float]:
        if not self._figures:
            return {}
        done = subprocess.run(
            [str(self._program), f"--query-gpu={','.join(name for name, _ in self._figures)}",
             "--format=csv,nounits,noheader", f"--id={index}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return read_figures(done.stdout, self._figures, index)


def read_figures(text: str, figures: list[tuple[str, str]], index: int) -> dict[str, float]:
    """What ``nvidia-smi`` answered, by the names of 1.x.

    Args:
        text: A line of values with commas between them; what a GPU does not have is no number.
        figures: What was asked for, and the units.
        index: Of which GPU.
    """
    values: dict[str, float] = {}
    for (name, unit), value in zip(figures, text.strip().split(", "), strict=True):
        try:
            values[f"gpu_id: {index}/{name} ({unit})"] = float(value)
        except ValueError:
            values[f"gpu_id: {index}/{name} ({unit})"] = 0.0
    return values


class XLAStatsMonitor(Callback):
    """Is there no more.

    Raises:
        MisconfigurationException: Always.
    """

    def __init__(self, verbose: bool = True) -> None:
        raise MisconfigurationException(
            "`XLAStatsMonitor` watched TPUs by an interface that torch_xla has no more.",
            fix="Use `DeviceStatsMonitor`, which asks the accelerator of the run for its figures.",
        )


class QuantizationAwareTraining(Callback):
    """Is there no more.

    Raises:
        MisconfigurationException: Always.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise MisconfigurationException(
            "`QuantizationAwareTraining` is built on the eager quantization that PyTorch gives up.",
            fix="Use torchao: call its `quantize_(model, ...)` with a config for quantization-aware training in "
            "`configure_model`, train, and convert the model with it afterwards.",
        )
