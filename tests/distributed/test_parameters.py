"""Parameters that are not used, not the same everywhere, frozen, or not there from the start: named, not waited for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen import Callback
from fulmen.callbacks import StochasticWeightAveraging
from fulmen.strategies import DDPStrategy

from .groups import run
from .training import Net, by_hand, data, fit, weights

Together = Callable[..., Any]


def rank() -> int:
    return int(os.environ["RANK_IN_TEST"])


def failure(change: Callable[[Net], Any], *callbacks: Callback, **options: Any) -> str:
    """What a run complains of."""
    net = Net()
    change(net)
    try:
        fit(net, data(16), DDPStrategy(**options), callbacks=list(callbacks))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def unused_everywhere(net: Net) -> None:
    net.unused = torch.nn.Linear(2, 3, dtype=torch.float64)


def test_unused_everywhere(together: Together) -> None:
    for text in together(2, failure, unused_everywhere, fails=True):  # whoever found it first, or both
        assert "no gradient for `unused.weight`, `unused.bias` on rank" in text
        assert 'strategy="ddp_find_unused_parameters_true"' in text


def unused_later(net: Net) -> None:
    step = net.training_step

    def rests_in_third(batch: list[Tensor], batch_idx: int) -> Any:
        return net.last.weight.sum() + net.first(batch[0]).sum() if batch_idx == 2 else step(batch, batch_idx)

    net.training_step = rests_in_third  # type: ignore[method-assign]


def test_unused_in_a_later_step(together: Together) -> None:
    for text in together(2, failure, unused_later, fails=True):
        assert "`second.weight`, `second.bias`, `last.bias`" in text


def told_by_the_one() -> None:
    """Rank 1 leaves a layer out, and is told; rank 0 waits for it in its backward."""
    net = Net()
    if rank() == 1:
        net.loss = lambda batch: (net.last(net.first(batch[0])) - batch[1]).mean()  # type: ignore[method-assign]
    fit(net, data(16))


def test_unused_on_one_process_leaves_nobody_waiting() -> None:
    """The other sits in a collective, and is told within seconds."""
    with pytest.raises(AssertionError) as caught:
        run(told_by_the_one, 2, timeout=30)
    assert "PeerFailed: Rank 1 of 2 failed" in str(caught.value)
    assert "no gradient for `second.weight`, `second.bias` on rank 1" in str(caught.value)
    assert 'strategy="ddp_find_unused_parameters_true"' in str(caught.value)


def lazy(net: Net) -> None:
    net.last = torch.nn.LazyLinear(1, dtype=torch.float64)  # type: ignore[assignment]


def of_its_own(net: Net) -> None:
    net.own = torch.nn.Linear(2, 2 + rank(), dtype=torch.float64)


def made_late(net: Net) -> None:
    step = net.training_step

    def making(batch: list[Tensor], batch_idx: int) -> Any:
        if not hasattr(net, "late"):
            net.late = torch.nn.Linear(1, 1, dtype=torch.float64)
        return step(batch, batch_idx)

    net.training_step = making  # type: ignore[method-assign]


def synced(net: Net) -> None:
    net.norm = torch.nn.SyncBatchNorm(8)


@pytest.mark.parametrize(
    ("change", "got", "remedy"),
    [
        (lazy, "`last.weight` without a shape", "Run the model once on an example"),
        (of_its_own, "rank 1: 8 parameters, among them `own.weight float64\\[3, 2\\]`", "Make the same model in every"),
        (made_late, "new: `late.weight`, `late.bias`", "Make parameters in `__init__`"),
        (synced, "`norm` on cpu", "leave `Trainer\\(sync_batchnorm=True\\)` and"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_what_cannot_be_trained(together: Together, change: Callable[[Net], None], got: str, remedy: str) -> None:
    for text in together(2, failure, change, fails=True):
        assert text.startswith("MisconfiguredRun")
        with pytest.raises(AssertionError, match=got):
            raise AssertionError(text)
        with pytest.raises(AssertionError, match=remedy):
            raise AssertionError(text)


class Unfreezing(Callback):
    """What fine-tuning does: the second layer rests in the first epoch, the first one in the second."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.turn(pl_module, 0)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.turn(pl_module, trainer.current_epoch)

    @staticmethod
    def turn(net: Net, epoch: int) -> None:
        net.second.requires_grad_(epoch == 1)
        net.first.requires_grad_(epoch == 0)


def unfrozen() -> Any:
    net, own = Net(), Net()
    for one in (net, own):
        one.made = lambda parameters: torch.optim.SGD(parameters, lr=0.1)
    ours = fit(net, data(16), callbacks=[Unfreezing()])
    theirs = by_hand(own, data(16), each_epoch=lambda epoch: Unfreezing.turn(own, epoch), find_unused_parameters=True)
    return ours, theirs


def test_parameters_that_are_frozen_and_unfrozen_between_epochs(together: Together) -> None:
    """DDP is made anew where other parameters are trained, so that none stays different on each process."""
    results = together(2, unfrozen)
    for ours, theirs in results:
        assert ours == theirs == results[0][0]


def frozen_at_first() -> Any:
    class Unfreeze(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            pl_module.requires_grad_(True)

    net = Net().requires_grad_(False)
    return fit(net, data(16), callbacks=[Unfreeze()]), weights(Net())


def test_a_model_that_is_frozen_when_the_run_begins(together: Together) -> None:
    results = together(2, frozen_at_first)
    assert results[0] == results[1]
    assert results[0][0] != results[0][1]


def averaged() -> Any:
    net = Net(norm=True)
    averaging = StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)
    return fit(net, data(16), callbacks=[averaging], max_epochs=4)[:6]


def test_averaging_of_weights_over_epochs(together: Together) -> None:
    """Its last epoch makes forward passes alone, with no gradient that anybody waits for."""
    results = together(2, averaged)
    assert results[0] == results[1]


def shared() -> Any:
    net = Net()
    net.second.weight = torch.nn.Parameter(net.first.weight.new_zeros(8, 8).fill_diagonal_(0.5))
    net.third = torch.nn.Linear(8, 8, dtype=torch.float64)
    net.third.weight = net.second.weight
    net.norm = net.third
    other = Net()
    other.load_state_dict(net.state_dict(), strict=False)
    return fit(net, data(16))


def test_shared_parameters(together: Together) -> None:
    results = together(2, shared)
    assert results[0] == results[1]


def skipped() -> Any:
    """Rank 1 has nothing to learn from its second batch of each epoch."""
    results = []
    for options in ({}, {"find_unused_parameters": True}):
        net = Net(rests=bool(options))
        step = net.training_step
        net.training_step = (  # type: ignore[method-assign]
            lambda batch, batch_idx, step=step: None if rank() and batch_idx == 1 else step(batch, batch_idx)
        )
        results.append(fit(net, data(16), DDPStrategy(**options)))
    return results


def test_a_skipped_batch_on_one_process(together: Together) -> None:
    results = together(2, skipping)
    assert results[0] == results[1]


def skipping() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*returned None")
        return skipped()
