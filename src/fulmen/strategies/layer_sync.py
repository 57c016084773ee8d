"""Layers whose statistics are those of the batches of all processes together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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
