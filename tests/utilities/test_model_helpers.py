from __future__ import annotations

import functools
from typing import Any

import pytest
from torch import nn

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.model_helpers import get_torchvision_model, is_overridden


class Module(LightningModule):
    def training_step(self, batch: Any, batch_idx: int) -> None: ...


class Data(LightningDataModule):
    def setup(self, stage: str) -> None: ...


class Listener(Callback):
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "instance", "parent", "expected"),
    [
        ("training_step", Module(), None, True),
        ("validation_step", Module(), None, False),
        ("nothing", Module(), None, False),
        ("setup", Data(), None, True),
        ("teardown", Data(), None, False),
        ("on_fit_start", Listener(), None, True),
        ("on_fit_end", Listener(), None, False),
        ("training_step", None, None, False),
        ("forward", nn.Linear(1, 1), nn.Module, True),
        ("forward", nn.Module(), nn.Module, False),
    ],
)
def test_overrides(name: str, instance: Any, parent: Any, expected: bool) -> None:
    assert is_overridden(name, instance, parent) is expected


def test_an_override_of_the_instance() -> None:
    module: Any = Module()
    module.validation_step = functools.partial(module.training_step)
    assert is_overridden("validation_step", module)


def test_an_object_without_a_parent() -> None:
    with pytest.raises(MisconfigurationException, match="Pass `parent=`"):
        is_overridden("forward", object())


def test_models_of_torchvision_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install fulmen\[vision\]"):
        get_torchvision_model("resnet18")
