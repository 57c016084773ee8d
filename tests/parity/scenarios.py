"""The scripts that both frameworks run for their hooks, and the function that runs one and returns its record."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, IterableDataset

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


@dataclass(frozen=True)
class Unknown:
    """A loader over an iterable data set that does not tell its length."""

    batches: int


class _Stream(IterableDataset):  # type: ignore[type-arg]
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
    return DataLoader(_samples(spec * 2), batch_size=2)  # type: ignore[arg-type]


def data_class(pl: Any) -> type:
    """A data module whose loaders are given by numbers."""

    class Data(pl.LightningDataModule):  # type: ignore[misc]
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


def module_class(pl: Any) -> type:
    """The plain model that the others change in one point."""

    class Automatic(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            return self.layer(batch).pow(2).mean()

        def validation_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
            value = self.layer(batch).pow(2).mean()
            self.log("value", value)
            return value

        def test_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self.log("value", self.layer(batch).pow(2).mean())

        def predict_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return self.layer(batch).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    return Automatic


Changes = Callable[[type], dict[str, Any]]
MODULES: dict[str, Changes] = {"automatic": lambda base: {}}


def _module(changes: Changes) -> Changes:
    MODULES[changes.__name__.strip("_")] = changes
    return changes


def _sgd(self: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(self.parameters(), 0.1)


@_module
def _plain_steps(base: type) -> dict[str, Any]:
    """Steps without ``dataloader_idx``, and one that wants the batch alone."""

    def training_step(self: Any, batch: torch.Tensor) -> Any:
        return self.layer(batch).mean()

    def validation_step(self: Any, batch: torch.Tensor, batch_idx: int) -> None: ...

    return {"training_step": training_step, "validation_step": validation_step}


@_module
def _no_optimizer(base: type) -> dict[str, Any]:
    return {"configure_optimizers": lambda self: None}


@_module
def _returns_dict(base: Any) -> dict[str, Any]:
    def training_step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        return {"loss": base.training_step(self, batch, batch_idx), "extra": torch.ones(3)}

    return {"training_step": training_step}


@_module
def _skips_second(base: Any) -> dict[str, Any]:
    """The second batch of each epoch has no loss."""

    def training_step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        return None if batch_idx == 1 else base.training_step(self, batch, batch_idx)

    return {"training_step": training_step}


@_module
def _leaves_epoch(base: type) -> dict[str, Any]:
    """The third batch ends the epoch before it is trained on."""

    def on_train_batch_start(self: Any, batch: Any, batch_idx: int) -> Any:
        return -1 if batch_idx == 2 else None

    return {"on_train_batch_start": on_train_batch_start, "configure_optimizers": _with_schedulers}


@_module
def _leaves_every_epoch(base: type) -> dict[str, Any]:
    return {"on_train_batch_start": lambda self, batch, batch_idx: -1}


@_module
def _stops_in_step(base: Any) -> dict[str, Any]:
    """Asks to stop in the second step of the run."""

    def training_step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        if self.trainer.global_step == 1:
            self.trainer.should_stop = True
        return base.training_step(self, batch, batch_idx)

    return {"training_step": training_step, "configure_optimizers": _with_schedulers}


@_module
def _stops_in_validation(base: type) -> dict[str, Any]:
    def on_validation_end(self: Any) -> None:
        self.trainer.should_stop = not self.trainer.sanity_checking

    return {"on_validation_end": on_validation_end}


@_module
def _stops_at_epoch_end(base: type) -> dict[str, Any]:
    def on_train_epoch_end(self: Any) -> None:
        self.trainer.should_stop = True

    return {"on_train_epoch_end": on_train_epoch_end}


@_module
def _steps_itself(base: type) -> dict[str, Any]:
    """An ``optimizer_step`` that gives the closure to the optimizer."""

    def optimizer_step(self: Any, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)

    return {"optimizer_step": optimizer_step}


@_module
def _steps_every_other(base: Any) -> dict[str, Any]:
    """An ``optimizer_step`` that only runs the closure on every other batch."""

    def optimizer_step(self: Any, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        if batch_idx % 2:
            optimizer_closure()
        else:
            base.optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure)

    return {"optimizer_step": optimizer_step}


@_module
def _lbfgs(base: type) -> dict[str, Any]:
    return {"configure_optimizers": lambda self: torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)}


def _with_schedulers(self: Any) -> Any:
    optimizer = _sgd(self)
    each: list[tuple[LRScheduler, str]] = [(StepLR(optimizer, 1), "epoch"), (StepLR(optimizer, 1), "step")]
    return [optimizer], [{"scheduler": scheduler, "interval": interval} for scheduler, interval in each]


@_module
def _schedulers(base: type) -> dict[str, Any]:
    return {"configure_optimizers": _with_schedulers}


@_module
def _slow_schedulers(base: type) -> dict[str, Any]:
    """Schedulers that step every second time only."""

    def configure_optimizers(self: Any) -> Any:
        optimizer = _sgd(self)
        config = {"scheduler": StepLR(optimizer, 1), "frequency": 2}
        return [optimizer], [{**config, "interval": interval} for interval in ("step", "epoch")]

    return {"configure_optimizers": configure_optimizers}


def _plateau_on(monitor: str, **options: Any) -> Callable[[Any], Any]:
    def configure_optimizers(self: Any) -> Any:
        optimizer = _sgd(self)
        scheduler = ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor, **options}}

    return configure_optimizers


@_module
def _plateau(base: type) -> dict[str, Any]:
    return {"configure_optimizers": _plateau_on("value", strict=False)}


@_module
def _plateau_step(base: type) -> dict[str, Any]:
    return {"configure_optimizers": _plateau_on("value", strict=False, interval="step")}


@_module
def _plateau_slow(base: type) -> dict[str, Any]:
    return {"configure_optimizers": _plateau_on("value", strict=False, frequency=2)}


def _manual_with(step: Callable[[Any, torch.Tensor], Any], optimizers: Callable[[Any], Any] = _sgd) -> Changes:
    def changes(base: Any) -> dict[str, Any]:
        def __init__(self: Any) -> None:
            base.__init__(self)
            self.automatic_optimization = False

        def training_step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
            return step(self, batch)

        return {"__init__": __init__, "training_step": training_step, "configure_optimizers": optimizers}

    return changes


def _manual_step(self: Any, batch: torch.Tensor) -> Any:
    optimizer = self.optimizers()
    loss = self.layer(batch).pow(2).mean()
    optimizer.zero_grad()
    self.manual_backward(loss)
    self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
    optimizer.step()
    return loss


def _manual_two_step(self: Any, batch: torch.Tensor) -> None:
    for optimizer in self.optimizers():
        self.toggle_optimizer(optimizer)
        loss = self.layer(batch).pow(2).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(optimizer)
    if self.trainer.is_last_batch:
        self.lr_schedulers().step()


def _two_optimizers(self: Any) -> Any:
    optimizers = [_sgd(self), _sgd(self)]
    return optimizers, [StepLR(optimizers[0], 1)]


def _manual_closure_step(self: Any, batch: torch.Tensor) -> Any:
    optimizer = self.optimizers()

    def closure() -> torch.Tensor:
        loss = self.layer(batch).pow(2).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        return loss

    optimizer.step(closure=closure)


MODULES["manual"] = _manual_with(_manual_step)
MODULES["manual_two"] = _manual_with(_manual_two_step, _two_optimizers)
MODULES["manual_closure"] = _manual_with(_manual_closure_step)
MODULES["manual_idle"] = _manual_with(lambda self, batch: {"anything": batch})


def _raising(name: str, exception: type[BaseException], argument: Any = "wanted") -> Changes:
    def changes(base: type) -> dict[str, Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> None:
            raise exception(argument)

        def step(self: Any, batch: Any, batch_idx: int) -> None:
            raise exception(argument)

        return {name: step if name in STEPS else method}

    return changes


for _name in ("training_step", "validation_step", "test_step", "predict_step", "on_train_epoch_end", "teardown"):
    MODULES[f"raises_in_{_name}"] = _raising(_name, ValueError)
for _name in ("training_step", "validation_step"):
    MODULES[f"interrupted_in_{_name}"] = _raising(_name, KeyboardInterrupt)
MODULES["exits_in_training_step"] = _raising("training_step", SystemExit, 3)


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
            recorder.lines.append(_outcome(trainer, call, module, data, case))
            recorder.lines.append(_state(trainer))
    return recorder.lines


def _outcome(trainer: Any, call: str, module: Any, data: Any, case: Case) -> str:
    arguments = dict(case.arguments)
    if call in ("validate", "test"):
        arguments["verbose"] = False
    try:
        return f"returned {shown(getattr(trainer, call)(module, datamodule=data, **arguments))}"
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return f"raised {type(error).__name__}({error})"


def _state(trainer: Any) -> str:
    names = (
        "current_epoch global_step should_stop interrupted is_last_batch num_training_batches num_val_batches "
        "num_sanity_val_batches num_test_batches num_predict_batches val_check_batch"
    ).split()
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
