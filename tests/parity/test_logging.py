"""What ``self.log`` leaves in the trainer's dictionaries, in a logger and in a CSV file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from .logging_scripts import Log, Script, csv_rows, run
from .scenarios import first_difference

REDUCTIONS = ("mean", "sum", "max", "min")
STEP_HOOKS = (
    "training_step",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
EPOCH_HOOKS = ("on_train_start", "on_train_epoch_start", "on_train_epoch_end")
EVALUATION_STEP_HOOKS = ("validation_step", "on_validation_batch_start", "on_validation_batch_end")
EVALUATION_EPOCH_HOOKS = ("on_validation_start", "on_validation_epoch_start", "on_validation_epoch_end")
SILENT_HOOKS = (
    "setup",
    "configure_optimizers",
    "on_fit_start",
    "on_validation_model_eval",
    "on_validation_end",
    "on_train_end",
    "on_fit_end",
    "teardown",
)
MODULE_HOOKS = STEP_HOOKS + EPOCH_HOOKS + EVALUATION_STEP_HOOKS + EVALUATION_EPOCH_HOOKS


def _value(name: str, **options: Any) -> Log:
    """Log ``name`` with a value that differs from batch to batch and loader to loader."""

    def log(module: Any, batch_idx: int, dataloader_idx: int) -> None:
        module.log(name, torch.tensor(3.0 + batch_idx * batch_idx - 2 * dataloader_idx), **options)

    return log


def _options(on_step: bool | None, on_epoch: bool | None, reduce_fx: str) -> dict[str, Any]:
    given = {"on_step": on_step, "on_epoch": on_epoch}
    return {"reduce_fx": reduce_fx, **{key: value for key, value in given.items() if value is not None}}


def grid() -> list[Script]:
    """Each on_step with each on_epoch, reduction and hook; most hooks need one reduction, silent ones one way."""
    scripts = [Script(hook, {hook: _value("value")}) for hook in SILENT_HOOKS]
    for hook in MODULE_HOOKS:
        reductions = REDUCTIONS if hook in ("training_step", "validation_step") else ("mean",)
        for on_step, on_epoch, reduction in itertools.product((None, True, False), (None, True, False), reductions):
            options = _options(on_step, on_epoch, reduction)
            name = f"{hook} {options}"
            scripts.append(Script(name, {hook: _value("value", prog_bar=True, **options)}))
    return scripts


def _both(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.log("step", 100.0 + batch_idx)
    module.log("value", float(batch_idx))


def _twice(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.log("value", float(batch_idx), on_epoch=True)
    module.log("value", float(batch_idx + 5), on_epoch=True)


def _differently(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.log("value", float(batch_idx), on_epoch=True)
    module.log("value", float(batch_idx), on_epoch=True, reduce_fx="sum")


def _sometimes(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    if batch_idx != 1:
        module.log("value", float(batch_idx + 1), on_step=True, on_epoch=True)


def _many(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.log_dict({"a": 1.0 + batch_idx, "b": batch_idx, "c": True}, on_epoch=True, prog_bar=True)


def _per_loader(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.log(f"own_{dataloader_idx}", 1.0, add_dataloader_idx=False)
    module.log("value", float(batch_idx + dataloader_idx), on_step=True, on_epoch=True)


def _log(value: Any, name: Any = "value", **options: Any) -> Log:
    def log(module: Any, batch_idx: int, dataloader_idx: int) -> None:
        module.log(name, value, **options)

    return log


EVERYWHERE: Mapping[str, Log] = {
    "training_step": _value("train", on_epoch=True, prog_bar=True),
    "on_train_batch_end": _value("batch"),
    "on_train_epoch_end": _value("end"),
    "validation_step": _value("val", on_step=True, on_epoch=True, prog_bar=True),
    "on_validation_epoch_end": _value("val_end"),
    "test_step": _value("test", on_step=True),
}
SPECIAL = [
    Script("everywhere", EVERYWHERE),
    # Row "The sanity check of several loaders" of docs/differences.md: in Lightning it does not show their values.
    Script(
        "everywhere, several loaders",
        {**EVERYWHERE, "validation_step": _per_loader},
        val=(1, 2),
        flags={"num_sanity_val_steps": 0},
    ),
    Script("everywhere, each after the other", EVERYWHERE, calls=("validate", "fit", "validate", "test", "fit")),
    Script(
        "evaluation of several loaders",
        {"test_step": _per_loader, "validation_step": _per_loader},
        ("validate", "test"),
        val=(2, 3),
    ),
    *(
        Script(
            f"everywhere, every {every} steps of {batches} batches in windows of {window}",
            EVERYWHERE,
            train=batches,
            flags={"log_every_n_steps": every, "accumulate_grad_batches": window},
        )
        for every, window, batches in ((0, 1, 3), (1, 2, 4), (1, 2, 5), (2, 1, 5), (2, 2, 8), (3, 3, 7), (50, 1, 3))
    ),
    Script("validated inside", EVERYWHERE, train=4, flags={"val_check_interval": 2}),
    Script("validated rarely", EVERYWHERE, flags={"check_val_every_n_epoch": 2, "max_epochs": 3}),
    Script("validated over epochs", EVERYWHERE, flags={"check_val_every_n_epoch": None, "val_check_interval": 2}),
    Script("ended inside an epoch", EVERYWHERE, train=4, flags={"max_epochs": -1, "max_steps": 6}),
    Script("no sanity check", EVERYWHERE, flags={"num_sanity_val_steps": 0}),
    Script("fast_dev_run", EVERYWHERE, flags={"fast_dev_run": 2}),
    Script("own step", {"training_step": _both, "validation_step": _both}),
    Script("own epoch", {"training_step": _log(7.0, "epoch"), "validation_step": _log(9.0, "epoch")}),
    Script("one key twice", {"training_step": _twice, "validation_step": _twice}),
    Script("one key in two ways", {"training_step": _differently}),
    Script("one key in some batches", {"training_step": _sometimes, "validation_step": _sometimes}),
    Script("one key in two hooks", {"training_step": _value("value"), "on_train_epoch_end": _value("value")}),
    Script(
        "one key in two stages", {"training_step": _value("value", on_epoch=True), "validation_step": _value("value")}
    ),
    Script("many keys", {"training_step": _many, "validation_step": _many}),
    Script("not for the logger", {"training_step": _value("value", logger=False, on_epoch=True)}),
    Script("own batch size", {"training_step": _value("value", on_epoch=True, on_step=False, batch_size=3)}),
    *(
        Script(f"the value {value!r}", {"training_step": _log(value, on_epoch=True), "validation_step": _log(value)})
        for value in (
            3,
            True,
            2.5,
            float("nan"),
            float("inf"),
            torch.tensor(3),
            torch.tensor(1.1, dtype=torch.float64),
            torch.tensor(1.1, dtype=torch.bfloat16),
            torch.ones(1, 1),
            torch.ones(2),
            None,
            "text",
            [1.0],
            {"a": 1.0},
        )
    ),
    *(
        Script(
            f"the reduction {getattr(reduction, '__name__', repr(reduction))}",
            {"training_step": _log(2.0, on_epoch=True, reduce_fx=reduction)},
        )
        for reduction in ("avg", "std", torch.mean, torch.sum, torch.max, torch.prod, max)
    ),
    Script("a key that names a loader", {"training_step": _log(1.0, "value/dataloader_idx_0")}),
    Script("nothing", {}),
]


def _compare(script: Script, lightning: ModuleType, fulmen: ModuleType, root: Path) -> None:
    theirs = run(lightning, script, root / "lightning")
    ours = run(fulmen, script, root / "fulmen")
    assert len(theirs) > 2
    difference = first_difference(theirs, ours, around=2)
    assert not difference, difference


@pytest.mark.parametrize("script", grid(), ids=lambda script: script.name)
def test_every_way_of_logging(script: Script, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    _compare(script, lightning, fulmen, tmp_path)


@pytest.mark.parametrize("script", SPECIAL, ids=lambda script: script.name)
def test_logged_values(script: Script, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    _compare(script, lightning, fulmen, tmp_path)


def _forward(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.metric(float(batch_idx * batch_idx))
    module.log("metric", module.metric, on_step=True, on_epoch=True)


def _update(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.metric.update(float(batch_idx * batch_idx))
    module.log("metric", module.metric, on_step=False, on_epoch=True)


def _step_only(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.metric(float(batch_idx * batch_idx))
    module.log("metric", module.metric)


def _collection(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.collection(float(batch_idx * batch_idx))
    module.log_dict(module.collection, on_step=True, on_epoch=True)


def _computed(module: Any, batch_idx: int, dataloader_idx: int) -> None:
    module.metric(float(batch_idx * batch_idx))
    module.log("metric", module.metric.compute(), on_step=False, on_epoch=True)


def _metrics() -> Mapping[str, torch.nn.Module]:
    import torchmetrics

    extremes = torchmetrics.MetricCollection([torchmetrics.MaxMetric(), torchmetrics.MinMetric()])
    return {"metric": torchmetrics.MeanMetric(), "collection": extremes}


@pytest.mark.parametrize("log", [_forward, _update, _step_only, _collection, _computed], ids=lambda log: log.__name__)
@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_torchmetrics(step: str, log: Log, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics", reason="its metrics are what is logged")
    # Row "What the sanity check leaves" of docs/differences.md: in Lightning, its batches in a metric that is not
    # itself logged.
    flags = {"max_epochs": 3, "num_sanity_val_steps": 0}
    script = Script(log.__name__, {step: log}, flags=flags, parts=_metrics)
    _compare(script, lightning, fulmen, tmp_path)


CSV_SCRIPTS = [
    Script("all steps", EVERYWHERE),
    Script("windows", EVERYWHERE, train=5, flags={"accumulate_grad_batches": 2}),
    Script("some steps", EVERYWHERE, train=5, flags={"log_every_n_steps": 3}),
    Script("validated inside", EVERYWHERE, train=4, flags={"val_check_interval": 2}),
    Script("several loaders", {**EVERYWHERE, "validation_step": _per_loader}, val=(1, 2)),
]


@pytest.mark.parametrize("script", CSV_SCRIPTS, ids=lambda script: script.name)
def test_csv_files(script: Script, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    theirs = csv_rows(lightning, script, tmp_path / "lightning")
    ours = csv_rows(fulmen, script, tmp_path / "fulmen")
    assert [len(rows) for rows in theirs] == [len(rows) for rows in ours]
    for expected, actual in zip(theirs, ours):
        difference = first_difference(expected, actual, around=2)
        assert not difference, difference
