"""A window of batches gives the gradient of one big batch, whatever its length and however uneven its batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import fulmen as pl

WIDTH = 4
KINDS = ["items", "tensors", "stream", "promises more"]


@dataclass(frozen=True)
class Plan:
    """One epoch: how many samples each batch has, what it weighs, and which batches are skipped."""

    sizes: list[int]
    window: int
    weights: Sequence[float] | None = None
    skipped: frozenset[int] = frozenset()
    clip: tuple[float, str] | None = None

    def weight(self, index: int) -> float:
        if self.window == 1:  # a batch that is its own window is weighed against nothing
            return 1.0
        return self.sizes[index] if self.weights is None else self.weights[index]

    @property
    def windows(self) -> list[list[int]]:
        """The batches of each window that have a loss."""
        every = range(len(self.sizes))
        cuts = [every[start : start + self.window] for start in range(0, len(self.sizes), self.window)]
        return [[index for index in cut if index not in self.skipped] for cut in cuts]


@dataclass
class Step:
    """The weights before and after an update."""

    before: Tensor
    after: Tensor


class Curved(pl.LightningModule):
    """A loss that is no straight line, so that the gradient depends on where it is taken.

    With ``SGD(lr=1)`` the change of the weights is the gradient that was used.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.weight = torch.nn.Parameter(torch.linspace(-0.2, 0.3, WIDTH))
        self.stepped_at: list[Tensor] = []

    @property
    def steps(self) -> list[Step]:
        after = [*self.stepped_at[1:], self.weight.detach()]
        return [Step(*pair) for pair in zip(self.stepped_at, after)]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx in self.plan.skipped:
            return None
        loss = loss_of(self.weight, batch[0])
        if self.plan.weights is None:
            return loss
        weight = self.plan.weights[batch_idx]
        empty = weight == 0 and self.plan.window > 1  # a mean over nothing is NaN
        return {"loss": loss * torch.nan if empty else loss, "loss_weight": weight}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.stepped_at.append(self.weight.detach().clone())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Validated(Curved):
    """It is validated, also in the middle of windows."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("value", loss_of(self.weight, batch[0]))


def loss_of(weight: Tensor, samples: Tensor) -> Tensor:
    return torch.nn.functional.softplus(samples @ weight).mean()


def samples_for(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    return 1.0 + torch.randn(64, WIDTH, generator=generator, dtype=torch.float64)[:count]


class Rows(Dataset[Any]):
    """The same samples, read one by one."""

    def __init__(self, samples: Tensor) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor]:
        return (self.samples[index],)


class PromisesMore:
    """A loader that ends earlier than its length says."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches) + 3

    def __iter__(self) -> Iterator[Any]:
        return ((batch,) for batch in self.batches)


class Stream(IterableDataset[Any]):
    """The batches of a plan, one after the other, without a length."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter([(batch,) for batch in self.batches])


def batches_of(plan: Plan) -> list[Tensor]:
    return list(samples_for(sum(plan.sizes)).split(plan.sizes))


def loader_of(plan: Plan, kind: str) -> Any:
    samples = samples_for(sum(plan.sizes))
    if kind == "stream":
        return DataLoader(Stream(batches_of(plan)), batch_size=None)
    if kind == "promises more":
        return PromisesMore(batches_of(plan))
    data: Any = TensorDataset(samples) if kind == "tensors" else Rows(samples)
    indices = [part.tolist() for part in torch.arange(len(samples)).split(plan.sizes)]
    return DataLoader(data, batch_sampler=indices)


def train(module: pl.LightningModule, plan: Plan, loader: Any, validation: Any = None, **flags: Any) -> pl.Trainer:
    value, algorithm = plan.clip or (None, None)
    trainer = pl.Trainer(
        accelerator="cpu",
        precision="64-true",
        accumulate_grad_batches=plan.window,
        gradient_clip_val=value,
        gradient_clip_algorithm=algorithm,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 1, **flags},
    )
    trainer.fit(module, loader, validation)
    return trainer


def whole_gradient(plan: Plan, window: list[int], weight: Tensor) -> Tensor:
    """The gradient of the window's samples, or tokens, as one batch, clipped as the plan says."""
    parameter = weight.clone().requires_grad_()
    batches = batches_of(plan)
    if plan.weights is None:
        loss = loss_of(parameter, torch.cat([batches[index] for index in window]))
    else:
        total = sum(plan.weight(index) for index in window)
        parts = [loss_of(parameter, batches[index]) * (plan.weight(index) / total) for index in window]
        loss = torch.stack(parts).sum()
    loss.backward()
    if plan.clip is not None:
        value, algorithm = plan.clip
        clip = torch.nn.utils.clip_grad_norm_ if algorithm == "norm" else torch.nn.utils.clip_grad_value_
        clip([parameter], value)
    assert parameter.grad is not None
    return parameter.grad


def ratio(applied: Tensor, expected: Tensor) -> float:
    return float(applied @ expected / (expected @ expected))


def check(module: Curved, plan: Plan) -> None:
    assert len(module.steps) == len(plan.windows)
    for window, step in zip(plan.windows, module.steps):
        applied = step.before - step.after
        if not window or not sum(plan.weight(index) for index in window):
            assert not applied.any(), "a window of skipped or weightless batches moved the weights"
            continue
        expected = whole_gradient(plan, window, step.before)
        assert ratio(applied, expected) == pytest.approx(1.0, abs=1e-6)
        torch.testing.assert_close(applied, expected, rtol=1e-6, atol=1e-12)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 9))
    size, rest = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    usual = st.just([size] * (count - 1) + [min(rest, size)])  # what a loader gives: the last batch may be shorter
    sizes = draw(usual | st.lists(st.integers(1, 5), min_size=count, max_size=count))
    weights = draw(
        st.none()
        | st.lists(st.integers(0, 9), min_size=count, max_size=count)
        | st.lists(st.floats(0.01, 100.0), min_size=count, max_size=count)
    )
    return Plan(
        sizes,
        window=draw(st.integers(1, 5)),
        weights=weights,
        skipped=frozenset(draw(st.lists(st.integers(0, count - 1), max_size=3))),
        clip=draw(st.sampled_from([None, None, (0.3, "norm"), (50.0, "norm"), (0.2, "value")])),
    )


@given(plan=plans(), kind=st.sampled_from(KINDS), validate_every=st.sampled_from([0, 1, 2]))
@example(plan=Plan([3, 3, 3], window=2), kind="tensors", validate_every=0)
@example(plan=Plan([3, 3, 3], window=2), kind="promises more", validate_every=0)
@example(plan=Plan([3, 3, 3, 1], window=4, clip=(0.1, "norm")), kind="items", validate_every=0)
@example(plan=Plan([2, 2, 2], window=3, weights=[0, 5, 1]), kind="items", validate_every=0)
@example(plan=Plan([2, 2, 2], window=2, skipped=frozenset([0, 2])), kind="items", validate_every=1)
@pytest.mark.filterwarnings("ignore:.*returned None.*", "ignore:The training loader has a length of")
def test_every_window_gives_the_gradient_of_one_big_batch(plan: Plan, kind: str, validate_every: int) -> None:
    if validate_every:
        module: Curved = Validated(plan)
        flags = {"val_check_interval": min(validate_every, len(plan.sizes))}
        train(module, plan, loader_of(plan, kind), loader_of(plan, "tensors"), **flags)
    else:
        module = Curved(plan)
        train(module, plan, loader_of(plan, kind))
    check(module, plan)


@pytest.mark.parametrize("kind", ["items", "tensors"])
@pytest.mark.parametrize(("batches", "window"), [(3, 2), (5, 4), (1, 8), (11, 4)])
def test_the_flag_brings_the_shrunken_gradient_back(batches: int, window: int, kind: str) -> None:
    plan = Plan([2] * batches, window)
    module = Curved(plan)
    train(module, plan, loader_of(plan, kind), exact_accumulation=False)
    last = plan.windows[-1]
    applied = module.steps[-1].before - module.steps[-1].after
    share = len(last) / window
    assert ratio(applied, whole_gradient(plan, last, module.steps[-1].before)) == pytest.approx(share, abs=1e-6)


def test_half_a_window_gives_half_the_gradient_with_the_flag_alone() -> None:
    plan = Plan([2, 2], window=4)
    ratios = {}
    for exact in (True, False):
        module = Curved(plan)
        train(module, plan, loader_of(plan, "tensors"), exact_accumulation=exact)
        applied = module.steps[0].before - module.steps[0].after
        ratios[exact] = ratio(applied, whole_gradient(plan, [0, 1], module.steps[0].before))
    assert ratios == {True: pytest.approx(1.0, abs=1e-6), False: pytest.approx(0.5, abs=1e-6)}


def test_the_flag_leaves_weights_out_of_account() -> None:
    plan = Plan([1, 3], window=2, weights=[1, 9])
    module = Curved(plan)
    train(module, plan, loader_of(plan, "items"), exact_accumulation=False)
    halves = [whole_gradient(plan, [index], module.steps[0].before) for index in (0, 1)]
    torch.testing.assert_close(module.steps[0].before - module.steps[0].after, (halves[0] + halves[1]) / 2)


def test_each_epoch_opens_windows_anew() -> None:
    plan = Plan([2, 2, 2], window=2)
    module = Curved(plan)
    train(module, plan, loader_of(plan, "items"), max_epochs=3)
    assert len(module.steps) == 6
    for index, step in enumerate(module.steps):
        expected = whole_gradient(plan, plan.windows[index % 2], step.before)
        torch.testing.assert_close(step.before - step.after, expected)


@pytest.mark.parametrize("limit", [1, 3, 0.8])
def test_a_limit_that_cuts_a_window(limit: float) -> None:
    plan = Plan([2] * 5, window=2)
    module = Curved(plan)
    train(module, plan, loader_of(plan, "items"), limit_train_batches=limit)
    check(module, Plan([2] * int(5 * limit if isinstance(limit, float) else limit), window=2))


class StepsItself(Curved):
    """Its ``optimizer_step`` and ``backward`` are the user's."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        loss.backward(*args, **kwargs)


def test_overridden_steps_get_the_same_gradient() -> None:
    plan = Plan([3, 1, 2, 2, 4], window=3, clip=(0.3, "norm"))
    module = StepsItself(plan)
    train(module, plan, loader_of(plan, "items"))
    check(module, plan)


def test_windows_that_change_with_the_epoch() -> None:
    plan = Plan([2, 1, 3, 2], window=1)
    module = Curved(plan)
    callback = pl.callbacks.GradientAccumulationScheduler({0: 3, 1: 1, 2: 2})
    train(module, plan, loader_of(plan, "items"), max_epochs=3, callbacks=[callback])
    windows = [window for length in (3, 1, 2) for window in Plan(plan.sizes, length).windows]
    assert len(module.steps) == len(windows) == 8
    for window, step in zip(windows, module.steps):
        torch.testing.assert_close(step.before - step.after, whole_gradient(plan, window, step.before))


class Lists:
    """A loader of batches without any tensor."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return (batch.tolist() for batch in self.batches)


class ReadsLists(Curved):
    """Makes its tensors itself."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step((torch.tensor(batch, dtype=torch.float64),), batch_idx)


def test_batches_whose_size_cannot_be_told_count_alike() -> None:
    plan = Plan([2, 2, 2], window=2)
    module = ReadsLists(plan)
    train(module, plan, Lists(batches_of(plan)))
    check(module, plan)
