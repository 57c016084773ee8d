"""Cross-validation: a Trainer for each fold, an ensemble of the models on what is left."""

import pytorch_lightning as pl
import torch
import torchmetrics
from figures import report
from sklearn.datasets import load_iris
from sklearn.model_selection import KFold
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset


class Classifier(pl.LightningModule):
    def __init__(self, lr=0.05):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 3))
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(3)
        self.losses = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def test_step(self, batch, batch_idx):
        self.accuracy(self(batch[0]).softmax(-1), batch[1])
        self.log("accuracy", self.accuracy, on_epoch=True)

    def configure_optimizers(self):
        return torch.optim.Adagrad(self.parameters(), lr=self.lr)


class EnsembleVotingModel(pl.LightningModule):
    def __init__(self, models):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(3)

    def test_step(self, batch, batch_idx):
        logits = torch.stack([model(batch[0]) for model in self.models]).mean(0)
        self.accuracy(logits, batch[1])
        self.log("voted", self.accuracy)


def trainer():
    return pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip


if __name__ == "__main__":
    pl.seed_everything(19)
    x, y = load_iris(return_X_y=True)
    data = TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))
    models, scores = [], []
    for train, test in KFold(3, shuffle=True, random_state=0).split(x):
        model, run = Classifier(), trainer()
        run.fit(model, DataLoader(Subset(data, train.tolist()), batch_size=25, shuffle=True))
        scores.append(run.test(model, DataLoader(Subset(data, test.tolist()), batch_size=25), verbose=False))
        models.append(model)
    ensemble = EnsembleVotingModel(models)
    voted = trainer().test(ensemble, DataLoader(data, batch_size=50), verbose=False)
    report(ensemble, losses=[model.losses for model in models], scores=scores, voted=voted)
