"""What a training step costs: Python calls beyond those of the same step written by hand, and our frames on the stack.

Calls are counted, not timed, so the figures are the same on every machine. Times are in benchmarks/.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen import LightningModule, Trainer

PACKAGE = str(Path(fulmen.__file__).parent)
SHORT, LONG = 100, 1100
BARE: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Model(LightningModule):
    """`Linear(8, 2)` and SGD, with or without a log."""

    def __init__(self, log: bool = False) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 2)
        self.log_loss = log

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.layer(batch[0]).sum()
        if self.log_loss:
            self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _loader(steps: int) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(torch.ones(4 * steps, 8)), batch_size=4)


def _calls(run: Callable[[], None]) -> int:
    """How many Python functions are called while something runs; generators count at each resumption."""
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def _calls_a_step(make_run: Callable[[int], Callable[[], None]]) -> float:
    """The calls of a step, from two runs of different length: what happens once a run cancels out."""
    make_run(10)()  # what torch and the package do once a process
    return (_calls(make_run(LONG)) - _calls(make_run(SHORT))) / (LONG - SHORT)


def _by_hand(steps: int) -> Callable[[], None]:
    layer, loader = torch.nn.Linear(8, 2), _loader(steps)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)

    def run() -> None:
        for batch in loader:
            optimizer.zero_grad()
            layer(batch[0]).sum().backward()
            optimizer.step()

    return run


def _by_trainer(log: bool, **flags: Any) -> Callable[[int], Callable[[], None]]:
    def make_run(steps: int) -> Callable[[], None]:
        # Calls that are saved in reading the data must not hide calls that are added elsewhere.
        trainer = Trainer(max_epochs=1, accelerator="cpu", fast_data=False, **flags)
        model, loader = Model(log), _loader(steps)
        return lambda: trainer.fit(model, loader)

    return make_run


@pytest.fixture(scope="module")
def calls_by_hand() -> float:
    return _calls_a_step(_by_hand)


@pytest.mark.parametrize(
    ("log", "flags", "limit"),
    [
        pytest.param(False, BARE, 40, id="bare"),
        pytest.param(True, BARE, 60, id="one log"),
        pytest.param(True, {}, 90, id="all defaults and the log"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_calls_a_step(calls_by_hand: float, log: bool, flags: dict[str, Any], limit: int) -> None:
    above = _calls_a_step(_by_trainer(log, **flags)) - calls_by_hand
    assert above <= limit, f"{above:.1f} Python calls a step above the {calls_by_hand:.1f} of a hand-written loop"


def _our_frames() -> list[str]:
    """The functions of the package that are on the stack now, innermost first."""
    found = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            found.append(frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name)
        frame = frame.f_back
    return found


@pytest.mark.parametrize("flags", [pytest.param(BARE, id="bare"), pytest.param({}, id="all defaults")])
@pytest.mark.parametrize("make_optimizer", [torch.optim.SGD, torch.optim.LBFGS])
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_frames_from_fit(flags: dict[str, Any], make_optimizer: type[torch.optim.Optimizer]) -> None:
    """LBFGS calls the step back through a closure, SGD does not."""
    frames: dict[str, list[str]] = {}

    class Noting(Model):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            frames["training_step"] = _our_frames()
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            optimizer = make_optimizer(self.parameters(), lr=0.1)  # type: ignore[call-arg]
            optimizer.register_step_pre_hook(lambda *_: frames.update(step=_our_frames()))
            return optimizer

    Trainer(max_steps=3, accelerator="cpu", **flags).fit(Noting(log=True), _loader(10))
    for name, limit in (("training_step", 6), ("step", 5)):
        assert frames[name][-1].endswith("fit")
        assert len(frames[name]) <= limit, f"{len(frames[name])} frames to `{name}`: {frames[name]}"


NEW_MODULES = """
import json, sys
import torch
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import fulmen",
        "from fulmen import Trainer, LightningModule, LightningDataModule, Callback; Trainer(logger=False)",
    ],
)
def test_modules_imported(statement: str) -> None:
    """Counts what comes beyond `import torch`; parts of torch that torch itself loads late are torch's."""
    code = NEW_MODULES.format(statement=statement)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = [name for name in json.loads(run.stdout.splitlines()[-1]) if name.split(".")[0] != "torch"]
    others = {name for name in new if name.split(".")[0] not in {"fulmen", *sys.stdlib_module_names}}
    assert not others, f"third-party modules: {sorted(others)}"
    assert len(new) <= 60, f"{len(new)} modules: {new}"
