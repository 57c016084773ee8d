"""Parts of one's own: a callback with state, a logger, a profiler that reports, a learning rate scheduler."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from figures import report
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.profilers import SimpleProfiler
from pytorch_lightning.utilities import grad_norm, rank_zero_only


class ListLogger(Logger):
    def __init__(self):
        super().__init__()
        self.metrics, self.params, self.status = [], {}, None

    @property
    def name(self):
        return "list"

    @property
    def version(self):
        return "0.1"

    @property
    @rank_zero_experiment
    def experiment(self):
        return self.metrics

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs):
        self.params.update(dict(params))

    @rank_zero_only
    def log_metrics(self, metrics, step):
        self.metrics.append((step, dict(metrics)))

    @rank_zero_only
    def finalize(self, status):
        self.status = status


class Monitor(pl.Callback):
    def __init__(self):
        self.counts = {"batches": 0, "epochs": 0}
        self.events = []

    def state_dict(self):
        return self.counts.copy()

    def load_state_dict(self, state_dict):
        self.counts.update(state_dict)

    def setup(self, trainer, pl_module, stage):
        self.events.append(("setup", stage))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.counts["batches"] += 1
        trainer.logger.log_metrics({"seen": float(self.counts["batches"])}, step=trainer.global_step)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        pl_module.log_dict(grad_norm(pl_module.layer, norm_type=2))

    def on_train_epoch_end(self, trainer, pl_module):
        self.counts["epochs"] += 1
        pl_module.log("weight", pl_module.layer.weight.abs().max())

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["mine"] = dict(self.counts)

    def on_load_checkpoint(self, trainer, pl_module, checkpoint):
        self.events.append(checkpoint["mine"])


class Model(BoringModel):
    def __init__(self, power=2):
        super().__init__()
        self.save_hyperparameters()
        self.losses = []

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).abs().pow(self.hparams.power).mean()
        self.log("loss", loss)
        self.losses.append(loss.item())
        return loss

    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=3)]


def make_trainer(epochs, monitor):
    callbacks = [monitor, pl.callbacks.Timer(), pl.callbacks.GradientAccumulationScheduler({0: 2})]
    return pl.Trainer(
        accelerator="cpu", max_epochs=epochs, limit_train_batches=4, limit_val_batches=0, log_every_n_steps=2,
        logger=ListLogger(), callbacks=callbacks,
        profiler=SimpleProfiler(dirpath=".", filename="profile"), enable_progress_bar=False,
        enable_model_summary=False, default_root_dir="kept",
    )  # fmt: skip


if __name__ == "__main__":
    pl.seed_everything(31)
    monitor = Monitor()
    trainer = make_trainer(2, monitor)
    model = Model()
    trainer.fit(model)
    logger = trainer.logger
    again, other = make_trainer(3, Monitor()), Model()
    again.fit(other, ckpt_path=trainer.checkpoint_callback.best_model_path)
    actions = Path("fit-profile.txt").read_text()
    report(
        other, logged=logger.metrics, params=logger.params, status=logger.status, losses=(model.losses, other.losses),
        events=(monitor.events, again.callbacks[0].events), counts=again.callbacks[0].counts, steps=again.global_step,
        profiled=[name in actions for name in ("run_training_batch", "[Callback]Monitor.on_train_batch_end")],
    )  # fmt: skip
