from __future__ import annotations

import pytest
import torch
from torch import nn

from fulmen.strategies.layer_sync import BatchNormXd, LayerSync, TorchSyncBatchNorm


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, eps=0.1, affine=False), nn.Sequential(nn.BatchNorm1d(3)), nn.ReLU()
    )


def test_layers_are_replaced_and_put_back() -> None:
    model, sync = net(), TorchSyncBatchNorm()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weight = model[2][0].weight
    assert sync.apply(model) is model
    assert isinstance(model[1], nn.SyncBatchNorm) and isinstance(model[2][0], nn.SyncBatchNorm)
    assert sync.revert(model) is model
    assert [type(layer) for layer in (model[1], model[2][0])] == [nn.BatchNorm2d, nn.BatchNorm1d]
    assert (model[1].eps, model[1].affine) == (0.1, False)
    assert model[2][0].weight is weight  # an optimizer that holds it goes on
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_modes_stay() -> None:
    model = net().eval()
    model[1].train()
    TorchSyncBatchNorm().revert(TorchSyncBatchNorm().apply(model))
    assert model[1].training and not model[2][0].training


def test_a_layer_by_itself() -> None:
    synced = TorchSyncBatchNorm().apply(nn.BatchNorm2d(2))
    assert isinstance(synced, nn.SyncBatchNorm)
    assert isinstance(TorchSyncBatchNorm().revert(synced), nn.BatchNorm2d)


def test_a_layer_of_which_nothing_is_known() -> None:
    reverted = TorchSyncBatchNorm().revert(nn.SyncBatchNorm(2))
    assert isinstance(reverted, BatchNormXd)
    for shape in ((3, 2), (3, 2, 4), (3, 2, 4, 4), (3, 2, 4, 4, 4)):
        assert reverted(torch.randn(shape)).shape == shape


def test_what_has_no_such_layer_stays() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    assert TorchSyncBatchNorm().revert(TorchSyncBatchNorm().apply(model)) is model


def test_both_methods_have_to_be_written() -> None:
    with pytest.raises(TypeError, match="apply"):
        LayerSync()  # type: ignore[abstract]
