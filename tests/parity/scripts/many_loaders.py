"""Several loaders at once: a combined one for training, a list for validation, a dictionary for prediction."""

import lightning.pytorch as pl
import torch
from figures import report
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, TensorDataset


def loader(count, batch_size, shift=0.0, shuffle=False):
    return DataLoader(TensorDataset(torch.randn(count, 4) + shift), batch_size=batch_size, shuffle=shuffle)


class TwoSources(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 2)
        self.losses, self.order = [], []

    def training_step(self, batch, batch_idx, dataloader_idx=0):
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        loss = self.net(labeled[0]).pow(2).mean()
        if unlabeled is not None:
            loss = loss + 0.1 * self.net(unlabeled[0]).softmax(1).var()
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.order.append((dataloader_idx, batch_idx))
        self.log("val", self.net(batch[0]).mean())
        self.log(f"alone_{dataloader_idx}", self.net(batch[0]).std(), add_dataloader_idx=False)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return self.net(batch[0]).sum(1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(mode):
    pl.seed_everything(2)
    model = TwoSources()
    train = CombinedLoader({"labeled": loader(12, 4, 1.0), "unlabeled": loader(20, 4, -1.0, shuffle=True)}, mode=mode)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, train, [loader(8, 4), loader(4, 2, 2.0)])
    found = trainer.predict(model, [loader(4, 2), loader(6, 3)])
    return model, trainer, found


if __name__ == "__main__":
    modes = {}
    for mode in ("min_size", "max_size_cycle"):
        model, trainer, found = train(mode)
        modes[mode] = {
            "losses": model.losses, "order": model.order, "found": found, "weights": model.state_dict(),
            "batches": trainer.num_training_batches, "steps": trainer.global_step,
        }  # fmt: skip
    pl.seed_everything(4)
    sequence = CombinedLoader([loader(4, 2), loader(2, 2)], "sequential")
    visited = [(batch_idx, dataloader_idx, batch[0]) for batch, batch_idx, dataloader_idx in sequence]
    report(model, modes=modes, visited=visited, means=trainer.callback_metrics)
