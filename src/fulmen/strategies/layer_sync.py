"""Layers whose statistics are those of the batches of all processes together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fulmen.utilities.exceptions import MisconfiguredRun


class LayerSync(ABC):
    """Makes layers of a model agree over processes: subclass it for layers of your own."""

    @abstractmethod
    def apply(self, model: nn.Module) -> nn.Module:
        """Replaces layers by ones that agree over processes; returns the model."""

    @abstractmethod
    def revert(self, model: nn.Module) -> nn.Module:
        """Replaces them by ordinary layers again; returns the model."""


class TorchSyncBatchNorm(LayerSync):
    """Batch normalization over the batches of all processes, with ``torch.nn.SyncBatchNorm``.

    Example:
        >>> sync = TorchSyncBatchNorm()
        >>> synced = sync.apply(nn.Sequential(nn.BatchNorm2d(3)))
        >>> type(synced[0]).__name__, type(sync.revert(synced)[0]).__name__
        ('SyncBatchNorm', 'BatchNorm2d')
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replaces all batch normalization by synchronized one.

        Args:
            model: The model; changed in place, but for one that is a layer itself.

        Returns:
            The model.
        """
        kinds = {name: type(layer) for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        for name, layer in synced.named_modules():
            if name in kinds and kinds[name] is not nn.SyncBatchNorm:
                layer.__dict__["_was"] = kinds[name]
        return synced

    def revert(self, model: nn.Module) -> nn.Module:
        """Replaces synchronized batch normalization by what it was, or by one for any number of dimensions.

        Args:
            model: The model; changed in place, but for one that is a layer itself.

        Returns:
            The model.
        """
        if isinstance(model, nn.SyncBatchNorm):
            return _ordinary(model)
        for name, child in list(model.named_children()):
            setattr(model, name, self.revert(child))
        return model


class BatchNormXd(_BatchNorm):
    """Batch normalization of inputs with any number of dimensions."""

    def _check_input_dim(self, input: Tensor) -> None:
        return


def _ordinary(layer: nn.SyncBatchNorm) -> nn.Module:
    kind: Any = layer.__dict__.get("_was", BatchNormXd)
    made: nn.Module = kind(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    made._parameters.update(layer._parameters)  # the very tensors, which optimizers hold
    made._buffers.update(layer._buffers)
    return made.train(layer.training)


def check_device(model: nn.Module, device: torch.device) -> None:
    """Complains of layers that PyTorch has for other devices alone.

    Args:
        model: The model that is to be trained.
        device: Where.

    Raises:
        MisconfigurationException: If it has synchronized batch normalization, on the CPU.
    """
    found = [name for name, layer in model.named_modules() if isinstance(layer, nn.SyncBatchNorm)]
    if found and device.type in ("cpu", "mps"):
        raise MisconfiguredRun(
            "PyTorch has batch normalization over several processes for GPUs alone.",
            got=f"`{found[0]}`{f' and {len(found) - 1} more' if found[1:] else ''} on {device}",
            fix="On the CPU leave `Trainer(sync_batchnorm=True)` and `nn.SyncBatchNorm` away: batches are normalized "
            "by each process's own statistics; or normalize without batches, as with `nn.GroupNorm`.",
        )
