"""Draws handwritten digits: a generator and a discriminator that learn from each other, with a loss for each.

The data are the 1,797 images of 8 x 8 pixels that come with scikit-learn. The loss is the "non-saturating" one of
Goodfellow et al., "Generative Adversarial Nets" (2014), with the gradient penalty R1 of Mescheder et al., "Which
Training Methods for GANs do actually Converge?" (2018). Run it with `python examples/gan.py` after
`pip install fulmen[examples]`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.loggers import CSVLogger

SEED = 1


def generator(latent: int) -> nn.Module:
    """Makes images (N, 1, 8, 8), from -1 to 1, of noise (N, latent)."""
    return nn.Sequential(
        nn.Linear(latent, 128 * 2 * 2), nn.Unflatten(1, (128, 2, 2)), nn.BatchNorm2d(128), nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1), nn.Tanh(),
    )  # fmt: skip


def discriminator() -> nn.Module:
    """Gives images a score; above 0 means real."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(128 * 2 * 2, 1),
    )  # fmt: skip


class GAN(pl.LightningModule):
    """Two networks, with an optimizer and a loss for each: a loss trains the network of its name, and no other."""

    def __init__(self, latent: int = 32, learning_rate: float = 5e-4, penalty: float = 1.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.generator = generator(latent)
        self.discriminator = discriminator()

    def forward(self, noise: Tensor) -> Tensor:
        return self.generator(noise)

    def noise(self, count: int) -> Tensor:
        return torch.randn(count, self.hparams.latent, device=self.device)

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Iterator[tuple[str, Tensor]]:
        """Yields one loss after the other: the discriminator has learned from its own when the next is computed."""
        real = batch[0].requires_grad_()
        made = self(self.noise(len(real))).detach()
        score = self.discriminator(real)
        [slope] = torch.autograd.grad(score.sum(), real, create_graph=True)
        penalty = slope.square().sum((1, 2, 3)).mean() / 2
        loss = nn.functional.softplus(-score).mean() + nn.functional.softplus(self.discriminator(made)).mean()
        self.log("discriminator_loss", loss, prog_bar=True)
        yield "discriminator", loss + self.hparams.penalty * penalty

        told = nn.functional.softplus(-self.discriminator(self(self.noise(len(real))))).mean()
        self.log("generator_loss", told, prog_bar=True)
        yield "generator", told

    def configure_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        rate, betas = self.hparams.learning_rate, (0.5, 0.99)
        return {name: torch.optim.Adam(one.parameters(), lr=rate, betas=betas) for name, one in networks.items()}


def distance(made: Tensor, real: Tensor) -> float:
    """How far made images are from real ones: the Frechet distance of Gaussians that fit their pixels.

    That is the measure of Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017), without their network,
    which was trained on photographs.

    Args:
        made: Images (N, 1, 8, 8).
        real: Images (M, 1, 8, 8).

    Returns:
        The distance; 0 for the same mean and covariance.
    """
    (mean, cov), (other_mean, other_cov) = (
        (pixels.mean(0), torch.cov(pixels.T)) for pixels in (made.flatten(1).double(), real.flatten(1).double())
    )
    # The trace of the root of a product of covariances is the sum of the roots of its eigenvalues.
    root = torch.linalg.eigvals(cov @ other_cov).real.clamp(min=0).sqrt().sum()
    return float((mean - other_mean).square().sum() + cov.trace() + other_cov.trace() - 2 * root)


def draw(images: Tensor, picture: Path) -> None:
    """Draws images in rows of ten."""
    figure = Figure(figsize=(8, 8 * len(images) / 100), layout="constrained")
    for axes, image in zip(figure.subplots(len(images) // 10, 10).flat, images, strict=True):
        axes.imshow(image[0].numpy(), cmap="gray_r")
        axes.axis("off")
    figure.savefig(picture)


def main(root: Path, max_epochs: int = 60) -> tuple[float, float]:
    """Trains and draws. Returns how far noise was from real digits before training, and what is drawn after it."""
    pl.seed_everything(SEED)
    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1  # (1797, 1, 8, 8)
    model = GAN()
    fixed = torch.randn(2000, model.hparams.latent, generator=torch.Generator().manual_seed(SEED))

    def made() -> Tensor:
        model.eval()
        with torch.no_grad():
            images = model(fixed)
        model.train()
        return images

    before = distance(made(), images)
    logger = CSVLogger(root, name="gan")
    trainer = pl.Trainer(max_epochs=max_epochs, logger=logger, log_every_n_steps=10, deterministic=True)
    loader: Any = DataLoader(TensorDataset(images), batch_size=64, shuffle=True, drop_last=True)
    trainer.fit(model, loader)
    after = distance(made(), images)

    picture = Path(logger.log_dir) / "digits.png"
    draw(made()[:50], picture)
    print(f"distance from real digits   {before:.1f} before, {after:.1f} after")
    print(f"drawn                       {picture}")
    print(f"logged values               {logger.log_dir}/metrics.csv")
    return before, after


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where logs, checkpoints and the picture go")
    parser.add_argument("--max-epochs", type=int, default=60, help="passes over the images")
    arguments = parser.parse_args()
    main(arguments.root, arguments.max_epochs)
