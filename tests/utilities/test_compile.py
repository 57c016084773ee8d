from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fulmen.demos.boring_classes import BoringModel
from fulmen.utilities.compile import from_compiled, to_uncompiled
from fulmen.utilities.exceptions import MisconfigurationException


class Steps(BoringModel):
    """Says which functions were compiled, by way of a compiler that compiles nothing."""

    validation_step = test_step = BoringModel.__mro__[1].validation_step  # type: ignore[attr-defined, assignment]


def compiled(module: nn.Module) -> Any:
    return torch.compile(module, backend="eager")


def test_there_and_back() -> None:
    module = BoringModel()
    x = torch.randn(3, 32)
    expected = module(x)
    assert from_compiled(compiled(module)) is module
    assert "forward" in vars(module) and "training_step" in vars(module)
    assert torch.allclose(module(x), expected)
    assert module._compiler_ctx["compiler"] == "dynamo"
    assert to_uncompiled(module) is module
    assert "forward" not in vars(module) and "training_step" not in vars(module) and module._compiler_ctx is None
    assert torch.equal(module(x), expected)


def test_what_torch_returned_goes_back_too() -> None:
    module = BoringModel()
    assert to_uncompiled(compiled(module)) is module


def test_steps_that_are_not_there_are_not_made() -> None:
    """A step that is the base's own would look like an override if it were replaced."""
    module = from_compiled(compiled(Steps()))
    assert "validation_step" not in vars(module) and "predict_step" not in vars(module)


def test_a_step_of_the_instance_is_kept() -> None:
    module: Any = BoringModel()

    def own(batch: Any, batch_idx: int) -> None: ...

    module.training_step = own
    assert to_uncompiled(from_compiled(compiled(module))).training_step is own


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_compiled(BoringModel()), r"from_compiled\(torch.compile\(module\)\)"),
        (lambda: from_compiled(5), r"from_compiled\(torch.compile\(module\)\)"),
        (lambda: from_compiled(compiled(nn.Linear(1, 1))), "Compile the LightningModule"),
        (lambda: to_uncompiled(BoringModel()), "Use the module itself"),
        (lambda: to_uncompiled(nn.Linear(1, 1)), "or `from_compiled` returned"),
    ],
)
def test_what_is_not_compiled(call: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        call()
