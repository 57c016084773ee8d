"""Files that Lightning wrote are read without Lightning, hyper-parameters of well-known kinds included."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from tests import warm

WRITE = """
import argparse, collections, pathlib, warnings
warnings.simplefilter("ignore")
import torch, pytorch_lightning as pl
from lightning_fabric.utilities.data import AttributeDict as Other
from pytorch_lightning.utilities.parsing import AttributeDict

class Trained(pl.LightningModule):
    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())

class Model(Trained):
    def __init__(self, width, root, space, nested, counts, conf):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

class Holder(Trained):
    def __init__(self, conf):
        super().__init__()
        self.save_hyperparameters(conf)
        self.layer = torch.nn.Linear(2, 1)

counts = collections.defaultdict(int, a=1)
conf = AttributeDict(layers=Other(width=3, root=pathlib.PurePosixPath("/x")))
model = Model(2, pathlib.Path("a/b"), argparse.Namespace(a=1), conf, counts, collections.OrderedDict(b=torch.float16))
for name, module in (("model", model), ("holder", Holder(AttributeDict(inner=conf, a=1)))):
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(module, torch.utils.data.DataLoader(torch.ones(2, 2)))
    trainer.save_checkpoint(f"{name}.ckpt")
"""
READ = """
import argparse, collections, pathlib, sys
import torch, fulmen
from fulmen.utilities.parsing import AttributeDict

class Model(fulmen.LightningModule):
    def __init__(self, width, root, space, nested, counts, conf):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

class Holder(fulmen.LightningModule):
    def __init__(self, conf):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.conf = conf

hparams = Model.load_from_checkpoint("model.ckpt").hparams
assert (hparams.width, hparams.root, hparams.space.a) == (2, pathlib.Path("a/b"), 1)
assert type(hparams.nested) is type(hparams.nested.layers) is AttributeDict
assert (hparams.nested.layers.width, hparams.nested.layers.root) == (3, pathlib.PurePosixPath("/x"))
assert type(hparams.counts) is collections.defaultdict and hparams.counts["new"] == 0
assert hparams.conf == collections.OrderedDict(b=torch.float16)
assert Holder.load_from_checkpoint("holder.ckpt").conf.inner.layers.width == 3
assert not [name for name in sys.modules if "lightning" in name.split(".")[0]]
"""


def test_files_of_lightning_are_read_without_it(lightning: ModuleType, tmp_path: Path) -> None:
    for code, modules in ((WRITE, ("torch", "fulmen", "pytorch_lightning")), (READ, ("torch", "fulmen"))):
        done = warm.run(code, cwd=tmp_path, modules=modules)
        assert done.returncode == 0, done.stderr
