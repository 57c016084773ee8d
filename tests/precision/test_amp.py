from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fulmen.precision.amp import MixedPrecision
from fulmen.utilities.exceptions import MisconfigurationException


def scaling(scale: float = 2.0**10) -> MixedPrecision:
    """Float16 with a scaler, which the CPU can do too, if slowly."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))


def model_and_optimizer(**options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, **options)


def run_backward(precision, model, optimizer, factor=1.0):
    with precision.train_step_context():
        loss = model(torch.linspace(-1, 1, 12).reshape(2, 6)).float().sum() * factor
    precision.backward(precision.pre_backward(loss, model), model, optimizer)
    return loss


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 14), st.sampled_from([None, 0.01, 5.0]), st.sampled_from(["norm", "value"]), st.booleans())
def test_steps_are_those_of_a_loop_written_by_hand(exponent, limit, algorithm, unscale_first):
    precision = scaling(2.0**exponent)
    model, optimizer = model_and_optimizer()
    twin, other = model_and_optimizer()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**exponent)
    clip = {"norm": torch.nn.utils.clip_grad_norm_, "value": torch.nn.utils.clip_grad_value_}[algorithm]
    for _ in range(3):
        optimizer.zero_grad()
        run_backward(precision, model, optimizer)
        if unscale_first:
            precision.unscale_gradients(optimizer)
            precision.unscale_gradients(optimizer)
        precision.clip_gradients(optimizer, limit, algorithm)
        precision.optimizer_step(optimizer, model, lambda: None)

        other.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = twin(torch.linspace(-1, 1, 12).reshape(2, 6)).float().sum()
        scaler.scale(loss).backward()
        scaler.unscale_(other)
        if limit is not None:
            clip(twin.parameters(), limit)
        scaler.step(other)
        scaler.update()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert precision.state_dict() == scaler.state_dict()


def test_operations_are_cast_and_parameters_are_not():
    for name, dtype in (("16-mixed", torch.float16), ("bf16-mixed", torch.bfloat16)):
        precision = MixedPrecision(name, torch.device("cpu"))
        model, _ = model_and_optimizer()
        with precision.forward_context():
            assert model(torch.ones(1, 6)).dtype is dtype
            assert torch.zeros(1).dtype is torch.float32
        assert precision.convert_module(model)[0].weight.dtype is torch.float32
        assert precision.convert_input(torch.ones(1)).dtype is torch.float32


def test_a_weight_first_used_without_gradients_still_gets_one():
    precision = MixedPrecision("bf16-mixed", "cpu")
    layer = nn.Linear(2, 1)
    with precision.train_step_context():
        with torch.no_grad():
            layer(torch.ones(1, 2))
        loss = layer(torch.ones(1, 2)).sum()
    loss.backward()
    assert layer.weight.grad is not None


def test_unscaling_finds_what_was_done_from_outside():
    precision = scaling()
    model, optimizer = model_and_optimizer()
    run_backward(precision, model, optimizer)
    precision.scaler.unscale_(optimizer)
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    precision.unscale_gradients(optimizer)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), expected, strict=True))


def test_gradients_that_overflow_skip_the_step_and_lower_the_scale():
    precision = scaling()
    model, optimizer = model_and_optimizer()
    before = copy.deepcopy(model.state_dict())
    run_backward(precision, model, optimizer, factor=float("inf"))
    precision.clip_gradients(optimizer, 1.0)
    precision.optimizer_step(optimizer, model, lambda: None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert precision.scaler.get_scale() == 2.0**9


def test_a_closure_is_run_before_gradients_are_unscaled():
    precision = scaling()
    model, optimizer = model_and_optimizer()
    twin, other = model_and_optimizer()

    def closure():
        optimizer.zero_grad()
        return run_backward(precision, model, optimizer)

    loss = precision.optimizer_step(optimizer, model, closure)
    assert torch.equal(loss, run_backward(precision, twin, other))
    precision.optimizer_step(other, twin, lambda: None)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_a_closure_that_skips_its_batch_keeps_gradients_of_the_window():
    """The first batch of an accumulation window has gradients, the second returns no loss: the window counts."""
    precision = scaling()
    model, optimizer = model_and_optimizer()
    twin, other = model_and_optimizer()
    run_backward(precision, model, optimizer)
    assert precision.optimizer_step(optimizer, model, lambda: None) is None
    run_backward(precision, twin, other)
    precision.optimizer_step(other, twin, lambda: None)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_no_gradients_at_all_is_no_error():
    precision = scaling()
    model, optimizer = model_and_optimizer()
    before = precision.state_dict()
    precision.clip_gradients(optimizer, 1.0)
    precision.unscale_gradients(optimizer)
    assert precision.optimizer_step(optimizer, model, lambda: None) is None
    assert precision.state_dict() == before


def test_two_optimizers_step_each_in_its_turn():
    precision = scaling()
    model, _ = model_and_optimizer()
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (model[0], model[2])]
    for _ in range(2):
        for optimizer in optimizers:
            before = optimizer.param_groups[0]["params"][0].clone()
            model.zero_grad()
            run_backward(precision, model, optimizer)
            precision.optimizer_step(optimizer, model, lambda: None)
            assert not torch.equal(before, optimizer.param_groups[0]["params"][0])
    assert precision.scaler.get_scale() == 2.0**10


def test_an_optimizer_that_unscales_itself_steps_but_can_not_be_clipped():
    precision = scaling()
    model, _ = model_and_optimizer()
    fused = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    twin, plain = model_and_optimizer()
    plain.param_groups[0]["momentum"] = 0
    for one, optimizer in ((model, fused), (twin, plain)):
        run_backward(precision, one, optimizer)
        precision.unscale_gradients(optimizer)
        precision.optimizer_step(optimizer, one, lambda: None)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    precision.clip_gradients(fused, None)
    with pytest.raises(MisconfigurationException, match=r'`fused=False`.*precision="bf16-mixed"'):
        precision.clip_gradients(fused, 1.0)


def test_lbfgs_is_refused_where_losses_are_scaled():
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.LBFGS([weight])
    precision = scaling()
    with pytest.raises(MisconfigurationException, match='`precision="bf16-mixed"` or `precision="32-true"`'):
        precision.connect(nn.Linear(1, 1), [optimizer], [])
    with pytest.raises(MisconfigurationException, match="LBFGS"):
        precision.optimizer_step(optimizer, None, lambda: None)


def test_lbfgs_runs_where_they_are_not():
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.LBFGS([weight])
    precision = MixedPrecision("bf16-mixed", "cpu")
    assert precision.connect(nn.Linear(1, 1), [optimizer], ["schedule"])[2] == ["schedule"]

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert precision.optimizer_step(optimizer, None, closure) == 1.0
    assert abs(weight.item()) < 1.0


def test_without_a_scaler_nothing_is_scaled_or_saved():
    precision = MixedPrecision("bf16-mixed", "cpu")
    model, optimizer = model_and_optimizer()
    loss = model(torch.ones(1, 6)).sum()
    assert precision.pre_backward(loss, model) is loss
    precision.unscale_gradients(optimizer)
    precision.load_state_dict({"scale": 4.0})
    assert precision.state_dict() == {}
    assert precision.scaler is None


def test_the_scaler_goes_through_a_checkpoint():
    precision, other = scaling(4.0), scaling(64.0)
    other.load_state_dict(precision.state_dict())
    assert other.state_dict() == precision.state_dict()
    other.load_state_dict({})
    assert other.scaler.get_scale() == 4.0


def test_mistakes_when_it_is_made():
    with pytest.raises(MisconfigurationException, match=r"`MixedPrecision\(\"bf16-mixed\", 'cpu'\)`"):
        MixedPrecision("32-true", "cpu")
    with pytest.raises(MisconfigurationException, match='Leave `scaler` away, or use `"16-mixed"`'):
        MixedPrecision("bf16-mixed", "cpu", torch.amp.GradScaler("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
def test_float16_trains_on_cuda_and_waits_only_for_the_scaler():
    precision = MixedPrecision("16-mixed", "cuda")
    model = nn.Linear(6, 1, device="cuda")
    twin = copy.deepcopy(model)
    optimizer, other = (torch.optim.SGD(one.parameters(), lr=0.01) for one in (model, twin))
    scaler = torch.amp.GradScaler("cuda")
    data = torch.randn(8, 6, device="cuda")
    for _ in range(3):
        optimizer.zero_grad()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with precision.train_step_context():
                loss = model(data).square().mean()
            precision.backward(precision.pre_backward(loss, model), model, optimizer)
            precision.clip_gradients(optimizer, 0.5)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        precision.optimizer_step(optimizer, model, lambda: None)
        other.zero_grad()
        with torch.autocast("cuda", torch.float16):
            loss = twin(data).square().mean()
        scaler.scale(loss).backward()
        scaler.unscale_(other)
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        scaler.step(other)
        scaler.update()
    assert torch.equal(model.weight, twin.weight)
