"""Trains on two processes, from the last checkpoint if there is one, and keeps its weights.

See `test_two_hosts.py` and `test_restarts.py`.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
import torch._dynamo.convert_frame  # what DDP imports: it takes long, and is no part of the run
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from fulmen import Callback, LightningModule, Trainer
from fulmen.callbacks import ModelCheckpoint

FOLDER = Path(os.environ["HOSTS_FOLDER"])
PAUSE = float(os.environ.get("HOSTS_PAUSE", "0"))
BATCHES = int(os.environ.get("HOSTS_BATCHES", "30"))
HOSTS = int(os.environ.get("HOSTS_COUNT", "2"))
# What fails in the first starts of torchrun, on which rank, and in how many of them.
KIND, RANK, FAILURES = os.environ.get("HOSTS_FAULT", "none 0 0").split()
START = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        ).double()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = (self.layers(batch[0]) - batch[1]).pow(2).mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Slowly(Callback):
    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        (FOLDER / f"step-{trainer.global_rank}").write_text(str(trainer.global_step))
        time.sleep(PAUSE)
        fails = int(RANK) == trainer.global_rank and int(FAILURES) > START
        if fails and trainer.global_step == 5 + 3 * START:
            if KIND == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError(f"wanted in start {START}")


def main() -> None:
    drawn = torch.Generator().manual_seed(5)
    data = TensorDataset(*(torch.randn(4 * BATCHES, width, dtype=torch.float64, generator=drawn) for width in (4, 1)))
    saving = ModelCheckpoint(dirpath=FOLDER / "saved", every_n_train_steps=4, save_top_k=-1)
    trainer = Trainer(
        accelerator="cpu", num_nodes=HOSTS, devices=2 // HOSTS, strategy="ddp", max_epochs=2, logger=False,
        callbacks=[saving, Slowly()], enable_progress_bar=False, enable_model_summary=False, default_root_dir=FOLDER,
    )  # fmt: skip
    torch.manual_seed(7 + trainer.global_rank)
    net = Net()
    trainer.fit(net, DataLoader(data, batch_size=2, shuffle=True), ckpt_path="auto")
    print(f"rank {trainer.global_rank} of {trainer.world_size} ends after {trainer.global_step} steps", flush=True)
    weights = {name: value.tolist() for name, value in net.state_dict().items()}
    torch.save(weights, FOLDER / f"weights-{trainer.global_rank}.pt")


if __name__ == "__main__":
    main()
