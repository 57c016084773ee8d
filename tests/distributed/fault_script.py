"""A run of several processes in which one goes wrong, as environment variables say; see `test_faults.py`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch._dynamo.convert_frame  # what DDP imports: it takes long, and is no part of the run
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from fulmen import Callback, LightningDataModule, LightningModule, Trainer
from fulmen.callbacks import ModelCheckpoint
from fulmen.strategies import DDPStrategy

KIND, PLACE = os.environ["FAULT_KIND"], os.environ["FAULT_PLACE"]
RANKS = [int(rank) for rank in os.environ["FAULT_RANK"].split(",") if rank]
FOLDER = Path(os.environ["FAULT_FOLDER"])
STRATEGY = os.environ["FAULT_STRATEGY"]
AT = 5  # the batch of the fault
ON: dict[str, Any] = {"accelerator": "cpu", "devices": 2, "strategy": STRATEGY}
if "FAULT_ON_GPU" in os.environ:  # two processes share one, which NCCL takes for two of two machines
    os.environ["NCCL_HOSTID"] = f"host-{os.environ.get('LOCAL_RANK', '0')}"
    ON = {"accelerator": "cuda", "devices": 1, "strategy": DDPStrategy(parallel_devices=[torch.device("cuda", 0)] * 2)}


def rank() -> int:
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def note(name: str) -> None:
    (FOLDER / name).write_text(repr(time.time()))


def fault(place: str, index: int = AT) -> None:
    if place != PLACE or index != AT or rank() not in RANKS:
        return
    note("fault")
    print(f"rank {rank()} comes to its fault", flush=True)
    go_wrong()


def go_wrong() -> None:
    if KIND == "exception":
        raise ValueError("this is the fault")
    if KIND == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if KIND == "os_exit":
        os._exit(7)
    if KIND == "sys_exit":
        sys.exit(3)
    if KIND == "sys_exit_0":
        sys.exit(0)
    if KIND == "stall":
        time.sleep(600)
    if KIND == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if KIND == "sigterm":
        os.kill(os.getpid(), signal.SIGTERM)
    if KIND == "interrupt":
        raise KeyboardInterrupt
    if KIND == "memory":
        bytearray(1 << 60)
    if KIND == "finally":
        try:
            raise ValueError("this is the fault")
        finally:
            torch.distributed.barrier()


class Data(Dataset[Tensor]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Tensor:
        if PLACE == "worker" and torch.utils.data.get_worker_info() is not None and index == 20:
            RANKS[:] = [rank()]
            fault("worker")
        return torch.full((4,), float(index))


class Uneven(IterableDataset[Tensor]):
    shards_itself = True

    def __iter__(self) -> Any:
        return iter(torch.ones(8 + 8 * rank(), 4))


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.unused = torch.nn.Linear(4, 1) if PLACE == "unused" else None

    def setup(self, stage: str) -> None:
        fault("setup")

    def prepare_data(self) -> None:
        fault("prepare_data")

    def configure_optimizers(self) -> Any:
        fault("configure_optimizers")
        return torch.optim.SGD(self.parameters(), lr=0.001)

    def on_fit_start(self) -> None:
        fault("fit_start")

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        fault("step", batch_idx)
        if PLACE == "uneven_log" and rank() == 1 and batch_idx == AT:
            self.log("only_here", 1.0, sync_dist=True, on_step=False, on_epoch=True)
        if PLACE == "one_logs" and batch_idx == AT and rank() == 1:
            note("fault")
            self.log("only_here", 1.0, sync_dist=True)
        if PLACE == "shapes" and batch_idx == AT:
            note("fault")
            self.all_gather(torch.ones(2 + rank()))
        if PLACE == "one_gathers" and batch_idx == AT and rank() == 1:
            note("fault")
            self.all_gather(torch.ones(2))
        if PLACE == "unused":
            note("fault")
        loss: Tensor = self.layer(batch).pow(2).mean()
        if PLACE == "unused_here" and batch_idx == AT and rank() == 1:
            note("fault")
            loss = self.layer.weight.sum()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            fault("validation", AT if batch_idx == rank() else 0)
        self.log("val_loss", self.layer(batch).pow(2).mean(), sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        fault("save", AT if self.trainer.global_step > 4 else 0)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        fault("load")

    def teardown(self, stage: str) -> None:
        fault("teardown")

    def on_fit_end(self) -> None:
        fault("fit_end")


class Own(Callback):
    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        fault("callback", batch_idx)
        if PLACE == "slow":
            time.sleep(0.2)


class Prepared(LightningDataModule):
    def prepare_data(self) -> None:
        fault("data_prepare")

    def train_dataloader(self) -> Any:
        fault("train_dataloader")
        dataset = Uneven() if PLACE == "uneven" else Data()
        return DataLoader(dataset, batch_size=2, num_workers=2 if PLACE == "worker" else 0)

    def val_dataloader(self) -> Any:
        return DataLoader(Data(), batch_size=2)


def main() -> None:
    fault("start")
    trainer = Trainer(
        **ON, max_epochs=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=8, val_check_interval=8, default_root_dir=FOLDER,
        num_sanity_val_steps=2 if PLACE != "fit_start" else 0,
        callbacks=[Own(), ModelCheckpoint(dirpath=FOLDER / "saved", every_n_train_steps=2, save_top_k=-1)],
        limit_train_batches=16,
    )  # fmt: skip
    model = Net()
    try:
        trainer.fit(model, datamodule=Prepared(), ckpt_path=os.environ.get("FAULT_CKPT") or None)
    except Exception as error:
        if "FAULT_AGAIN" not in os.environ:
            raise
        print(f"rank {rank()} caught {type(error).__name__}", flush=True)
        trainer.fit(Net(), datamodule=Prepared())
    fault("between")
    if STRATEGY == "ddp":
        trainer.validate(model, datamodule=Prepared())
    note(f"done{rank()}")
    fault("end")


if __name__ == "__main__":
    main()
