"""What callbacks that average weights have in common: a second set of weights, and which of the two is in the model."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

CURRENT = "current_model_state"


def skeleton(module: nn.Module, memo: dict[int, nn.Module] | None = None) -> nn.Module:
    """A module with the parameters and buffers of another, under the same names and in the same order.

    They are the same tensors. All else stays behind: code, hooks, metrics and whatever else cannot be copied.

    Args:
        module: The other module.
        memo: Those that were made already, for modules that occur twice.
    """
    memo = {} if memo is None else memo
    if id(module) in memo:
        return memo[id(module)]
    twin = memo[id(module)] = nn.Module()
    twin._parameters.update(module._parameters)
    twin._buffers.update(module._buffers)
    twin._non_persistent_buffers_set.update(module._non_persistent_buffers_set)
    twin._modules.update((name, child and skeleton(child, memo)) for name, child in module._modules.items())
    return twin


def clone(module: nn.Module, device: torch.device) -> nn.Module:
    """A :func:`skeleton` with tensors of its own on a device."""
    return copy.deepcopy(skeleton(module)).to(device)


def widen(module: nn.Module) -> None:
    """Gives averages the digits that they need: in half precision a small step would change nothing."""
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.promote_types(tensor.dtype, torch.float32))


class Averaging(Callback):
    """Validates with averaged weights, and saves them as those of the model.

    A checkpoint holds the averages under ``"state_dict"``, so that they load without a Trainer, and the weights with
    which training goes on under ``"current_model_state"``. After training the model has the averages.
    """

    def __init__(self) -> None:
        self._average: nn.Module | None = None
        self._current: list[Tensor] | None = None  # the weights that are trained, while the averages are in the model
        self._ended = False

    # What a kind of average says.

    def _tensors(self, owner: nn.Module) -> list[Tensor]:
        """The averaged tensors of the model, or of the averages, in the same order."""
        raise NotImplementedError

    @property
    def _ready(self) -> bool:
        """Whether there are averages to be used."""
        return self._average is not None

    def _forget(self, trainer: Trainer) -> None:
        """Begins a new run."""
        self._average, self._current, self._ended = None, None, False

    # Which weights are in the model.

    def _put_in(self, trainer: Trainer, module: nn.Module) -> None:
        assert self._average is not None
        trainer.strategy.sync_buffers_of(self._average, 0)  # each process took in its own, and rank 0's are saved
        mine, averages = self._tensors(module), self._tensors(self._average)
        self._current = [tensor.detach().to(other.device, copy=True) for tensor, other in zip(mine, averages)]
        _copy(averages, mine)

    def _take_out(self, module: nn.Module) -> None:
        if self._current is not None:
            _copy(self._current, self._tensors(module))
            self._current = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins anew, where training does.

        Raises:
            MisconfigurationException: If several callbacks average the weights.
        """
        if stage != TrainerFn.FITTING:
            return
        kinds = [type(callback).__name__ for callback in trainer.callbacks if isinstance(callback, Averaging)]
        if len(kinds) > 1:
            raise MisconfigurationException(
                "One callback averages the weights: only one average can be validated and saved.",
                got=", ".join(kinds),
                fix="Leave one of them in `Trainer(callbacks=...)`.",
            )
        self._forget(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on with a validation that an earlier run left."""
        if trainer.progress.phase == "validation" and self._ready:
            self._put_in(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the averages into the model."""
        if trainer.state.fn == TrainerFn.FITTING and self._ready and not self._ended:
            self._put_in(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights that are trained back."""
        if trainer.state.fn == TrainerFn.FITTING and not self._ended:
            self._take_out(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the averages in the model."""
        if self._ready and not self._ended:
            self._put_in(trainer, pl_module)
        self._ended = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Does the same for a run in which nothing was left to train."""
        if not self._ended:
            self.on_train_end(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Puts the weights that are trained back, where a validation failed."""
        if trainer.state.fn == TrainerFn.FITTING and not self._ended and pl_module is not None:
            self._take_out(pl_module)

    # Checkpoints.

    def replace_weights(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Puts the averages into a checkpoint, in place of the weights that are trained."""
        weights = checkpoint["state_dict"]
        if self._average is not None and self._in_use(pl_module):
            checkpoint["state_dict"] = self._replaced(weights, self._average, self._tensors(self._average))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Saves both sets."""
        weights = checkpoint["state_dict"]
        if self._average is None or not self._in_use(pl_module):
            return
        self.replace_weights(trainer, pl_module, checkpoint)
        if self._current is not None:
            weights = self._replaced(weights, pl_module, self._tensors(pl_module), self._current)
        checkpoint[CURRENT] = weights

    def _in_use(self, module: nn.Module) -> bool:
        """Whether the averages are the model's still: after training, others may have been loaded into it."""
        if not self._ready:
            return False
        if not self._ended or self._average is None:
            return True
        pairs = zip(self._tensors(module), self._tensors(self._average))
        return all(torch.equal(mine, average.to(mine)) for mine, average in pairs)

    @staticmethod
    def _replaced(
        weights: dict[str, Any], owner: nn.Module, tensors: list[Tensor], values: list[Tensor] | None = None
    ) -> dict[str, Any]:
        """Weights with the given tensors of their owner, or with other values of these, under all their names."""
        chosen = {id(tensor): value for tensor, value in zip(tensors, tensors if values is None else values)}
        state = owner.state_dict(keep_vars=True) if values is None else _named(owner)
        new = {name: chosen[id(tensor)].detach() for name, tensor in state.items() if id(tensor) in chosen}
        return {name: new.get(name, value) for name, value in weights.items()}

    @torch.no_grad()
    def _load_averages(self, average: nn.Module, weights: dict[str, Any]) -> None:
        """Puts the weights of a checkpoint into the averages; names that they lack are the model's business."""
        for name, tensor in average.state_dict(keep_vars=True).items():
            if name in weights:
                tensor.copy_(weights[name])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lets go of the device."""
        if stage == TrainerFn.FITTING and self._average is not None:
            self._average.cpu()
            self._current = self._current and [tensor.cpu() for tensor in self._current]


def _named(owner: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under all their names, whatever hooks a `state_dict` has."""
    found = itertools.chain(owner.named_parameters(remove_duplicate=False), owner.named_buffers(remove_duplicate=False))
    return dict(found)


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for value, tensor in zip(source, target):
        tensor.copy_(value)
