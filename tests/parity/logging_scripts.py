"""Run a script that logs, and write down what a callback, a logger and a file show of it."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from .scenarios import QUIET, quiet

# A callback looks at the dictionaries in each of these.
WATCHED = (
    "on_sanity_check_end",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
    "on_fit_end",
    "on_test_batch_end",
    "on_test_epoch_end",
    "on_test_end",
)

Log = Callable[[Any, int, int], None]  # (module, batch_idx, dataloader_idx)


@dataclass(frozen=True)
class Script:
    """Which hook logs what, with which data and flags."""

    name: str
    logs: Mapping[str, Log]
    calls: tuple[str, ...] = ("fit",)
    train: int = 3
    val: Any = 2
    flags: Mapping[str, Any] = field(default_factory=dict)
    parts: Callable[[], Mapping[str, torch.nn.Module]] = dict  # further attributes of the module


def _loader(batches: Any, uneven: bool = True) -> Any:
    if isinstance(batches, tuple):
        return [_loader(count, uneven=False) for count in batches]
    samples = batches * 2 - (1 if uneven else 0)  # the last batch is smaller: means are weighted by batch size
    data = torch.arange(samples * 4, dtype=torch.float32).reshape(samples, 4) / 10
    return DataLoader(data, batch_size=2)


def _module(pl: Any, script: Script) -> Any:
    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)
            for name, part in script.parts().items():
                setattr(self, name, part)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch).mean()

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None: ...

        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None: ...

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    for name, log in script.logs.items():
        setattr(Model, name, _logging(getattr(Model, name), name, log))
    return Model()


def _logging(inner: Callable[..., Any], name: str, log: Log) -> Callable[..., Any]:
    """``inner``, which logs first; steps keep the signature by which frameworks know what to pass."""
    if name == "training_step":

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            log(self, batch_idx, 0)
            return inner(self, batch, batch_idx)

        return training_step
    if name in ("validation_step", "test_step"):

        def step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            log(self, batch_idx, dataloader_idx)

        return step

    def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        numbers = [value for value in args if type(value) is int]
        log(self, *(numbers[:2] if len(numbers) > 1 else [*numbers, 0, 0][:2]))
        return inner(self, *args, **kwargs)

    hook.__name__ = hook.__qualname__ = name
    return hook


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: Near(float(value)) for key, value in sorted(values.items())}


class Near(float):
    """A float that equals another within 1e-6 of its size, and NaN equals NaN."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, float):
            return NotImplemented
        return (math.isnan(self) and math.isnan(other)) or math.isclose(self, other, rel_tol=1e-6, abs_tol=1e-9)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


class Raised:
    """An error that equals another where one could be caught as the other, by the names of their classes."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.names = [kind.__name__ for kind in type(error).__mro__]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raised) and (self.names[0] in other.names or other.names[0] in self.names)

    __hash__ = None

    def __repr__(self) -> str:
        return f"raised {self.error!r}"


def _watcher(pl: Any, record: list[Any]) -> Any:
    def hook(name: str) -> Callable[..., None]:
        def look(self: Any, trainer: Any, module: Any, *args: Any, **kwargs: Any) -> None:
            record.append(
                (
                    name,
                    {"callback": _plain(trainer.callback_metrics)},
                    {"logged": _plain(trainer.logged_metrics)},
                    {"bar": _plain(trainer.progress_bar_metrics)},
                )
            )

        return look

    return type("Watcher", (pl.Callback,), {name: hook(name) for name in WATCHED})()


def _logger(pl: Any, record: list[Any]) -> Any:
    class Recording(pl.loggers.Logger):
        name = "recording"
        version = 0

        def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
            if metrics:
                record.append(("logger", step, _plain(metrics)))

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

        def finalize(self, status: str) -> None:
            record.append(("finalize", status))

    return Recording()


def run(pl: Any, script: Script, root: Path) -> list[Any]:
    """Run ``script`` under ``pl`` and return what callback and logger saw, and what came out."""
    record: list[Any] = []
    torch.manual_seed(0)
    with quiet():
        module = _module(pl, script)
        base = {**QUIET, "max_epochs": 2, "log_every_n_steps": 1, "default_root_dir": str(root)}
        loggers = {"logger": _logger(pl, record), "callbacks": [_watcher(pl, record)]}
        trainer = pl.Trainer(**{**base, **loggers, **script.flags})
        for call in script.calls:
            record.append(f"trainer.{call}")
            record.append(_outcome(trainer, call, module, script))
            record.append(("after", _plain(trainer.callback_metrics), _plain(trainer.logged_metrics)))
    return record


def _outcome(trainer: Any, call: str, module: Any, script: Script) -> Any:
    try:
        if call == "fit":
            return trainer.fit(module, _loader(script.train), _loader(script.val))
        results = getattr(trainer, call)(module, _loader(script.val), verbose=False)
        return [_plain(result) for result in results]
    except Exception as error:
        return f"raised {builtin_name(error)}"


def builtin_name(error: Exception) -> str:
    """The name by which a caller would catch it: the builtin class of an error that is one."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    own = type(error).__name__
    return own if kinds[0] in ("Exception", own) else kinds[0]


def csv_rows(pl: Any, script: Script, root: Path) -> list[list[dict[str, Any]]]:
    """The rows of ``metrics.csv`` after each epoch and at the end, without empty cells."""
    after: list[list[dict[str, Any]]] = []
    torch.manual_seed(0)

    def read() -> None:
        trainer.logger.save()
        with (Path(trainer.log_dir) / "metrics.csv").open(newline="") as file:
            rows = [{key: cell for key, cell in row.items() if cell != ""} for row in csv.DictReader(file)]
        after.append([_plain(row) for row in rows])

    class AfterEachEpoch(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch:
                read()

    with quiet():
        module = _module(pl, script)
        base = {**QUIET, "max_epochs": 3, "log_every_n_steps": 1, "default_root_dir": str(root)}
        logger = pl.loggers.CSVLogger(str(root))
        trainer = pl.Trainer(**{**base, "logger": logger, "callbacks": [AfterEachEpoch()], **script.flags})
        trainer.fit(module, _loader(script.train), _loader(script.val))
        read()
        trainer.test(module, _loader(script.val), verbose=False)
        read()
    return after
