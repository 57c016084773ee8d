"""Averages of the weights over the steps of training."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from fulmen.callbacks.averaging import CURRENT, Averaging, skeleton, widen
from fulmen.callbacks.averaging_options import check_device, check_ema
from fulmen.utilities.exceptions import MisconfiguredType
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

_OPTIONS = [name for name in inspect.signature(AveragedModel.__init__).parameters if name.endswith("avg_fn")]


class WeightAveraging(Averaging):
    """Keeps an average of the weights, validates with it, saves it and leaves it in the model after training.

    Override :meth:`should_update` to say when the average takes in the weights; by default it is after every optimizer
    step. Checkpoints hold the average under ``"state_dict"``, so that ``load_from_checkpoint`` gives it, and the
    weights with which training goes on under ``"current_model_state"``. Until the average has taken in weights for the
    first time, validation and checkpoints use those that are trained; a run that ends before leaves them in the model,
    with a warning.

    Args:
        device: Where the average lies; None for the model's device.
        use_buffers: Whether buffers are averaged, too; if not, the average has those of the model.
        **kwargs: ``avg_fn`` or ``multi_avg_fn`` of ``torch.optim.swa_utils.AveragedModel``: how weights are taken in.
            The default is the mean of all of them.

    Raises:
        MisconfigurationException: If it gets another argument, or one of another kind.

    Example:
        >>> class LastHalf(WeightAveraging):
        ...     def should_update(self, step_idx=None, epoch_idx=None):
        ...         return step_idx is not None and step_idx >= 500
    """

    def __init__(self, device: torch.device | str | int | None = None, use_buffers: bool = True, **kwargs: Any) -> None:
        super().__init__()
        unknown = sorted(set(kwargs) - set(_OPTIONS))
        if unknown or len(kwargs) > 1:
            raise MisconfiguredType(
                f"`{type(self).__name__}` takes one function that averages.",
                got=", ".join(unknown or kwargs),
                fix=f"Pass one of {' and '.join(f'`{name}`' for name in _OPTIONS)} as `AveragedModel` of "
                "`torch.optim.swa_utils` takes it, or none for the mean.",
            )
        check_device(device)
        self._device = device
        self._use_buffers = use_buffers
        self._kwargs = kwargs
        self._average_model: AveragedModel | None = None
        self._latest_update_step = 0
        self._latest_update_epoch = -1

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether the average takes in the weights now.

        It is asked after an optimizer step, and at the end of an epoch.

        Args:
            step_idx: The number of the optimizer step that was made, from 0; None at the end of an epoch.
            epoch_idx: The number of the epoch that ends, from 0; None after a step.
        """
        return step_idx is not None

    def listens_to(self, event: str) -> bool:
        """Not to the end of an epoch, where it is known that nothing is done there."""
        return event != "on_train_epoch_end" or self._own("should_update", "on_train_epoch_end")

    def _own(self, *names: str) -> bool:
        """Whether a class of the user's replaces methods of these classes."""
        return any(getattr(type(self), name).__module__ != __name__ for name in names)

    def _tensors(self, owner: nn.Module) -> list[Tensor]:
        return [*owner.parameters(), *owner.buffers()]

    @property
    def _ready(self) -> bool:
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    def _forget(self, trainer: Trainer) -> None:
        super()._forget(trainer)
        self._average_model = None
        self._latest_update_step, self._latest_update_epoch = trainer.global_step, -1

    def _begin(self, module: nn.Module) -> AveragedModel:
        """The average, which begins with the model's weights."""
        if self._average_model is None:
            options = {**self._kwargs, "device": self._device, "use_buffers": self._use_buffers}
            self._average_model = AveragedModel(skeleton(module), **options)
            self._average = self._average_model.module
            widen(self._average)
        return self._average_model

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the average, on its device."""
        average = self._begin(pl_module)
        if self._device is None:
            average.to(trainer.strategy.root_device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes in the weights after an optimizer step, if it is time."""
        steps = trainer.global_step
        if steps > self._latest_update_step and self.should_update(step_idx=steps - 1):
            trainer.fit_loop.share_buffers()  # rank 0 may have no batch
            self._begin(pl_module).update_parameters(pl_module)
            self._latest_update_step = steps

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes in the weights at the end of an epoch, if it is time."""
        epoch = trainer.current_epoch
        if epoch > self._latest_update_epoch and self.should_update(epoch_idx=epoch):
            self._begin(pl_module).update_parameters(pl_module)
            self._latest_update_epoch = epoch

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the average in the model, or says that there is none."""
        if not self._ready and not self._ended and not trainer.fast_dev_run:
            rank_zero_warn(
                f"The average of `{type(self).__name__}` never began: in {trainer.global_step} steps it took in no "
                "weights, so the model keeps those that were trained. See when `should_update` says yes, and that "
                "`update_starting_at_step` is below the number of steps."
            )
        super().on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """When weights were taken in last."""
        return {
            "latest_update_step": self._latest_update_step,
            "latest_update_epoch": self._latest_update_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self._latest_update_step = state_dict["latest_update_step"]
        self._latest_update_epoch = state_dict.get("latest_update_epoch", -1)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Saves the average as the model's weights, and beside it those that are trained."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if CURRENT in checkpoint and self._average_model is not None:
            state = self._average_model.state_dict()
            checkpoint["averaging_state"] = {
                name: value for name, value in state.items() if not name.startswith("module.")
            }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Gives the model the weights that are trained, where training goes on."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        average = self._begin(pl_module)
        if CURRENT not in checkpoint or "averaging_state" not in checkpoint:
            if self.state_key not in checkpoint.get("callbacks", {}):  # else the average had not begun
                rank_zero_info(
                    "The checkpoint holds no average of the weights: averaging begins with the weights in it."
                )
            return
        self._load_averages(average.module, checkpoint["state_dict"])
        average.load_state_dict(checkpoint["averaging_state"], strict=False)
        pl_module.load_state_dict(checkpoint[CURRENT], strict=pl_module.strict_loading)


class EMAWeightAveraging(WeightAveraging):
    """Keeps an exponential moving average of the weights; see :class:`WeightAveraging`.

    Args:
        device: Where the average lies; None for the model's device.
        use_buffers: Whether buffers are averaged, too; if not, the average has those of the model.
        decay: The part of the average that stays at each update.
        update_every_n_steps: Takes in the weights after optimizer steps whose number, counted from 0, this divides; 0
            for none.
        update_starting_at_step: The first step that counts; None for all.
        update_starting_at_epoch: From this epoch on weights are taken in at the end of each epoch, too; None for none.
        **kwargs: None: a function that averages goes to :class:`WeightAveraging`.

    Raises:
        MisconfigurationException: If an argument is of another kind.
    """

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_ema(decay, update_every_n_steps, update_starting_at_step, update_starting_at_epoch, kwargs)
        super().__init__(device, use_buffers, avg_fn=_Ema(decay))
        self.update_every_n_steps = update_every_n_steps
        self.update_starting_at_step = update_starting_at_step
        self.update_starting_at_epoch = update_starting_at_epoch

    def listens_to(self, event: str) -> bool:
        """To the end of epochs only where they count."""
        return super().listens_to(event) or self.update_starting_at_epoch is not None

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether the average takes in the weights now; see :meth:`WeightAveraging.should_update`."""
        if step_idx is not None:
            begun = self.update_starting_at_step is None or step_idx >= self.update_starting_at_step
            every = self.update_every_n_steps
            if begun and every > 0 and step_idx % every == 0:
                return True
        first = self.update_starting_at_epoch
        return epoch_idx is not None and first is not None and epoch_idx >= first


__all__ = ["EMAWeightAveraging", "WeightAveraging"]


class _Ema:
    """What `get_ema_avg_fn` gives, in a form that goes to other processes."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average = get_ema_avg_fn(decay)

    def __call__(self, averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        average: Tensor = self._average(averaged, current, count)
        return average

    def __reduce__(self) -> tuple[Any, ...]:
        return _Ema, (self.decay,)
