"""A tracker's autologging, which patches `Trainer.fit` of both names: prints what its store holds after a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

if "--both-names" in sys.argv:  # with the real Lightning, of which one name is installed
    from scripts_runner import OtherName

    sys.meta_path.insert(0, OtherName())

import lightning.pytorch as other
import mlflow
import pytorch_lightning as pl


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=4)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", torch.nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def train(names: Any) -> dict[str, Any]:
    torch.manual_seed(3)
    x = torch.linspace(-1, 1, 48).view(16, 3)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4)
    stop = names.callbacks.EarlyStopping("val_loss", patience=7)
    trainer = names.Trainer(
        accelerator="cpu", max_epochs=3, callbacks=[stop], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with mlflow.start_run() as run:
        trainer.fit(Net(), loader, loader)
    client = mlflow.MlflowClient()
    data = client.get_run(run.info.run_id).data
    curve = [(point.step, round(point.value, 5)) for point in client.get_metric_history(run.info.run_id, "val_loss")]
    files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
    return {"params": data.params, "metrics": sorted(data.metrics), "curve": sorted(curve), "files": files}


if __name__ == "__main__":
    mlflow.set_tracking_uri((Path.cwd() / "store").as_uri())
    mlflow.pytorch.autolog(log_models=False, checkpoint=False)
    print(json.dumps({name: train(names) for name, names in (("first", pl), ("other", other))}))
