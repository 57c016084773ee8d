from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fulmen.precision.amp import MixedPrecision
from fulmen.precision.double import DoublePrecision
from fulmen.precision.half import HalfPrecision
from fulmen.precision.precision import Precision
from fulmen.utilities.enums import GradClipAlgorithmType
from fulmen.utilities.exceptions import MisconfigurationException

CONTEXTS = ["train_step_context", "val_step_context", "test_step_context", "predict_step_context"]
ALL = [Precision(), DoublePrecision(), HalfPrecision(), HalfPrecision("bf16-true"), MixedPrecision("bf16-mixed", "cpu")]


def pair(scale: float):
    """Two models with the same gradients, each with an optimizer of two groups."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    model[1].bias.requires_grad = False
    twin = copy.deepcopy(model)
    data = torch.randn(6, 5) * scale
    for one in (model, twin):
        one(data).square().sum().backward()
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters()}]
    return torch.optim.SGD(groups, lr=0.1), model, twin


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.sampled_from(["norm", "value"]))
def test_clipping_is_pytorchs_bit_for_bit(scale, limit, algorithm):
    optimizer, model, twin = pair(scale)
    clip = {"norm": torch.nn.utils.clip_grad_norm_, "value": torch.nn.utils.clip_grad_value_}[algorithm]
    clip(twin.parameters(), limit)
    Precision().clip_gradients(optimizer, limit, GradClipAlgorithmType(algorithm))
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        assert mine.grad is None or torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize("limit", [None, 0, 0.0, -1.0])
def test_no_limit_clips_nothing(limit):
    optimizer, model, twin = pair(100.0)
    Precision().clip_gradients(optimizer, limit)
    assert torch.equal(model[0].weight.grad, twin[0].weight.grad)


def test_an_unknown_way_to_clip_is_an_error():
    optimizer, _, _ = pair(1.0)
    with pytest.raises(MisconfigurationException, match='gradient_clip_algorithm="norm"'):
        Precision().clip_gradients(optimizer, 1.0, "nrom")


def test_only_contexts_that_do_something_are_needed():
    class Unrelated(Precision):
        precision = "mine"

    class Own(Precision):
        def val_step_context(self):
            return nullcontext()

    assert not Precision().needs_context
    assert not Unrelated().needs_context
    assert Own().needs_context
    assert all(precision.needs_context for precision in ALL[1:])


@pytest.mark.parametrize("name", CONTEXTS)
def test_every_step_has_the_context_of_the_forward(name):
    entered = []

    class Own(Precision):
        def forward_context(self):
            entered.append(name)
            return super().forward_context()

    with getattr(Own(), name)():
        assert entered == [name]


@pytest.mark.parametrize("precision", ALL, ids=lambda precision: precision.precision)
@pytest.mark.parametrize("name", [*CONTEXTS, "forward_context", "module_init_context", "tensor_init_context"])
def test_contexts_restore_what_was_there_also_nested_and_after_an_error(precision, name):
    before = (torch.get_default_dtype(), torch.is_autocast_enabled("cpu"))
    with pytest.raises(KeyError), getattr(precision, name)(), getattr(precision, name)():
        raise KeyError
    assert (torch.get_default_dtype(), torch.is_autocast_enabled("cpu")) == before


def test_a_step_in_single_precision_is_the_plain_one():
    optimizer, model, twin = pair(1.0)
    other = torch.optim.SGD(twin.parameters(), lr=0.1)
    precision = Precision()
    loss = model(torch.ones(2, 5)).sum()
    assert precision.pre_backward(loss, model) is loss
    precision.backward(loss, model, optimizer)
    precision.post_backward(loss, model)
    precision.unscale_gradients(optimizer)
    precision.optimizer_step(optimizer, model, lambda: None)
    twin(torch.ones(2, 5)).sum().backward()
    other.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_backward_hands_its_arguments_on():
    weight = torch.ones(1, requires_grad=True)
    loss = (weight * 3).sum()
    Precision().backward(loss, None, None, retain_graph=True)
    Precision().backward(loss, None, None)
    assert weight.grad == 6


def test_a_closure_and_other_arguments_reach_the_optimizer():
    class Picky(torch.optim.SGD):
        def step(self, closure=None, extra=None):
            self.extra = extra
            return super().step(closure)

    weight = nn.Parameter(torch.ones(1))
    optimizer = Picky([weight], lr=1.0)

    def closure():
        optimizer.zero_grad()
        loss = (weight * 2).sum()
        loss.backward()
        return loss

    assert Precision().optimizer_step(optimizer, None, closure, extra=5) == 2.0
    assert (weight.item(), optimizer.extra) == (-1.0, 5)


def test_it_takes_and_gives_nothing_else():
    optimizer, model, _ = pair(1.0)
    precision = Precision()
    assert precision.connect(model, [optimizer], []) == (model, [optimizer], [])
    assert precision.convert_module(model) is model
    assert precision.convert_output(model) is precision.convert_input(model) is model
    assert precision.state_dict() == {}
    assert precision.scaler is None
    assert list(precision.main_params(optimizer)) == list(model.parameters())
