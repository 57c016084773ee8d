"""Steps that are the user's, and several optimizers: on several processes as DDP by hand would do them."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn import Parameter
from torch.nn.parallel import DistributedDataParallel

from fulmen.strategies import DDPStrategy

from .training import BATCH, Net, by_hand, data, fit, weights

Together = Callable[..., Any]


def rank() -> int:
    return int(os.environ["RANK_IN_TEST"])


class Manual(Net):
    """Takes its steps itself, over two batches each."""

    def __init__(self, quiet: str = "") -> None:
        super().__init__()
        self.automatic_optimization = False
        self.quiet = quiet

    def hold(self) -> AbstractContextManager[Any]:
        if self.quiet == "strategy":
            return self.trainer.strategy.block_backward_sync()  # type: ignore[attr-defined, no-any-return]
        model = self.trainer.model
        assert isinstance(model, DistributedDataParallel)
        return model.no_sync() if self.quiet == "model" else nullcontext()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        closes = batch_idx % 2 == 1
        with nullcontext() if closes else self.hold():
            self.manual_backward(self.loss(batch) / 2)
        if closes:
            optimizer = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()


def manual(quiet: str) -> Any:
    return fit(Manual(quiet), data(16)), by_hand(Net(), data(16), accumulate=2)


@pytest.mark.parametrize("quiet", ["strategy", "model"])
def test_accumulation_by_hand(together: Together, quiet: str) -> None:
    results = together(2, manual, quiet)
    for ours, theirs in results:
        assert ours == theirs == results[0][0]


def test_gradients_that_are_brought_together_more_than_once(together: Together) -> None:
    """The same up to rounding as where it is held back."""
    results = together(2, manual, "")
    for ours, theirs in results:
        assert ours == results[0][0]
        for own, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(torch.tensor(own), torch.tensor(other), rtol=1e-9, atol=1e-12)


class Pair(Net):
    """A generator and a discriminator, as 1.x, manual or named optimization has them."""

    def parts(self) -> tuple[list[Parameter], list[Parameter]]:
        return [*self.first.parameters()], [*self.second.parameters(), *self.last.parameters()]

    def losses(self, batch: list[Tensor]) -> Iterator[Tensor]:
        yield self.loss(batch)
        yield (self(batch[0]) + batch[1]).abs().mean()

    def both(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(one, lr=0.01) for one in self.parts()]


class ManualPair(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return self.both()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        losses = self.losses(batch)
        for optimizer in self.optimizers():
            self.toggle_optimizer(optimizer)
            self.manual_backward(next(losses))
            optimizer.step()
            optimizer.zero_grad()
            self.untoggle_optimizer(optimizer)


class NamedPair(Pair):
    def configure_optimizers(self) -> Any:
        return dict(zip("ab", self.both(), strict=True))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        losses = self.losses(batch)
        for name in "ab":
            yield name, next(losses)


class IndexedPair(Pair):
    """As in Lightning 1.x."""

    def configure_optimizers(self) -> Any:
        return self.both(), []

    def training_step(self, batch: list[Tensor], batch_idx: int, optimizer_idx: int) -> Any:  # type: ignore[override]
        return list(self.losses(batch))[optimizer_idx]


def pair_by_hand() -> list[Any]:
    """With plain all-reduces, and no DDP."""
    net = Pair()
    size = torch.distributed.get_world_size()
    optimizers = net.both()
    dataset = data(16)
    for _ in range(2):
        for start in range(0, 16, size * BATCH):
            rows = torch.arange(start, start + size * BATCH).reshape(BATCH, size)[:, rank()]
            losses = net.losses([tensor[rows] for tensor in dataset.tensors])
            for optimizer, parameters in zip(optimizers, net.parts(), strict=True):
                gradients = torch.autograd.grad(next(losses), parameters)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient / size
                    torch.distributed.all_reduce(parameter.grad)
                optimizer.step()
    return weights(net)


def pair(kind: type[Pair]) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*1.x")
        return fit(kind(), data(16), shuffle=False), pair_by_hand()


@pytest.mark.parametrize("kind", [ManualPair, NamedPair, IndexedPair])
def test_two_optimizers(together: Together, kind: type[Pair]) -> None:
    results = together(2, pair, kind)
    for ours, theirs in results:
        assert ours == theirs == results[0][0]


class Choosy(NamedPair):
    """Each process has a loss for one of its two networks only, in turn."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        losses = self.losses(batch)
        return {"a": next(losses)} if (batch_idx + rank()) % 2 else {"b": next(losses)}


def choosy(accumulate: int) -> Any:
    return fit(Choosy(), data(32), accumulate_grad_batches=accumulate)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_loss_by_name_that_only_one_process_has(together: Together, accumulate: int) -> None:
    results = together(2, choosy, accumulate)
    assert results[0] == results[1]


class Disordered(NamedPair):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        for name in "ab" if rank() else "ba":
            yield name, self.loss(batch)


def disordered() -> str:
    try:
        fit(Disordered(), data(16))
    except RuntimeError as error:
        return str(error)
    return ""


def test_losses_that_are_yielded_in_another_order(together: Together) -> None:
    for text in together(2, disordered, fails=True):
        assert "rank 0: 'b'; rank 1: 'a'" in text
        assert "return the losses in a dict" in text


class SkippingPair(IndexedPair):
    def training_step(self, batch: list[Tensor], batch_idx: int, optimizer_idx: int) -> Any:  # type: ignore[override]
        return None if rank() and batch_idx == optimizer_idx else super().training_step(batch, batch_idx, optimizer_idx)


def skipping() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(returned None|1.x)")
        return fit(SkippingPair(), data(16))


def test_one_of_two_optimizers_skips_on_one_process(together: Together) -> None:
    results = together(2, skipping)
    assert results[0] == results[1]


class Sparse(Manual):
    """Rank 0 has no gradient for its table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, 4, sparse=True, dtype=torch.float64)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def loss(self, batch: list[Tensor]) -> Tensor:
        loss = super().loss(batch)
        return loss + self.table(torch.tensor([1, 3, 3])).pow(2).sum() if rank() else loss


def sparse() -> Any:
    net = Sparse()
    before = net.table.weight.detach().clone()
    fit(net, data(8))
    changed = (net.table.weight != before).any(1).nonzero().flatten().tolist()
    return weights(net), changed


def test_sparse_gradients(together: Together) -> None:
    results = together(2, sparse)
    assert results[0] == results[1]
    assert results[0][1] == [1, 3]


def warned() -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(Manual(), data(8), DDPStrategy(ddp_comm_hook=default_hooks.fp16_compress_hook))
    return [str(one.message) for one in caught if "ddp_comm_hook" in str(one.message)]


def test_a_communication_hook_has_no_part_in_it(together: Together) -> None:
    assert [len(texts) for texts in together(2, warned)] in ([1, 1], [1, 0])  # rank 0 says it


class Lbfgs(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


def lbfgs(accumulate: int, **options: Any) -> Any:
    return fit(Lbfgs(), data(16), DDPStrategy(**options), accumulate_grad_batches=accumulate)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_optimizer_that_computes_the_loss_several_times(together: Together, accumulate: int) -> None:
    results = together(2, lbfgs, accumulate)
    assert results[0] == results[1]


class Searching(Net):
    """Goes by the loss, and notes how often."""

    calls = 0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        self.calls += 1
        self.log("loss", self.loss(batch))
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), max_iter=5, line_search_fn="strong_wolfe")


def searching() -> Any:
    net = Searching()
    ours = fit(net, data(8), shuffle=False)
    alone = Net()
    optimizer: Any = Searching.configure_optimizers(alone)  # type: ignore[arg-type]
    parts = data(8)

    def mean(start: int) -> Tensor:
        optimizer.zero_grad()
        loss = alone.loss([part[start : start + 2 * BATCH] for part in parts.tensors])  # a round's samples are in a row
        loss.backward()
        return loss

    for _ in range(2):
        for start in range(0, 8, 2 * BATCH):
            optimizer.step(functools.partial(mean, start))
    return ours, net.calls, weights(alone), float(net.trainer.callback_metrics["loss"])


def test_a_line_search_goes_by_the_loss_of_all(together: Together) -> None:
    """It takes the way of one process with the samples of all; what is logged is the process's own."""
    (first, calls, alone, own), (second, others, _, other) = together(2, searching)
    assert (first, calls) == (second, others)
    for value, wanted in zip(first, alone, strict=True):
        assert value == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    assert own != other
