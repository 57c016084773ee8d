"""What two processes that share one GPU do for `test_gpu`: each check says what is wrong.

NCCL takes two processes for one only if they are on one machine, which they are told they are not.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from fulmen import LightningModule, Trainer
from fulmen.callbacks import ModelCheckpoint
from fulmen.strategies import DDPStrategy

from .exact_runs import Case, Counter
from .training import BARE, BATCH, Net, data, weights

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
BACKEND = [""]
ALONE: list[Any] = []  # what one process finds; a metric of one that is in a group talks to the others


def rank() -> int:
    return int(os.environ["RANK_IN_TEST"])


def strategy(**options: Any) -> DDPStrategy:
    os.environ.update(LOCAL_RANK=str(rank()), NODE_RANK="0", WORLD_SIZE="2")
    return DDPStrategy(parallel_devices=[DEVICE, DEVICE], process_group_backend=BACKEND[0], **options)


def trainer(several: bool = True, options: dict[str, Any] | None = None, **flags: Any) -> Trainer:
    return Trainer(
        accelerator=DEVICE.type, devices=1, strategy=strategy(**(options or {})) if several else "auto",
        **{**BARE, "max_epochs": 2, **flags},
    )  # fmt: skip


def by_hand(
    net: Net,
    dataset: Any,
    accumulate: int = 1,
    clip: float | None = None,
    precision: str | None = None,
    hook: Any = None,
    every: int = 1,
    **options: Any,
) -> list[Any]:
    """As PyTorch's tutorials write it; of so many batches, one is read."""
    net.to(DEVICE)
    # the scaler of a Trainer lives as long as it, and so does this one
    scaler = torch.amp.GradScaler(DEVICE.type, enabled=precision == "16-mixed")
    dtype = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(str(precision))
    ddp = DistributedDataParallel(net, device_ids=None if DEVICE.type == "cpu" else [0], **options)
    if hook is not None:
        ddp.register_comm_hook(None, hook)
    optimizer = net.made(net.parameters())
    sampler: Any = torch.utils.data.DistributedSampler(dataset, 2, rank(), shuffle=True)
    loader = DataLoader(dataset, BATCH, sampler=sampler)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for index, (x, y) in enumerate(loader):
            if index % every:
                continue
            closes = (index + 1) % accumulate == 0
            ddp.require_backward_grad_sync = closes
            with torch.autocast(DEVICE.type, dtype or torch.bfloat16, enabled=dtype is not None):
                loss = (ddp(x.to(DEVICE)) - y.to(DEVICE)).pow(2).mean()
            scaler.scale(loss / accumulate).backward()
            if closes:
                if clip is not None:
                    scaler.unscale_(optimizer)
                    torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
    return weights(net)


def same_as_by_hand(
    accumulate: int = 1,
    clip: float | None = None,
    precision: str | None = None,
    hook: Any = None,
    rests: bool = False,
    norm: bool = False,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> list[str]:
    dataset = data(8 * BATCH, dtype)
    nets = [Net(dtype, rests, norm) for _ in "ab"]
    more = {} if hook is None else {"ddp_comm_hook": hook}
    trainer(
        options={**options, **more}, accumulate_grad_batches=accumulate, gradient_clip_val=clip, precision=precision
    ).fit(nets[0], DataLoader(dataset, BATCH, shuffle=True))
    ours = weights(nets[0])
    theirs = by_hand(nets[1], dataset, accumulate, clip, precision, hook, **options)
    return [] if ours == theirs else [f"{ours}\nis not\n{theirs}"]


class Skips(Net):
    """Has no loss of every other batch."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return None if batch_idx % 2 else self.loss(batch)


def skipped() -> list[str]:
    """What both processes skip is no part of a window."""
    dataset, net = data(8 * BATCH), Skips()
    trainer(accumulate_grad_batches=2).fit(net, DataLoader(dataset, BATCH, shuffle=True))
    ours, theirs = weights(net), by_hand(Net(), dataset, every=2)
    return [] if ours == theirs else [f"{ours}\nis not\n{theirs}"]


def line_search() -> list[str]:
    """Both processes go the same way, and that of one process with all samples at once."""
    dataset = data(4 * BATCH)
    nets = [Net(), Net()]
    for net, several in zip(nets, (True, False), strict=True):
        net.made = lambda parameters: torch.optim.LBFGS(parameters, lr=0.5, max_iter=5, line_search_fn="strong_wolfe")
        trainer(several).fit(net, DataLoader(dataset, 2 * BATCH if several else 4 * BATCH))
    pairs = zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True)
    return [f"{one} is not {other}" for one, other in pairs if not torch.allclose(one, other, rtol=1e-6, atol=1e-9)]


class Halves(LightningModule):
    """Batch norm, of which each process sees half of what one would see."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1)).double()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = (self.net(batch[0]) - batch[1]).pow(2).mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def synced_batch_norm() -> list[str]:
    inputs, targets = data(8 * BATCH).tensors
    alone, shared = Halves(), Halves()
    flags: dict[str, Any] = {"max_epochs": 1}
    trainer(several=False, **flags).fit(alone, DataLoader(TensorDataset(inputs, targets), 2 * BATCH))
    trainer(sync_batchnorm=True, **flags).fit(shared, DataLoader(TensorDataset(inputs, targets), BATCH))
    pairs = zip(alone.state_dict().values(), shared.state_dict().values(), strict=True)
    return [f"{one} is not {other}" for one, other in pairs if not torch.allclose(one, other, rtol=1e-9, atol=1e-12)]


def operations() -> list[str]:
    group, wrong = trainer().strategy, []
    group.setup_environment()
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool):
        parts = [torch.tensor([[number, 1], [0, 1 + number]], device=DEVICE).to(dtype) for number in (0, 1)]
        if not torch.equal(group.all_gather(parts[rank()].t()), torch.stack(parts).mT):
            wrong.append(f"all_gather of {dtype}")
        if not torch.equal(group.reduce(parts[rank()], reduce_op="max"), torch.maximum(*parts)):
            wrong.append(f"max of {dtype}")
    if group.broadcast({"word": [rank()]}, 1) != {"word": [1]}:
        wrong.append("broadcast of an object")
    if group.reduce_boolean_decision(rank() == 0) or not group.reduce_boolean_decision(rank() == 0, all=False):
        wrong.append("a decision")
    leaf = torch.full((2,), 1.0 + rank(), device=DEVICE, requires_grad=True)
    (group.all_gather(leaf, sync_grads=True) * torch.tensor([[1.0], [3.0]], device=DEVICE)).sum().backward()
    if leaf.grad is None or leaf.grad.tolist() != [2.0 + 4 * rank()] * 2:
        wrong.append(f"gradients through all_gather: {leaf.grad}")
    group.barrier("here")
    try:
        group.all_gather(torch.ones(1 + rank(), device=DEVICE))
        wrong.append("other shapes were gathered")
    except Exception as error:
        if "of one shape" not in str(error):
            wrong.append(f"other shapes: {error!r}")
    group._part()  # type: ignore[attr-defined]
    return wrong


class OnDevice(Counter):
    """Has its metrics count where the batches are, which come as numbers of the CPU."""

    def __init__(self) -> None:
        super().__init__()
        del self.ordered  # puts places beside numbers on the CPU
        self.ordered = self.average.clone()


CASES = [Case(1, "map", 1), Case(7, "map", 3), Case(9, "iterable", 0), Case(6, "bare", 1)]


def evaluated(several: bool) -> list[tuple[dict[str, float], list[float]]]:
    """The values and the predictions of each case."""
    found = []
    torch.set_default_dtype(torch.float64)
    for case in CASES:
        module, runner = OnDevice(), trainer(several)
        (values,) = runner.validate(module, case.loader, verbose=False)
        predictions: Any = runner.predict(module, case.loader)
        found.append((values, [number for batch in predictions for number in batch.tolist()]))
    torch.set_default_dtype(torch.float32)
    return found


def evaluation() -> list[str]:
    wrong = []
    for case, (alone, one), (shared, other) in zip(CASES, ALONE, evaluated(True), strict=True):
        if one != other:
            wrong.append(f"{case}: predictions {other}, not {one}")
        for key, value in alone.items():
            if key != "pearson" and not abs(value - shared[key]) <= 1e-9:
                wrong.append(f"{case}: {key} is {shared[key]}, not {value}")
    return wrong


class Dropped(LightningModule):
    """Draws random numbers on the GPU in each step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = (self.net(batch[0]) - batch[1]).pow(2).mean()
        self.log("loss", loss, on_epoch=True, sync_dist=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def resume(precision: str | None) -> list[str]:
    """From a step in the middle of each epoch."""
    wrong = []
    folder = Path(os.environ["GPU_FOLDER"]) / f"{BACKEND[0]}-{precision}"
    dataset = data(16 * BATCH, torch.float32)

    def fit(path: str | None) -> tuple[list[Any], dict[str, float]]:
        model = Dropped()
        torch.manual_seed(rank() if path is None else 9)
        saving = ModelCheckpoint(dirpath=folder, every_n_train_steps=5, save_top_k=-1, filename="{step}")
        runner = trainer(
            enable_checkpointing=True, callbacks=[saving], precision=precision, default_root_dir=folder,
            accumulate_grad_batches=1,
        )  # fmt: skip
        runner.fit(model, DataLoader(dataset, BATCH, shuffle=True), ckpt_path=path)
        return weights(model), {key: value.item() for key, value in runner.callback_metrics.items()}

    whole = fit(None)
    for step in (5, 15):
        if fit(f"{folder}/step={step}.ckpt") != whole:
            wrong.append(f"from step {step}")
    return wrong


CHECKS: dict[str, Callable[[], list[str]]] = {
    "plain": same_as_by_hand,
    "accumulated, clipped": partial(same_as_by_hand, accumulate=2, clip=0.1),
    "half": partial(same_as_by_hand, precision="16-mixed", clip=0.1, dtype=torch.float32),
    "bfloat16": partial(same_as_by_hand, precision="bf16-mixed", accumulate=2, dtype=torch.float32),
    "hook": partial(same_as_by_hand, hook=default_hooks.fp16_compress_hook, dtype=torch.float32),
    "unused": partial(same_as_by_hand, rests=True, find_unused_parameters=True),
    "static graph": partial(same_as_by_hand, static_graph=True),
    "views": partial(same_as_by_hand, gradient_as_bucket_view=True, bucket_cap_mb=0.0001),
    "batch norm": partial(same_as_by_hand, norm=True),
    "skipped": skipped,
    "line search": line_search,
    "operations": operations,
    "evaluation": evaluation,
    "resume": partial(resume, None),
    "resume in half precision": partial(resume, "16-mixed"),
    "synced batch norm": synced_batch_norm,
}


def main(number: str, backend: str, port: str, folder: str) -> None:
    BACKEND[0] = backend
    os.environ.update(
        RANK_IN_TEST=number, GROUP_OF_TEST="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port, GPU_FOLDER=folder,
        NCCL_HOSTID=f"host-{number}", NCCL_SOCKET_IFNAME="lo",
    )  # fmt: skip
    found = {}
    ALONE.extend(evaluated(False))
    for name, check in CHECKS.items():
        began = time.monotonic()
        try:
            found[name] = check()
        except Exception:
            found[name] = [traceback.format_exc()]
        print(f"{backend} {number} {name}: {time.monotonic() - began:.1f} s {found[name]}", flush=True)
    torch.save(found, f"{folder}/{backend}-{number}.pt")


if __name__ == "__main__":
    tempfile.tempdir = sys.argv[4]
    main(*sys.argv[1:])
