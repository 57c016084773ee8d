"""A variational autoencoder with a warmed-up weight of the divergence and samples at the end of each epoch."""

import pytorch_lightning as pl
import torch
from figures import report
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class VAE(pl.LightningModule):
    def __init__(self, input_dim=36, enc_out_dim=16, latent_dim=4, kl_coeff=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(input_dim, enc_out_dim), nn.GELU())
        self.fc_mu = nn.Linear(enc_out_dim, latent_dim)
        self.fc_var = nn.Linear(enc_out_dim, latent_dim)
        self.decoder = nn.Sequential(nn.Linear(latent_dim, enc_out_dim), nn.GELU(), nn.Linear(enc_out_dim, input_dim))
        self.log_scale = nn.Parameter(torch.tensor([0.0]))
        self.losses, self.pictures = [], []

    def sample(self, mu, log_var):
        p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
        q = torch.distributions.Normal(mu, torch.exp(log_var / 2))
        return p, q, q.rsample()

    def step(self, batch, batch_idx):
        (x,) = batch
        x_encoded = self.encoder(x)
        p, q, z = self.sample(self.fc_mu(x_encoded), self.fc_var(x_encoded))
        dist = torch.distributions.Normal(self.decoder(z), torch.exp(self.log_scale))
        recon_loss = -dist.log_prob(x).mean()
        kl = torch.distributions.kl_divergence(q, p).mean()
        warm = min(1.0, (self.current_epoch + 1) / self.trainer.max_epochs)
        loss = recon_loss + self.hparams.kl_coeff * warm * kl
        return loss, {"recon_loss": recon_loss, "kl": kl, "loss": loss}

    def training_step(self, batch, batch_idx):
        loss, logs = self.step(batch, batch_idx)
        self.log_dict({f"train_{k}": v for k, v in logs.items()}, on_step=True, on_epoch=False)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        loss, logs = self.step(batch, batch_idx)
        self.log_dict({f"val_{k}": v for k, v in logs.items()})
        return loss

    def on_validation_epoch_end(self):
        z = torch.randn(2, self.hparams.latent_dim, device=self.device)
        self.pictures.append(self.decoder(z))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}


if __name__ == "__main__":
    pl.seed_everything(1234)
    train, val = torch.rand(48, 36), F.one_hot(torch.arange(12) % 36, 36).float()
    vae = VAE()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=4, gradient_clip_val=0.5, logger=False, enable_checkpointing=False,
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(vae, DataLoader(TensorDataset(train), 12, shuffle=True), DataLoader(TensorDataset(val), 12))
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    report(vae, losses=vae.losses, pictures=vae.pictures, rates=rates, means=trainer.callback_metrics)
