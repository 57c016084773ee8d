from __future__ import annotations

import pytest
import torch
from tests.distributed.groups import run
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fulmen.strategies.bucket_order import BucketOrder
from fulmen.strategies.reduced import Reduced


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 1)
        self.rows = nn.Embedding(5, 3, sparse=True)
        self.norm = nn.LayerNorm(3)

    def forward(self, numbers: Tensor) -> Tensor:
        output: Tensor = self.last(self.norm(self.rows(numbers)))
        return output


def _join() -> None:
    import os

    os.environ["RANK"] = os.environ["RANK_IN_TEST"]
    torch.distributed.init_process_group("gloo")


def noted() -> tuple[list[str], list[str], list[bool]]:
    """What is known before and after the first step, and whether a hook of the user's is left alone."""
    _join()
    net = Net()
    ddp, reduced, order = DistributedDataParallel(net), Reduced(net), BucketOrder()
    order.begin(ddp, reduced)
    before = order.known(reduced)
    ddp(torch.tensor([1, 2])).sum().backward()
    order.end()
    after = order.known(reduced)

    net = Net()
    net(torch.tensor([1])).sum().backward()
    ddp, reduced, again = DistributedDataParallel(net), Reduced(net), BucketOrder()
    calls: list[Tensor] = []
    net.norm.weight.register_hook(calls.append)
    net.norm.weight.register_post_accumulate_grad_hook(calls.append)
    kept = [parameter.grad for parameter in net.parameters()]
    generator = torch.get_rng_state()
    again.wanted = after
    again.begin(ddp, reduced)
    same = all(parameter.grad is one for parameter, one in zip(net.parameters(), kept, strict=True))
    untouched = [same, not calls, torch.equal(generator, torch.get_rng_state()), again.known(reduced) == after]
    net.zero_grad()
    ddp(torch.tensor([1, 2])).sum().backward()
    return before, after, [*untouched, len(calls) == 2]


def test_the_order_is_noted_and_brought_back_without_a_trace() -> None:
    for before, after, untouched in run(noted, 2):
        assert before == []
        assert sorted(after) == sorted(name for name, _ in Net().named_parameters())
        assert after[-1] == "rows.weight" and after[0].startswith("last.")
        assert all(untouched), untouched


@pytest.mark.parametrize("order", [["b", "a"], ["a", "b"]])
def test_backward_reaches_parameters_in_an_order(order: list[str]) -> None:
    layers = nn.ParameterDict({"a": nn.Parameter(torch.ones(2, 2)), "b": nn.Parameter(torch.ones(3))})
    came: list[str] = []
    for name, parameter in layers.items():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: came.append(name))  # type: ignore[misc]
    Reduced(layers).nothing(order).backward()
    assert came == order
    assert all(not parameter.grad.any() for parameter in layers.values())


def test_a_layer_of_the_user_s_own_that_is_called_sparse() -> None:
    class Own(nn.Linear):
        sparse = True

    class Bare(nn.Module):
        sparse = True

    layers = nn.Sequential(Own(2, 2), Bare())
    Reduced(layers).nothing().backward()
    assert all(parameter.grad is not None and not parameter.grad.is_sparse for parameter in layers.parameters())
