"""What `DDPStrategy` can be told, and what goes with it: precisions, compiled modules, averages of weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks import post_localSGD_hook
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from fulmen import Trainer
from fulmen.callbacks import WeightAveraging
from fulmen.strategies import DDPStrategy

from .groups import environ, world
from .training import BARE, BATCH, Net, by_hand, data, fit, weights

Together = Callable[..., Any]


def rank() -> int:
    return int(os.environ["RANK_IN_TEST"])


def local_sgd() -> Any:
    """The hook brings gradients together for two steps; from then on weights are averaged every second step."""

    def state() -> Any:
        return post_localSGD_hook.PostLocalSGDState(
            process_group=None, subgroup=subgroup, start_localSGD_iter=2, post_local_gradient_allreduce=False
        )

    hook = post_localSGD_hook.post_localSGD_hook
    trainer = Trainer(accelerator="cpu", devices=world(), strategy=DDPStrategy(), **BARE)
    trainer.strategy.setup_environment()  # joins the group, of which the hook needs a part
    trainer.strategy.on_exception(RuntimeError())
    subgroup = torch.distributed.new_group([rank()], use_local_synchronization=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        strategy = DDPStrategy(ddp_comm_state=state(), ddp_comm_hook=hook, model_averaging_period=2)
        ours = fit(Net(), data(28), strategy)
        net = Net()
        averager = PeriodicModelAverager(period=2, warmup_steps=2)
        theirs = by_hand(
            net, data(28), prepare=lambda ddp: ddp.register_comm_hook(state(), hook),
            stepped=lambda: averager.average_parameters(net.parameters()),
        )  # fmt: skip
    return ours, theirs


def test_averages_of_models_in_place_of_gradients(together: Together) -> None:
    results = together(2, local_sgd)
    for ours, theirs in results:
        assert ours == theirs


def in_precision(precision: str) -> Any:
    net = Net(torch.float32)
    net.made = lambda parameters: torch.optim.SGD(parameters, lr=0.05)
    found = fit(net, data(16, torch.float32), precision=precision, gradient_clip_val=0.1)
    return found, str(net.first.weight.dtype)


@pytest.mark.parametrize(
    ("precision", "kind"),
    [("bf16-mixed", "float32"), ("bf16-true", "bfloat16"), ("16-true", "float16"), ("64-true", "float64")],
)
def test_precisions(together: Together, precision: str, kind: str) -> None:
    results = together(2, in_precision, precision)
    assert results[0] == results[1]
    assert results[0][1] == f"torch.{kind}"
    assert results[0][0] != weights(Net(torch.float32))


class MadeLate(Net):
    """Has its last layer from `configure_model`, of values that differ until they are rank 0's."""

    def configure_model(self) -> None:
        torch.manual_seed(rank())
        self.last = torch.nn.Linear(8, 1, dtype=torch.float64)


def made_late() -> Any:
    return fit(MadeLate(), data(16))


def test_weights_that_differ_at_first_become_those_of_rank_zero(together: Together) -> None:
    results = together(2, made_late)
    assert results[0] == results[1]


def compiled() -> Any:
    found = []
    for wrap in (lambda net: net, lambda net: torch.compile(net, backend="eager")):
        net = Net()
        fit(wrap(net), data(16))
        found.append(weights(net))
    return found


@pytest.mark.soak
def test_a_compiled_module(together: Together) -> None:
    results = together(2, compiled)
    for plain, own in results:
        assert own == results[0][1]
        for one, other in zip(plain, own, strict=True):
            torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=1e-9, atol=1e-12)


class Looking(Net):
    """Notes what the Trainer has, and the running means that it validates with."""

    def __init__(self) -> None:
        super().__init__(norm=True)
        self.seen: list[Any] = []

    def on_validation_start(self) -> None:
        self.seen.append(self.norm.running_mean.tolist())  # type: ignore[union-attr, operator]

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.loss(batch)

    def on_train_start(self) -> None:
        ddp = self.trainer.model
        assert isinstance(ddp, DistributedDataParallel)
        assert ddp.module is self and self.trainer.lightning_module is self
        assert ddp.find_unused_parameters and self.trainer.strategy.process_group_backend == "gloo"  # type: ignore[attr-defined]


def looked() -> Any:
    environ()
    net = Looking()
    trainer = Trainer(
        accelerator="cpu", devices=world(), max_epochs=2, **BARE, callbacks=[WeightAveraging()],
        strategy=DDPStrategy(find_unused_parameters=True, process_group_backend="gloo", timeout=timedelta(seconds=60)),
    )  # fmt: skip
    loader = DataLoader(data(16), batch_size=BATCH)
    trainer.fit(net, loader, DataLoader(data(4), batch_size=BATCH))
    return net.seen, [parameter.tolist() for parameter in net.parameters()], trainer.model is net


def test_validation_looks_at_the_statistics_of_rank_zero(together: Together) -> None:
    results = together(2, looked)
    assert results[0] == results[1]
    seen, _, unwrapped = results[0]
    assert seen[-1] != seen[0]
    assert unwrapped


@pytest.mark.parametrize("name", ["ddp", "ddp_find_unused_parameters_true", "ddp_spawn_find_unused_parameters_false"])
def test_names(name: str) -> None:
    strategy = Trainer(accelerator="cpu", devices=2, strategy=name, **BARE).strategy
    assert isinstance(strategy, DDPStrategy)
    assert strategy._ddp_kwargs == ({} if name == "ddp" else {"find_unused_parameters": name.endswith("true")})


def test_an_unknown_way_to_start() -> None:
    with pytest.raises(ValueError, match="Choose among: 'popen', 'spawn', 'fork', 'forkserver'"):
        DDPStrategy(start_method="thread")  # type: ignore[arg-type]
