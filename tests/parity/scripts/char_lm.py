"""A language model of characters: a causal transformer, warm-up by steps, clipping, and text written at the end."""

import math

import pytorch_lightning as pl
import torch
from figures import report
from torch import nn
from torch.utils.data import DataLoader, Dataset

TEXT = "the quick brown fox jumps over the lazy dog. " * 6


class CharDataset(Dataset):
    def __init__(self, text, block_size):
        self.chars = sorted(set(text))
        self.codes = {ch: i for i, ch in enumerate(self.chars)}
        self.data, self.block_size = torch.tensor([self.codes[ch] for ch in text]), block_size

    def __len__(self):
        return (len(self.data) - 1) // self.block_size

    def __getitem__(self, i):
        chunk = self.data[i * self.block_size : (i + 1) * self.block_size + 1]
        return chunk[:-1], chunk[1:]


class GPT(pl.LightningModule):
    def __init__(self, vocab_size, block_size=8, width=16, heads=2, layers=2, learning_rate=1e-2, weight_decay=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.tok_emb = nn.Embedding(vocab_size, width)
        self.pos_emb = nn.Parameter(torch.zeros(1, block_size, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        self.losses, self.rates, self.norms = [], [], []

    def configure_optimizers(self):
        decay = [p for p in self.parameters() if p.dim() >= 2]
        rest = [p for p in self.parameters() if p.dim() < 2]
        groups = [{"params": decay, "weight_decay": self.hparams.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.hparams.learning_rate, betas=(0.9, 0.95))
        total = int(self.trainer.estimated_stepping_batches)

        def warm_then_cosine(step):
            return (step + 1) / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * step / total))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_then_cosine)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "warm"}}

    def forward(self, idx):
        length = idx.size(1)
        mask = nn.Transformer.generate_square_subsequent_mask(length).to(idx.device)
        x = self.blocks(self.tok_emb(idx) + self.pos_emb[:, :length], mask=mask, is_causal=True)
        return self.head(self.ln_f(x))

    def training_step(self, batch, batch_idx):
        idx, targets = batch
        loss = nn.functional.cross_entropy(self(idx).flatten(0, 1), targets.flatten())
        self.log("train_loss", loss)
        self.losses.append(loss.item())
        return loss

    def on_before_optimizer_step(self, optimizer):
        self.norms.append(sum(p.grad.norm() for p in self.parameters() if p.grad is not None))

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.rates.append(self.lr_schedulers().get_last_lr()[0])

    @torch.no_grad()
    def generate(self, idx, count):
        self.eval()
        for _ in range(count):
            logits = self(idx[:, -self.hparams.block_size :])[:, -1]
            idx = torch.cat([idx, torch.multinomial(logits.softmax(-1), 1)], dim=1)
        return idx


if __name__ == "__main__":
    pl.seed_everything(42)
    data = CharDataset(TEXT, block_size=8)
    model = GPT(len(data.chars))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, gradient_clip_val=1.0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(data, batch_size=8, shuffle=True))
    written = model.generate(torch.zeros(1, 1, dtype=torch.long), 20)
    report(model, losses=model.losses, rates=model.rates, norms=model.norms, written=written)
