"""The actions of a profiled run and their counts, and the numbers in the reports, are Lightning's.

Lightning also counts hooks that nobody overrides, which Fulmen does not call. Under automatic optimization Lightning's
action for the update is the module's ``optimizer_step``, with the whole step inside; Fulmen's is the strategy's, and
the module's is there where it is overridden. Moving a batch is one action, with all hooks in it. A callback's actions
are named after its class, not after its ``state_key``.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from .scenarios import quiet

SHARED = re.compile(
    r"run_training_|^save_checkpoint|\[_\w+Loop\]|\.(training|validation|test|predict)_step$|\.(backward|batch_to_device)$"
)
HOOKS = (
    *("setup", "teardown", "configure_optimizers", "prepare_data", "train_dataloader", "val_dataloader"),
    *("on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_before_zero_grad"),
    *("on_before_backward", "on_after_backward", "on_before_optimizer_step", "optimizer_zero_grad"),
    *("configure_gradient_clipping", "lr_scheduler_step", "on_train_batch_end", "on_train_epoch_end", "on_train_end"),
    *("on_validation_start", "on_validation_batch_end", "on_test_epoch_end", "on_predict_batch_start"),
    "optimizer_step",
)

TRANSFER = "transfer_batch_to_device"  # a part of the strategy's `batch_to_device`


def script(pl: ModuleType, method: str, stops: bool) -> Counter[str]:
    """Runs a method under a profiler that counts."""
    counts: Counter[str] = Counter()

    class Counting(pl.profilers.Profiler):  # type: ignore[misc, name-defined]
        def start(self, action_name: str) -> None:
            counts[action_name] += 1

        def stop(self, action_name: str) -> None:
            pass

    class Base(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            self.trainer.should_stop = stops and self.trainer.current_epoch == 1
            return self.layer(batch[0]).sum()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.layer(batch[0])

        test_step = predict_step = validation_step

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1), "interval": "step"}]

        def train_dataloader(self) -> Any:
            return loader(3)

        def val_dataloader(self) -> Any:
            return loader(2)

        test_dataloader = predict_dataloader = val_dataloader

    model = type("Model", (Base,), {name: _calling_on(getattr(Base, name)) for name in (*HOOKS, TRANSFER)})()
    trainer = pl.Trainer(
        max_epochs=3, profiler=Counting(), accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=1.0, num_sanity_val_steps=1, val_check_interval=2,
    )  # fmt: skip
    with quiet():
        getattr(trainer, method)(model)
    return Counter({name: count for name, count in counts.items() if SHARED.search(name) or _is_hook(name)})


def _calling_on(method: Callable[..., Any]) -> Callable[..., Any]:
    def hook(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    hook.__name__ = method.__name__
    hook.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
    return hook


def _is_hook(name: str) -> bool:
    return name.startswith("[LightningModule]Model.") and name.rpartition(".")[2] in HOOKS


def loader(batches: int) -> Any:
    return DataLoader(TensorDataset(torch.ones(2 * batches, 4)), batch_size=2)


@pytest.mark.parametrize(
    ("method", "stops"), [("fit", False), ("fit", True), ("validate", False), ("test", False), ("predict", False)]
)
@pytest.mark.filterwarnings("ignore")
def test_actions(method: str, stops: bool, lightning: ModuleType, fulmen: ModuleType) -> None:
    expected, found = script(lightning, method, stops), script(fulmen, method, stops)
    assert found == expected
    assert sum(found.values()) > (80 if method == "fit" else 8)


def cells(report: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("extended", [False, True])
def test_the_table(extended: bool, lightning: ModuleType, fulmen: ModuleType) -> None:
    def table(pl: ModuleType) -> tuple[str, list[list[str]]]:
        profiler = pl.profilers.SimpleProfiler(extended=extended)
        profiler.setup("fit", None, None)
        profiler.recorded_durations.update({"a": [0.25], "bb": [0.125, 1 / 3, 0.5], "c": [1e-7, 2e-6]})
        lines = profiler.summary().splitlines()
        # The whole and the shares depend on when the profiler was made.
        body = [row[: 4 if extended else 3] for row in cells("\n".join(lines)) if row[0] != "Total"]
        return lines[0], body

    assert table(fulmen) == table(lightning)


@pytest.mark.parametrize("rank", [None, 1])
def test_the_names_of_files(rank: int | None, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    def names(pl: ModuleType) -> list[str]:
        folder = tmp_path / pl.__name__
        for profiler in (
            pl.profilers.SimpleProfiler(dirpath=str(folder), filename="simple"),
            pl.profilers.AdvancedProfiler(dirpath=str(folder), filename="advanced", dump_stats=True),
        ):
            profiler.setup("fit", rank, str(tmp_path / "logs"))
            with profiler.profile("[A]b/c d"), contextlib.redirect_stdout(io.StringIO()):
                sorted([1])
            profiler.describe()
        return sorted(path.name for path in folder.iterdir())

    assert names(fulmen) == names(lightning)
