"""What is printed of an error: the user's own frame near the top, and everything on demand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

SCRIPT = """
import os, sys, warnings
import torch
from torch.utils.data import DataLoader, Dataset
import fulmen

warnings.simplefilter("ignore")
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
             accelerator="cpu", max_epochs=1)

class Items(Dataset):
    broken = False
    def __len__(self): return 4
    def __getitem__(self, index):
        if self.broken: raise ValueError("boo")
        return torch.ones(4)

class Net(fulmen.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
    def forward(self, x): return self.layer(x)
    def training_step(self, batch, batch_idx): return self(batch).sum()
    def validation_step(self, batch, batch_idx): self(batch)
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), 0.1)

def user(net=None, data=None, **flags):
    fulmen.Trainer(**{**quiet, **flags}).fit(net or Net(), data or DataLoader(Items()), DataLoader(Items()))

class Raises(Net):
    def training_step(self, batch, batch_idx): raise ValueError("boo")
class Optimizer(Raises):
    def optimizer_step(self, epoch, batch_idx, optimizer, closure): optimizer.step(closure)
class Shapes(Net):
    def training_step(self, batch, batch_idx): return self(batch[:, :3]).sum()
class Logs(Net):
    def training_step(self, batch, batch_idx): self.log("a", self(batch))
class Late(Net):
    def on_train_epoch_end(self): {}["missing"]
class Validates(Net):
    def validation_step(self, batch, batch_idx): raise ValueError("boo")
class Configures(Net):
    def configure_optimizers(self): return torch.optim.SGD([], 0.1)
class Returns(Net):
    def training_step(self, batch, batch_idx): return 0.5
class Vector(Net):
    def training_step(self, batch, batch_idx): return self(batch)
class Listener(fulmen.Callback):
    def on_train_batch_end(self, *args): raise ValueError("boo")
class Broken(Items):
    broken = True

CASES = {
    "Raises training_step": dict(net=Raises()),
    "Optimizer training_step": dict(net=Optimizer()),
    "Shapes training_step": dict(net=Shapes()),
    "Logs training_step": dict(net=Logs()),
    "Late on_train_epoch_end": dict(net=Late()),
    "Validates validation_step": dict(net=Validates()),
    "Configures configure_optimizers": dict(net=Configures()),
    "Returns user": dict(net=Returns()),
    "Vector user": dict(net=Vector()),
    "Listener on_train_batch_end": dict(callbacks=[Listener()]),
    "Broken __getitem__": dict(data=DataLoader(Broken())),
    "Flag user": dict(max_epoch=3),
    "Class user": dict(net=Net),
    "Nothing user": dict(net=fulmen.LightningModule()),
}
for full in "01":
    os.environ["FULMEN_FULL_TRACEBACK"] = full
    for name, case in CASES.items():
        print("case", full, name, file=sys.stderr, flush=True)
        try:
            user(**case)
        except Exception:
            sys.excepthook(*sys.exc_info())
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], dict[str, list[str]]]:
    """What Python prints of each error, by the name of the case and the user's own frame; folded or full."""
    script = tmp_path_factory.mktemp("tracebacks") / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, cwd=script.parent)
    found: tuple[dict[str, list[str]], ...] = ({}, {})
    for line in done.stderr.splitlines():
        if line.startswith("case "):
            _, full, name = line.split(" ", 2)
            found[int(full)][name] = lines = []
        else:
            lines.append(line.replace("\\", "/"))
    return lambda full: found[full]


def test_the_users_own_frame_is_near_the_top(printed: Callable[[bool], dict[str, list[str]]]) -> None:
    assert len(printed(False)) == 14
    for name, lines in printed(False).items():
        own = name.split()[1]
        above = max(i for i, line in enumerate(lines) if line.startswith("  File ") and line.endswith(f"in {own}"))
        assert above <= 12, "\n".join(lines)


def test_our_own_frames_are_folded(printed: Callable[[bool], dict[str, list[str]]]) -> None:
    lines = printed(False)["Raises training_step"]
    assert lines[-1] == "ValueError: boo"
    assert any("fulmen/loops" in line for line in lines) == (sys.version_info < (3, 11))


@pytest.mark.parametrize("name", ["Raises training_step", "Optimizer training_step", "Shapes training_step"])
def test_all_frames_are_there_on_demand(printed: Callable[[bool], dict[str, list[str]]], name: str) -> None:
    text = "\n".join(printed(True)[name])
    for file in ("trainer/trainer.py", "trainer/execute.py", "loops/fit.py", "loops/epoch.py", "loops/optimize.py"):
        assert f"fulmen/{file}" in text
