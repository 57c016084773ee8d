"""A pretrained backbone: the head alone at first, then all of it with a small rate."""

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from figures import report
from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TransferModel(pl.LightningModule):
    def __init__(self, lr=0.05):
        super().__init__()
        self.lr = lr
        self.backbone = nn.Sequential(nn.Linear(10, 12), nn.Tanh(), nn.Linear(12, 6))
        self.head = nn.Linear(6, 3)
        self.losses, self.groups = [], []

    def forward(self, x):
        return self.head(torch.relu(self.backbone(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.losses.append(loss.item())
        return loss

    def on_train_epoch_end(self):
        self.groups.append([(group["lr"], len(group["params"])) for group in self.optimizers().param_groups])

    def configure_optimizers(self):
        parameters = filter(lambda p: p.requires_grad, self.parameters())
        return torch.optim.SGD(parameters, lr=self.lr, momentum=0.9)


class Milestones(BaseFinetuning):
    def __init__(self, milestone=1, train_bn=True):
        super().__init__()
        self.milestone = milestone

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == self.milestone:
            self.unfreeze_and_add_param_group(modules=pl_module.backbone[2], optimizer=optimizer, lr=1e-3)
        elif epoch == self.milestone + 1:
            self.unfreeze_and_add_param_group(modules=pl_module.backbone[0], optimizer=optimizer)


def train(callback):
    pl.seed_everything(11)
    x = torch.randn(48, 10)
    data = TensorDataset(x, (x.sum(1) > 0).long() + (x[:, 0] > 1).long())
    model = TransferModel()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=4, callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(data, batch_size=16, shuffle=True))
    return model


if __name__ == "__main__":
    schedule = BackboneFinetuning(
        unfreeze_backbone_at_epoch=2, lambda_func=lambda epoch: 1.5, backbone_initial_ratio_lr=0.1, should_align=True
    )
    first, second = train(schedule), train(Milestones())
    report(
        first, losses=first.losses, groups=first.groups, milestones=(second.losses, second.groups, second.state_dict())
    )
