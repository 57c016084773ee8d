"""The scripts that both frameworks run for their hooks, and the function that runs one and returns its record."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from .models import MODULES, module_class
from .recorder import (
    CALLBACK_EVENTS,
    DATA_EVENTS,
    MODULE_EVENTS,
    MODULE_OVERRIDES,
    STEPS,
    TRANSFER_HOOKS,
    Recorder,
    recording,
    shown,
)

QUIET: Mapping[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
# Which hooks each owner overrides: an override that changes the way of a step must not change the order of the others.
LISTENERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "all": {
        "module": (*MODULE_EVENTS, *MODULE_OVERRIDES, *STEPS),
        "callback": CALLBACK_EVENTS,
        "data": DATA_EVENTS,
    },
    "events": {"module": (*MODULE_EVENTS, *STEPS), "callback": CALLBACK_EVENTS, "data": DATA_EVENTS},
    "callback": {"module": STEPS, "callback": CALLBACK_EVENTS, "data": ()},
    "module": {"module": (*MODULE_EVENTS, *STEPS), "callback": (), "data": DATA_EVENTS},
    "transfer of the module": {"module": (*TRANSFER_HOOKS, *STEPS), "callback": (), "data": ()},
    "transfer of the data": {"module": STEPS, "callback": (), "data": TRANSFER_HOOKS},
    "transfer of both": {"module": (*TRANSFER_HOOKS, *STEPS), "callback": (), "data": TRANSFER_HOOKS[1:]},
}


@dataclass(frozen=True)
class Case:
    """One script: which functions of the trainer are called, with which module, data and flags.

    A loader is given by its number of batches, several loaders by a tuple, an iterable one of unknown length by
    ``Unknown(n)``.
    """

    name: str
    calls: tuple[str, ...] = ("fit",)
    module: str = "automatic"
    listeners: str = "all"
    train: Any = 4
    val: Any = 1
    test: Any = 1
    predict: Any = 1
    flags: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] | None = None
    resume: bool = False  # the calls get the checkpoint of an earlier run, saved at the end of its first epoch


@dataclass(frozen=True)
class Unknown:
    """A loader over an iterable data set that does not tell its length."""

    batches: int


class _Stream(IterableDataset):
    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(_samples(self.samples))


def _samples(count: int) -> torch.Tensor:
    return torch.arange(count * 4, dtype=torch.float32).reshape(count, 4) / 100


def loaders(spec: Any) -> Any:
    """What a loader function of a data module returns for ``spec``."""
    if isinstance(spec, tuple):
        return [loaders(item) for item in spec]
    if isinstance(spec, Unknown):
        return DataLoader(_Stream(spec.batches * 2), batch_size=2)
    return DataLoader(_samples(spec * 2), batch_size=2)


def data_class(pl: Any) -> type:
    """A data module whose loaders are given by numbers."""

    class Data(pl.LightningDataModule):
        def __init__(self, case: Case) -> None:
            super().__init__()
            self.case = case

        def train_dataloader(self) -> Any:
            return loaders(self.case.train)

        def val_dataloader(self) -> Any:
            return loaders(self.case.val)

        def test_dataloader(self) -> Any:
            return loaders(self.case.test)

        def predict_dataloader(self) -> Any:
            return loaders(self.case.predict)

        def state_dict(self) -> dict[str, Any]:
            return {"seen": 1}

    return Data


def _earlier_run(pl: Any, case: Case, root: Path) -> Path:
    """Train one epoch with the case's module and data, and return the checkpoint that was saved at its end."""
    module, data, _ = make(pl, case, Recorder())
    checkpoint = pl.callbacks.ModelCheckpoint(dirpath=str(root), filename="earlier")
    flags = {**QUIET, "enable_checkpointing": True, "max_epochs": 1, "default_root_dir": str(root)}
    pl.Trainer(callbacks=[checkpoint], **flags).fit(module, datamodule=data)
    return root / "earlier.ckpt"


def make(pl: Any, case: Case, recorder: Recorder) -> tuple[Any, Any, Any]:
    """The recording module, data module and callback of ``case``."""
    plain = module_class(pl)
    changed = type("Module", (plain,), MODULES[case.module](plain))
    heard = LISTENERS[case.listeners]
    module = recording(changed, "module", heard["module"], recorder)()
    data = recording(data_class(pl), "data", heard["data"], recorder)(case)
    callback = recording(pl.Callback, "callback", heard["callback"], recorder)()
    return module, data, callback


def run(pl: Any, case: Case, root: Path) -> list[str]:
    """Run ``case`` under ``pl`` and return what happened, line by line."""
    recorder = Recorder()
    torch.manual_seed(0)
    with quiet():
        arguments = dict(case.arguments)
        if case.resume:
            arguments["ckpt_path"] = str(_earlier_run(pl, case, root))
        module, data, callback = make(pl, case, recorder)
        callbacks = [callback]
        flags = {**QUIET, "max_epochs": 2, "default_root_dir": str(root), **case.flags}
        if case.checkpoint is not None:
            callbacks.append(pl.callbacks.ModelCheckpoint(dirpath=str(root), **case.checkpoint))
            flags["enable_checkpointing"] = True
        trainer = pl.Trainer(callbacks=callbacks, **flags)
        recorder.trainer, recorder.module = trainer, module
        for call in case.calls:
            recorder.lines.append(f"trainer.{call}")
            recorder.lines.append(_outcome(trainer, call, module, data, arguments))
            recorder.lines.append(_state(trainer))
    return recorder.lines


def _outcome(trainer: Any, call: str, module: Any, data: Any, arguments: dict[str, Any]) -> str:
    if call in ("validate", "test"):
        arguments = {**arguments, "verbose": False}
    try:
        return f"returned {shown(getattr(trainer, call)(module, datamodule=data, **arguments))}"
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return f"raised {type(error).__name__}({error})"


def _state(trainer: Any) -> str:
    counts = [f"num_{kind}_batches" for kind in ("training", "val", "sanity_val", "test", "predict")]
    names = ["current_epoch", "global_step", "should_stop", "interrupted", "is_last_batch", "val_check_batch", *counts]
    state = trainer.state
    shown_state = f"{shown(state.fn)}/{shown(state.stage)}/{shown(state.status)}"
    return f"{shown_state} " + " ".join(f"{name}={shown(getattr(trainer, name))}" for name in names)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor log lines: what a framework says about a script is not what it does with it."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def first_difference(expected: list[Any], actual: list[Any], around: int = 6) -> str:
    """Where two records part, with the lines before it; an empty text when they are equal."""
    if expected == actual:
        return ""
    pairs = zip(expected, actual)
    index = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(actual)))
    before = [f"      {line}" for line in expected[max(0, index - around) : index]]
    theirs = [f"  pl  {line}" for line in expected[index : index + around]]
    ours = [f"  us  {line}" for line in actual[index : index + around]]
    return "\n".join([f"the records part at line {index}:", *before, *theirs, *ours])
