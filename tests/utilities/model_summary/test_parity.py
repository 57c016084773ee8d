"""The table is the one that Lightning shows."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from fulmen import LightningModule
from fulmen.utilities.model_summary.model_summary import summarize


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor log lines."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@pytest.fixture(scope="module")
def lightning() -> ModuleType:
    """PyTorch Lightning, the reference."""
    with quiet():
        module: ModuleType = pytest.importorskip("pytorch_lightning", reason="the reference of the parity tests")
    return module


def _summary_models(base: Any) -> dict[str, Any]:
    """Models whose table Fulmen shows just as Lightning does."""

    def make(example: Any = None, **layers: nn.Module | nn.Parameter) -> Any:
        class Model(base):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                for name, layer in layers.items():
                    setattr(self, name, layer)
                if example is not None:
                    self.example_input_array = example

            def forward(self, x: torch.Tensor) -> Any:
                for layer in self.children():
                    x = layer(x)
                return x

        return Model()

    frozen = nn.Linear(4, 5).requires_grad_(False)
    return {
        "empty": make(),
        "plain": make(a=nn.Linear(3, 4), b=nn.Sequential(frozen, nn.ReLU())),
        "own parameter": make(a=nn.Linear(3, 4), own=nn.Parameter(torch.zeros(7))),
        "evaluation": make(a=nn.Linear(3, 4).eval(), b=nn.Dropout()),
        "large": make(a=nn.Linear(3000, 4000), b=nn.Embedding(10, 3)),
        "lists": make(a=nn.ParameterList([torch.zeros(2)]), b=nn.ModuleList([nn.Linear(2, 2)])),
        "example": make(torch.zeros(2, 3), a=nn.Linear(3, 4), b=nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))),
        "images": make(torch.zeros(16, 3, 8, 8), c=nn.Conv2d(3, 8, 3), f=nn.Flatten(), l=nn.Linear(288, 10)),
    }  # fmt: skip


@pytest.mark.parametrize("depth", [0, 1, -1])
def test_the_tables_are_the_same(depth: int, lightning: ModuleType) -> None:
    theirs = importlib.import_module("pytorch_lightning.utilities.model_summary").summarize
    expected, actual = _summary_models(lightning.LightningModule), _summary_models(LightningModule)
    for name, model in expected.items():
        # At every depth Fulmen has a row for what is in no layer, Lightning only at the first two.
        if depth == -1 and name == "own parameter":
            continue
        with quiet():
            assert str(summarize(actual[name], max_depth=depth)) == str(theirs(model, max_depth=depth)), name
