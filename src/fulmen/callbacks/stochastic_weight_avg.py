"""Stochastic weight averaging: the mean of the weights over the last epochs, found with a learning rate of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import SWALR

from fulmen.callbacks import swa_options as options
from fulmen.callbacks.averaging import CURRENT, Averaging, clone, widen
from fulmen.utilities.rank_zero import rank_zero_info
from fulmen.utilities.states import TrainerFn
from fulmen.utilities.types import LRSchedulerConfig

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

_AVG_FN = Callable[[Tensor, Tensor, Tensor], Tensor]


class StochasticWeightAveraging(Averaging):
    """Averages the weights of the last epochs, which it trains with a learning rate of its own.

    From `swa_epoch_start` on the learning rate goes to `swa_lrs` and stays there; schedulers of the module give way.
    Each of these epochs begins with the weights being taken into the average. As soon as there is one, validation uses
    it, with averaged statistics in batch-norm layers, and checkpoints hold it under ``"state_dict"``, so that
    ``load_from_checkpoint`` gives it; the weights with which training goes on are under ``"current_model_state"``.

    After training the model has the average. If it has batch-norm layers, one more epoch of forward passes alone
    computes their statistics anew, and the validation and checkpoint at its end are those of the final model. Training
    that ends before its last epoch leaves that epoch out, and the model has the average of what there was. Training
    that ends before averaging begins leaves the model as it was trained.

    Args:
        swa_lrs: The learning rate, or one for each parameter group.
        swa_epoch_start: The epoch from which weights are averaged, counted from 1, or what part of `max_epochs`.
        annealing_epochs: Over how many epochs the learning rate goes to `swa_lrs`; 0 for at once.
        annealing_strategy: ``"cos"`` or ``"linear"``: on which way.
        avg_fn: Makes the new average of the average, the weight and how many weights are in the average; None for the
            mean.
        device: Where the average lies; None for the model's device.

    Raises:
        MisconfigurationException: If an argument is of another kind; or when training starts, if the module has several
            optimizers or schedulers.

    Example:
        >>> StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=0.75).state_key
        'StochasticWeightAveraging'
    """

    def __init__(
        self,
        swa_lrs: float | list[float],
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: Any = "cos",
        avg_fn: _AVG_FN | None = None,
        device: torch.device | str | None = torch.device("cpu"),  # noqa: B008  # the interface shows it so
    ) -> None:
        super().__init__()
        options.check(swa_lrs, swa_epoch_start, annealing_epochs, annealing_strategy, avg_fn, device)
        self._swa_lrs = swa_lrs
        self._swa_epoch_start = swa_epoch_start
        self._annealing_epochs = annealing_epochs
        self._annealing_strategy = annealing_strategy
        self._avg_fn: _AVG_FN = avg_fn or self.avg_fn
        self._device = device
        self.momenta: dict[_BatchNorm, float | None] = {}
        self._statistics: list[str] = []
        self._scheduler: SWALR | None = None
        self._max_epochs: int | None = None
        self._extra_epoch = False
        self._reset()

    def _reset(self) -> None:
        self.n_averaged: Tensor | None = None
        self._latest_update_epoch = -1

    @property
    def swa_start(self) -> int:
        """The first epoch that is averaged, counted from 0; known when training starts."""
        start = self._swa_epoch_start
        if isinstance(start, float):
            start = int(options.known_end(self._max_epochs) * start)
        return max(start - 1, 0)

    @property
    def swa_end(self) -> int:
        """The last epoch that is averaged, counted from 0; known when training starts."""
        return options.known_end(self._max_epochs) - 1

    def _is_averaged(self, epoch: int) -> bool:
        endless = self._max_epochs in (None, -1)
        return epoch >= self.swa_start and (endless or epoch <= self.swa_end)

    @staticmethod
    def pl_module_contains_batch_norm(pl_module: LightningModule) -> bool:
        """Whether a module has batch-norm layers."""
        return any(isinstance(module, _BatchNorm) for module in pl_module.modules())

    # The run.

    def _tensors(self, owner: nn.Module) -> list[Tensor]:
        return [*owner.parameters(), *(owner.get_buffer(name) for name in self._statistics)]

    @property
    def _ready(self) -> bool:
        return self._average is not None and self.n_averaged is not None and int(self.n_averaged) > 0

    def _forget(self, trainer: Trainer) -> None:
        super()._forget(trainer)
        self._reset()
        self._scheduler, self._extra_epoch = None, False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks what it needs, and goes on with a run that was averaging.

        Raises:
            MisconfigurationException: If the run is none that it can average.
        """
        fit = trainer.fit_loop
        self._max_epochs = fit.max_epochs
        options.check_run(self._swa_epoch_start, self._max_epochs, trainer)
        if self.n_averaged is not None:  # an earlier run's
            self._put_scheduler_in_place(trainer)
            assert self._average is not None
            self._average.to(self._place(pl_module))
        ends = self._max_epochs not in (None, -1)
        if ends and self.swa_start <= self.swa_end and self.pl_module_contains_batch_norm(pl_module):
            assert fit.max_epochs is not None
            fit.max_epochs += 1
            self._extra_epoch = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on in an epoch that an earlier run began."""
        epoch, phase = trainer.current_epoch, trainer.progress.phase
        if self._is_extra(epoch) and phase != "between":
            self._begin_extra(trainer)
            self._restart_statistics(pl_module, keep=True)
        elif not self._is_extra(epoch):
            super().on_train_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the weights into the average, where it is time."""
        epoch = trainer.current_epoch
        if self._is_extra(epoch):
            if self._ready:
                self._put_in(trainer, pl_module)
                self._current = None
            self._begin_extra(trainer)
            self._restart_statistics(pl_module)
        elif self._is_averaged(epoch) and epoch > self._latest_update_epoch:
            if self.n_averaged is None:
                self._begin(trainer, pl_module)
            self._take_in(pl_module)
            self._latest_update_epoch = epoch

    def _is_extra(self, epoch: int) -> bool:
        return self._extra_epoch and epoch == self.swa_end + 1

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        self._make_average(module)
        self.n_averaged = torch.tensor(0, dtype=torch.long, device=self._place(module))
        previous = [type(config.scheduler).__name__ for config in trainer.lr_scheduler_configs]
        if previous:
            rank_zero_info(f"`SWALR` takes the place of the scheduler `{previous[0]}`.")
        self._put_scheduler_in_place(trainer)
        trainer.fit_loop.plan_rates()

    def _make_average(self, module: nn.Module) -> None:
        self._statistics = [
            f"{path}.{name}" if path else name
            for path, layer in module.named_modules()
            if isinstance(layer, _BatchNorm)
            for name, value in layer.named_buffers(recurse=False)
            if value.is_floating_point()
        ]
        self._average = clone(module, self._place(module))
        widen(self._average)

    def _place(self, module: nn.Module) -> torch.device:
        if self._device is not None:
            return torch.device(self._device)
        return next(module.parameters()).device

    def _put_scheduler_in_place(self, trainer: Trainer) -> None:
        optimizer = trainer.optimizers[0]
        rates = options.rates_of(self._swa_lrs, optimizer)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["initial_lr"] = rate
        scheduler = SWALR(optimizer, rates, self._annealing_epochs, self._annealing_strategy)  # type: ignore[arg-type]
        self._scheduler = scheduler
        configs = trainer.lr_scheduler_configs
        if configs:
            configs[0] = LRSchedulerConfig(scheduler)
        else:
            configs.append(LRSchedulerConfig(scheduler))

    def _take_in(self, module: nn.Module) -> None:
        assert self._average is not None and self.n_averaged is not None
        if type(self).update_parameters is not StochasticWeightAveraging.update_parameters:
            count = self.n_averaged.clone()
            self.update_parameters(self._average, module, self.n_averaged, self._avg_fn)  # type: ignore[arg-type]
            for name in self._statistics:
                _take_in(self._average.get_buffer(name), module.get_buffer(name), count, self._avg_fn)
            return
        for average, tensor in zip(self._tensors(self._average), self._tensors(module), strict=True):
            _take_in(average, tensor, self.n_averaged, self._avg_fn)
        self.n_averaged += 1

    # The epoch of forward passes, for the statistics of batch-norm layers.

    def _begin_extra(self, trainer: Trainer) -> None:
        trainer.fit_loop.forward_only = True
        plan = trainer.fit_loop.validation_plan
        if plan.every_n_epoch is not None:
            plan.every_n_epoch = 1  # the final model is validated
        self._ended = True  # the model has the average, for good

    def _restart_statistics(self, module: nn.Module, keep: bool = False) -> None:
        self.momenta = {layer: layer.momentum for layer in module.modules() if isinstance(layer, _BatchNorm)}
        for layer in self.momenta:
            layer.momentum = None  # the mean over all batches
            if not keep:
                layer.reset_running_stats()

    def reset_batch_norm_and_save_state(self, pl_module: LightningModule) -> None:
        """Lets batch-norm layers compute their statistics anew, as the mean over all batches to come."""
        self._restart_statistics(pl_module)

    def reset_momenta(self) -> None:
        """Lets batch-norm layers follow their batches again, as they did before."""
        for layer, momentum in self.momenta.items():
            layer.momentum = momentum

    def _end_extra(self, trainer: Trainer) -> None:
        self.reset_momenta()
        self.momenta = {}
        trainer.fit_loop.forward_only = False
        if self._extra_epoch:
            trainer.fit_loop.max_epochs = self._max_epochs
            self._extra_epoch = False

    def on_train_epoch_end(self, trainer: Trainer, *args: Any) -> None:
        """Nothing; it is there for those who call it."""

    def listens_to(self, event: str) -> bool:
        """Not to the end of epochs."""
        return event != "on_train_epoch_end" or type(self).on_train_epoch_end is not _NOTHING

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the average in the model."""
        if self._is_extra(trainer.current_epoch - 1):  # an earlier run had done all but this
            self._ended = True
        super().on_train_end(trainer, pl_module)
        self._end_extra(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Puts everything back that lasts no longer than a run."""
        super().on_exception(trainer, pl_module, exception)
        if trainer.state.fn == TrainerFn.FITTING and self._max_epochs is not None:
            self._end_extra(trainer)

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        """How far averaging has come; the average itself lies in the checkpoint's ``"state_dict"``."""
        scheduler = self._scheduler
        return {
            "n_averaged": 0 if self.n_averaged is None else int(self.n_averaged),
            "latest_update_epoch": self._latest_update_epoch,
            "scheduler_state": None if scheduler is None else scheduler.state_dict(),
            "average_model_state": None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self._latest_update_epoch = state_dict["latest_update_epoch"]
        if state_dict["n_averaged"] and self._average is not None:
            self.n_averaged = torch.tensor(state_dict["n_averaged"], dtype=torch.long)
            if state_dict.get("average_model_state"):  # Lightning keeps it here
                self._load_averages(self._average, state_dict["average_model_state"])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Gives the model the weights that are trained, where training goes on."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self._make_average(pl_module)
        if CURRENT in checkpoint:
            self._load_averages(self._average, checkpoint["state_dict"])  # type: ignore[arg-type]
            pl_module.load_state_dict(checkpoint[CURRENT], strict=pl_module.strict_loading)

    # Helpers that others use.

    @staticmethod
    def transfer_weights(src_pl_module: LightningModule, dst_pl_module: LightningModule) -> None:
        """Copies the parameters of one module to another."""
        with torch.no_grad():
            for source, target in zip(src_pl_module.parameters(), dst_pl_module.parameters(), strict=True):
                target.copy_(source)

    @staticmethod
    def update_parameters(
        average_model: LightningModule, model: LightningModule, n_averaged: Tensor, avg_fn: _AVG_FN
    ) -> None:
        """Takes the parameters of a model into an average, and counts it.

        Args:
            average_model: The average.
            model: The model.
            n_averaged: How many are in it; 0 to begin.
            avg_fn: Makes the new average of the average, the weight and their number.
        """
        for average, parameter in zip(average_model.parameters(), model.parameters(), strict=True):
            _take_in(average, parameter, n_averaged, avg_fn)
        n_averaged += 1

    @staticmethod
    def avg_fn(averaged_model_parameter: Tensor, model_parameter: Tensor, num_averaged: Tensor) -> Tensor:
        """The mean: the average of one weight more."""
        return averaged_model_parameter + (model_parameter - averaged_model_parameter) / (num_averaged + 1)


_NOTHING = StochasticWeightAveraging.on_train_epoch_end


@torch.no_grad()
def _take_in(average: Tensor, tensor: Tensor, count: Tensor, avg_fn: _AVG_FN) -> None:
    value = tensor.detach().to(average.device)
    average.copy_(value if count == 0 else avg_fn(average.detach(), value, count.to(average.device)))


__all__ = ["StochasticWeightAveraging"]
