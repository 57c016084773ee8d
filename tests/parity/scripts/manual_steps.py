"""Manual optimization: gradients of several batches gathered, clipped, two schedulers stepped by hand."""

import pytorch_lightning as pl
import torch
from figures import report
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class ManualAccumulation(pl.LightningModule):
    def __init__(self, accumulate=4):
        super().__init__()
        self.automatic_optimization = False
        self.accumulate = accumulate
        self.body, self.head = nn.Linear(5, 8), nn.Linear(8, 1)
        self.losses, self.rates = [], []

    def training_step(self, batch, batch_idx):
        x, y = batch
        opt_body, opt_head = self.optimizers()
        loss = nn.functional.mse_loss(self.head(torch.tanh(self.body(x))), y) / self.accumulate
        self.manual_backward(loss)
        self.losses.append(loss.item())
        if (batch_idx + 1) % self.accumulate == 0:
            self.clip_gradients(opt_body, gradient_clip_val=0.05, gradient_clip_algorithm="norm")
            opt_body.step()
            opt_body.zero_grad()
            every_step, _ = self.lr_schedulers()
            every_step.step()
        if (batch_idx + 1) % 2 == 0:
            opt_head.step(closure=None)
            opt_head.zero_grad()
        self.log("loss", loss, on_epoch=True)

    def on_train_epoch_end(self):
        _, plateau = self.lr_schedulers()
        plateau.step(self.trainer.callback_metrics["loss"])
        self.rates.append([opt.param_groups[0]["lr"] for opt in self.optimizers()])

    def configure_optimizers(self):
        body = torch.optim.SGD(self.body.parameters(), lr=0.1, momentum=0.5)
        head = torch.optim.Adam(self.head.parameters(), lr=0.01)
        schedulers = [
            torch.optim.lr_scheduler.CyclicLR(body, 0.01, 0.1, step_size_up=2),
            torch.optim.lr_scheduler.ReduceLROnPlateau(head, patience=0, threshold=0.5),
        ]
        return [body, head], schedulers


class Closures(pl.LightningModule):
    """The same with a closure, and an optimizer of torch's that calls it several times."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.net = nn.Linear(5, 1)
        self.losses = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        optimizer = self.optimizers()

        def closure():
            loss = nn.functional.mse_loss(self.net(x), y)
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.losses.append(loss.item())
            return loss

        optimizer.step(closure=closure)

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.5, max_iter=3)


def train(model):
    x = torch.randn(64, 5)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(TensorDataset(x, x[:, :1] * 2), batch_size=8, shuffle=True))
    return model, trainer


if __name__ == "__main__":
    pl.seed_everything(8)
    first, trainer = train(ManualAccumulation())
    second, other = train(Closures())
    report(
        first, losses=first.losses, rates=first.rates, steps=(trainer.global_step, other.global_step),
        closures=(second.losses, second.state_dict()),
    )  # fmt: skip
