"""Training on several processes: the same weights everywhere, those of DDP by hand, and those of one process."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from fulmen import Trainer
from fulmen.strategies import DDPStrategy

from .groups import world
from .training import BARE, BATCH, Net, by_hand, data, fit, weights

soak = pytest.mark.soak
Together = Callable[..., Any]
CLIP = {
    "norm": lambda parameters: torch.nn.utils.clip_grad_norm_(parameters, 0.1),
    "value": lambda parameters: torch.nn.utils.clip_grad_value_(parameters, 0.01),
}
OPTIMIZERS: dict[str, Any] = {
    "adam": partial(torch.optim.Adam, lr=0.01),
    "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01, centered=True),
}
# torch calls it otherwise since 2.13
NEW_NAME = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
OWN_BUFFERS = "forward_sync_buffers" if NEW_NAME else "broadcast_buffers"
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate": 2},
    "momentum and a scheduler": {"optimizer": "momentum", "scheduled": True},
    "clipped by norm": {"clip": "norm"},
    "clipped by value, accumulated": {"clip": "value", "accumulate": 2, "optimizer": "rmsprop"},
    "unused": {"rests": True, "options": {"find_unused_parameters": True}},
    "unused, accumulated": {"rests": True, "accumulate": 2, "options": {"find_unused_parameters": True}},
    "static graph": {"options": {"static_graph": True}},
    "views of buckets": {"options": {"gradient_as_bucket_view": True}, "clip": "norm"},
    "small buckets": {"options": {"bucket_cap_mb": 0.0001}},
    "batch norm": {"norm": True},
    "batch norm, own buffers": {"norm": True, "options": {OWN_BUFFERS: False}},
    "bfloat16": {"autocast": torch.bfloat16},
    "half precision hook": {"hook": "fp16"},
    "wrapped PowerSGD": {"hook": "powersgd"},
}


def _hook(name: str | None) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """How a communication hook is handed to the strategy, and how it is put into DDP by hand."""
    if name == "fp16":
        hook = default_hooks.fp16_compress_hook
        return {"ddp_comm_hook": hook}, lambda ddp: ddp.register_comm_hook(None, hook)
    if name == "powersgd":
        states = [powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=1, start_powerSGD_iter=2) for _ in "ab"]
        hook, wrapper = powerSGD_hook.powerSGD_hook, default_hooks.fp16_compress_wrapper
        return (
            {"ddp_comm_state": states[0], "ddp_comm_hook": hook, "ddp_comm_wrapper": wrapper},
            lambda ddp: ddp.register_comm_hook(states[1], wrapper(hook)),
        )
    return {}, lambda ddp: None


def both(
    accumulate: int = 1,
    optimizer: str = "adam",
    scheduled: bool = False,
    clip: str | None = None,
    rests: bool = False,
    norm: bool = False,
    options: dict[str, Any] | None = None,
    autocast: torch.dtype | None = None,
    hook: str | None = None,
) -> Any:
    """The weights that the Trainer and a loop by hand come to on this rank."""
    dtype = torch.float32 if autocast or hook else torch.float64
    dataset = data(4 * BATCH * world(), dtype)
    nets = [Net(dtype, rests, norm) for _ in "ab"]
    for net in nets:
        net.made = OPTIMIZERS[optimizer]
        if scheduled:
            net.scheduler = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.8)
    own, prepare = _hook(hook)
    limit = {"norm": 0.1, "value": 0.01, None: None}[clip]
    ours = fit(
        nets[0], dataset, DDPStrategy(**own, **(options or {})), accumulate_grad_batches=accumulate,
        gradient_clip_val=limit, gradient_clip_algorithm=clip, precision="bf16-mixed" if autocast else None,
    )  # fmt: skip
    theirs = by_hand(
        nets[1],
        dataset,
        accumulate,
        None if clip is None else CLIP[clip],
        prepare,
        autocast=autocast,
        **(options or {}),
    )
    return ours, theirs


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=soak)])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_of_ddp_by_hand(together: Together, size: int, kind: str) -> None:
    """Bit for bit, on each process, as are the weights of all processes among each other."""
    results = together(size, partial(both, **KINDS[kind]))
    for ours, theirs in results:
        assert ours == theirs
        if not kind.startswith("batch norm"):  # with it, each has buffers of its own after the last batch
            assert ours == results[0][0]


def flat(values: list[list[float]]) -> torch.Tensor:
    return torch.tensor([number for row in values for number in row], dtype=torch.float64)


def of_one(global_batches: int, size: int, accumulate: int, clip: str | None, optimizer: str) -> list[Any]:
    """One process on batches as large as those of all, in the order in which they get them."""
    dataset = data(global_batches * BATCH * size)
    net = Net()
    net.made = OPTIMIZERS[optimizer]
    order = torch.arange(len(dataset)).reshape(global_batches, BATCH, size)  # rank r has samples r, r + size, ...
    batches = [[tensor[rows.flatten()] for tensor in dataset.tensors] for rows in order]
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=2, accumulate_grad_batches=accumulate,
        gradient_clip_val=None if clip is None else {"norm": 0.1, "value": 0.01}[clip], gradient_clip_algorithm=clip,
        **BARE,
    )  # fmt: skip
    trainer.fit(net, DataLoader(batches, batch_size=None))
    return weights(net)


def of_several(global_batches: int, accumulate: int, clip: str | None, optimizer: str) -> list[Any]:
    net = Net()
    net.made = OPTIMIZERS[optimizer]
    return fit(  # type: ignore[no-any-return]
        net, data(global_batches * BATCH * world()), shuffle=False, accumulate_grad_batches=accumulate,
        gradient_clip_val=None if clip is None else {"norm": 0.1, "value": 0.01}[clip], gradient_clip_algorithm=clip,
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, pytest.param(3, marks=soak)])
@pytest.mark.parametrize(
    ("batches", "accumulate", "clip", "optimizer"),
    [(4, 1, "norm", "adam"), (5, 2, "value", "momentum"), (7, 3, None, "adam"), (5, 2, "norm", "rmsprop")],
)
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_weights_are_those_of_one_process(
    together: Together, size: int, batches: int, accumulate: int, clip: str | None, optimizer: str
) -> None:
    one = flat(of_one(batches, size, accumulate, clip, optimizer))
    for several in together(size, of_several, batches, accumulate, clip, optimizer):
        torch.testing.assert_close(flat(several), one, rtol=1e-9, atol=1e-12)
