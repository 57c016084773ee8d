"""Predictions written to files: batch by batch and at the end, with the samples that they belong to."""

from pathlib import Path

import torch
from figures import report
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, TensorDataset


class CustomWriter(BasePredictionWriter):
    def __init__(self, output_dir, write_interval):
        super().__init__(write_interval)
        self.output_dir = Path(output_dir)
        self.output_dir.mkdir(exist_ok=True)

    def write_on_batch_end(
        self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx
    ):  # fmt: skip
        torch.save((prediction, batch_indices), self.output_dir / f"{dataloader_idx}_{batch_idx}.pt")

    def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
        torch.save(predictions, self.output_dir / f"predictions_{trainer.global_rank}.pt")
        torch.save(batch_indices, self.output_dir / f"batch_indices_{trainer.global_rank}.pt")


class Scorer(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2))

    def forward(self, x):
        return self.net(x).softmax(1)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        probabilities = self(batch[0])
        return {"class": probabilities.argmax(1), "p": probabilities}


if __name__ == "__main__":
    seed_everything(9)
    model = Scorer()
    data = TensorDataset(torch.randn(11, 3))
    loaders = [DataLoader(data, batch_size=4, shuffle=True), DataLoader(data, batch_size=3)]
    writer = CustomWriter("out", write_interval="batch_and_epoch")
    trainer = Trainer(accelerator="cpu", callbacks=[writer], logger=False, enable_progress_bar=False)
    returned = trainer.predict(model, loaders, return_predictions=False)
    files = {path.name: torch.load(path) for path in sorted(Path("out").iterdir())}
    kept = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, limit_predict_batches=2)
    report(model, returned=returned, files=files, again=kept.predict(model, loaders[1]), mode=model.training)
