"""A project as people wrote it for Lightning 1.5, in three files."""

FILES = {
    "models/base.py": '''\
import pytorch_lightning as pl


class Base(pl.LightningModule):
    """What all models share."""

    def on_pretrain_routine_start(self):
        self.prepared = True
''',
    "models/__init__.py": "",
    "models/net.py": '''\
import torch
from pytorch_lightning.core.lightning import LightningModule  # the old home
from pytorch_lightning.utilities.distributed import rank_zero_only

from .base import Base


class Net(LightningModule):
    # what is learned
    def __init__(self, hparams):
        super().__init__()
        self.hparams = hparams
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        loss = self(batch[0]).pow(2).mean()
        self.log("loss", loss, tbptt_reduce_fx=torch.mean)
        return loss

    def training_epoch_end(self, outputs):
        """The mean over the epoch."""
        self.log("train_mean", torch.stack([one["loss"] for one in outputs]).mean())

    def validation_step(self, batch, batch_idx):
        loss = self(batch[0]).pow(2).mean()
        if batch_idx == 0:
            return {"loss": loss, "first": True}
        return {"loss": loss, "first": False}  # any other

    def validation_epoch_end(self, outs):
        assert [one["first"] for one in outs] == [True, *[False] * (len(outs) - 1)]
        self.log("val", torch.stack([one["loss"] for one in outs]).mean())
        if self.trainer.running_sanity_check:
            self.print_once()

    @rank_zero_only
    def print_once(self):
        self.said = True

    def on_train_batch_start(self, batch, batch_idx, dataloader_idx):
        pass

    def optimizer_step(
        self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, on_tpu=False, using_native_amp=False
    ):
        optimizer.step(closure=optimizer_closure)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])


class Other(Base):
    pass
''',
    "train.py": """\
import pytorch_lightning as pl
import torch
from models.net import Net, Other
from torch.utils.data import DataLoader, TensorDataset


class Counter(pl.Callback):
    batches = 0

    def on_batch_end(self, trainer, pl_module):
        self.batches += 1
        self.shown = dict(trainer.progress_bar_dict)

    def on_keyboard_interrupt(self, trainer, pl_module):
        raise AssertionError


def main(path=None):
    counter = Counter()
    data = DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=2)
    trainer = pl.Trainer(
        gpus=0,  # none here
        max_epochs=2,
        progress_bar_refresh_rate=0,
        weights_summary=None,
        checkpoint_callback=False,
        callbacks=[counter],
        resume_from_checkpoint=path,
        accumulate_grad_batches={1: 2},
        terminate_on_nan=False,
        logger=False,
    )
    model = Net({"lr": 0.1})
    trainer.fit(model, train_dataloader=data, val_dataloaders=data)
    return trainer, model, counter


result = main()
""",
}
