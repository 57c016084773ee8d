"""An autoencoder of small pictures, with a validation set split off and hyper-parameters kept."""

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from figures import report
from torch import nn, optim, utils


class LitAutoEncoder(pl.LightningModule):
    def __init__(self, hidden: int = 12, code: int = 3, lr: float = 1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, code))
        self.decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, 64))
        self.example_input_array = torch.zeros(1, 64)

    def forward(self, x):
        return self.encoder(x)

    def _loss(self, batch):
        (x,) = batch
        x = x.view(x.size(0), -1)
        return F.mse_loss(self.decoder(self.encoder(x)), x)

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch), prog_bar=True)

    def predict_step(self, batch, batch_idx):
        return self(batch[0].flatten(1))

    def configure_optimizers(self):
        return optim.Adam(self.parameters(), lr=self.hparams.lr)


class LossHistory(pl.Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())


if __name__ == "__main__":
    pl.seed_everything(42, workers=True)
    dataset = utils.data.TensorDataset(torch.rand(80, 8, 8))
    train, val = utils.data.random_split(dataset, [64, 16], generator=torch.Generator().manual_seed(7))
    history = LossHistory()
    autoencoder = LitAutoEncoder()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=3, limit_train_batches=3, callbacks=[history], logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir="runs",
    )  # fmt: skip
    trainer.fit(autoencoder, utils.data.DataLoader(train, 16, shuffle=True), utils.data.DataLoader(val, 16))

    checkpoint = trainer.checkpoint_callback.best_model_path
    restored = LitAutoEncoder.load_from_checkpoint(checkpoint)
    restored.freeze()
    codes = torch.cat(trainer.predict(restored, utils.data.DataLoader(val, 8)))
    report(restored, losses=history.losses, codes=codes, hparams=dict(restored.hparams), means=trainer.callback_metrics)
