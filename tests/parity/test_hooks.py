"""Every hook of module, data module and callback, with its counters, in Lightning's order."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .scenarios import Case, Unknown, first_difference, run

SOAK = os.environ.get("FULMEN_SOAK") == "1"

INTERVALS: tuple[dict[str, Any], ...] = (
    {},
    {"val_check_interval": 2},
    {"val_check_interval": 0.4},
    {"val_check_interval": 3, "check_val_every_n_epoch": None},
    {"check_val_every_n_epoch": 2},
)
LIMITS: tuple[dict[str, Any], ...] = (
    {},
    {"limit_train_batches": 3, "limit_val_batches": 1},
    {"limit_train_batches": 0.8, "limit_val_batches": 0},
    {"max_epochs": -1, "max_steps": 4},
)
GRID: dict[str, tuple[Any, ...]] = {
    "module": ("automatic", "schedulers", "plateau_step", "lbfgs", "manual", "manual_two"),
    "listeners": ("all", "events"),
    "accumulation": (1, 2, 3),
    "val": (1, (2, 1)),
    "interval": INTERVALS,
    "limit": LIMITS,
    "sanity": (0, 2),
}


def grid() -> Iterator[Case]:
    """Every combination that the flags allow."""
    for module, listeners, accumulation, val, interval, limit, sanity in itertools.product(*GRID.values()):
        if accumulation > 1 and module.startswith("manual"):
            continue  # not allowed together
        steps: dict[str, Any] = {"accumulate_grad_batches": accumulation, "num_sanity_val_steps": sanity}
        flags = {**steps, **interval, **limit}
        changed = " ".join(f"{key}={value}" for key, value in flags.items())
        name = f"{module} {listeners} val={val} {changed}"
        yield Case(name, module=module, listeners=listeners, train=5, val=val, flags=flags)


def sample(count: int) -> list[Case]:
    """``count`` cases of the grid, always the same; all of them in a soak."""
    cases = list(grid())
    return cases if SOAK else random.Random(2026).sample(cases, count)


def fit(name: str, module: str = "automatic", **given: Any) -> Case:
    """A case that calls ``fit`` with what is given; flags of the trainer are told apart by their place."""
    places = ("train", "val", "listeners", "checkpoint", "resume")
    case = {key: given.pop(key) for key in places if key in given}
    return Case(name, module=module, flags=given, **case)


LOADERS = [
    fit("no validation data", limit_val_batches=0),
    fit("sanity check of all batches", num_sanity_val_steps=-1, val=(3, 1), max_epochs=1),
    fit("no sanity check", num_sanity_val_steps=0, max_epochs=1),
    fit("fraction of the validation batches", limit_val_batches=0.5, val=(4, 2), max_epochs=1),
    fit("no training batches", limit_train_batches=0),
    fit("reload every epoch", reload_dataloaders_every_n_epochs=1, max_epochs=3, train=1),
    fit("reload every second epoch", reload_dataloaders_every_n_epochs=2, max_epochs=5, train=1),
    fit("reload, validate twice", reload_dataloaders_every_n_epochs=1, val_check_interval=1, train=2),
    fit("reload, validate rarely", reload_dataloaders_every_n_epochs=1, check_val_every_n_epoch=2, train=1),
    fit("unknown length", train=Unknown(3)),
    fit("unknown length, accumulated", train=Unknown(3), accumulate_grad_batches=2),
    fit("unknown length, validated inside", train=Unknown(3), val_check_interval=2),
    fit("unknown length, validated over epochs", train=Unknown(3), val_check_interval=2, check_val_every_n_epoch=None),
    fit("unknown length, limited", train=Unknown(3), limit_train_batches=2),
    fit("unknown length, limit beyond", train=Unknown(3), limit_train_batches=7),
    fit("unknown length, max_steps", train=Unknown(3), max_steps=4, max_epochs=-1),
    fit("unknown length, nothing", train=Unknown(0)),
    fit("unknown length, validation", val=Unknown(3), max_epochs=1),
    fit("empty training data", train=0),
    fit("empty validation data", val=0),
    fit("one of the validation loaders is empty", val=(0, 1), max_epochs=1),
    fit("no validation loaders", val=()),
    fit("overfit", overfit_batches=1),
    fit("fast_dev_run", fast_dev_run=True),
    fit("fast_dev_run with 2", fast_dev_run=2, val=(3, 1)),
    fit("transfer of the module", listeners="transfer of the module", val=(1, 1)),
    fit("transfer of the data", listeners="transfer of the data", val=(1, 1)),
    fit("transfer of both", listeners="transfer of both", val=(1, 1)),
    fit("only a callback listens", listeners="callback", accumulate_grad_batches=2, train=3),
    fit("only the module listens", listeners="module", accumulate_grad_batches=2, train=3),
]
STOPS = [
    fit("max_epochs=0", max_epochs=0),
    fit("max_steps=0", max_steps=0, max_epochs=-1),
    fit("max_steps at an epoch's end", max_steps=4, max_epochs=-1),
    fit("max_steps in the second epoch", max_steps=6, max_epochs=-1, val_check_interval=2),
    fit("max_steps of windows", max_steps=2, max_epochs=-1, accumulate_grad_batches=2, train=5),
    fit("max_steps between two optimizers", "manual_two", max_steps=3, max_epochs=-1),
    fit("max_steps and schedulers", "schedulers", max_steps=1, max_epochs=-1),
    fit("should_stop", "stops_in_step", max_epochs=3),
    fit("should_stop after min_epochs", "stops_in_step", max_epochs=3, min_epochs=2),
    fit("should_stop after min_steps", "stops_in_step", max_epochs=3, min_steps=3),
    fit("should_stop after min_steps in an epoch", "stops_in_step", max_epochs=3, min_steps=6),
    fit("should_stop off the interval", "stops_in_step", max_epochs=3, val_check_interval=3),
    fit("should_stop where validation is rare", "stops_in_step", max_epochs=3, check_val_every_n_epoch=2),
    fit("should_stop in a window", "stops_in_step", max_epochs=3, accumulate_grad_batches=2, train=5),
    fit("should_stop in validation", "stops_in_validation", max_epochs=3, val_check_interval=2, train=5),
    fit("should_stop at the epoch's end", "stops_at_epoch_end", max_epochs=3),
    fit("an epoch is left", "leaves_epoch"),
    fit("an epoch is left in a window", "leaves_epoch", accumulate_grad_batches=3, train=5),
    fit("an epoch is left, validated inside", "leaves_epoch", val_check_interval=1),
    fit("an epoch is left, length unknown", "leaves_epoch", train=Unknown(4)),
    fit("every epoch is left", "leaves_every_epoch"),
    Case("fit again", calls=("fit", "fit"), flags={"max_epochs": 1}),
]
STEPPING = [
    fit("plain steps", "plain_steps"),
    fit("no optimizer", "no_optimizer"),
    fit("no optimizer, accumulated", "no_optimizer", accumulate_grad_batches=3),
    fit("a dictionary is returned", "returns_dict", accumulate_grad_batches=2),
    fit("a loss is missing", "skips_second"),
    fit("a loss is missing in a window", "skips_second", accumulate_grad_batches=2, train=3),
    fit("optimizer_step is overridden", "steps_itself", listeners="events"),
    fit("optimizer_step is overridden, accumulated", "steps_itself", accumulate_grad_batches=2, train=3),
    fit("optimizer_step is left out", "steps_every_other"),
    fit("LBFGS", "lbfgs"),
    fit("LBFGS, accumulated", "lbfgs", accumulate_grad_batches=2, train=3),
    fit("schedulers", "schedulers", accumulate_grad_batches=2, train=5),
    fit("slow schedulers", "slow_schedulers", max_epochs=3, train=5),
    fit("slow schedulers, accumulated", "slow_schedulers", accumulate_grad_batches=3, train=7),
    fit("plateau", "plateau"),
    fit("plateau, validated rarely", "plateau", check_val_every_n_epoch=2, max_epochs=3),
    fit("plateau, slow", "plateau_slow", max_epochs=3, train=1),
    fit("plateau every step", "plateau_step", accumulate_grad_batches=2, train=3),
    fit("manual", "manual"),
    fit("manual with two optimizers", "manual_two"),
    fit("manual with a closure", "manual_closure"),
    fit("manual without a step", "manual_idle"),
    fit("clipped by norm", gradient_clip_val=0.5),
    fit(
        "clipped by value, accumulated",
        gradient_clip_val=0.5,
        gradient_clip_algorithm="value",
        accumulate_grad_batches=2,
    ),
]
CHECKPOINTS = [
    fit("checkpoint at every epoch", checkpoint={}),
    fit("checkpoint, last too", checkpoint={"save_last": True, "save_top_k": -1}),
    fit("resumed", resume=True),
    fit("resumed, accumulated", resume=True, accumulate_grad_batches=2, train=5, max_epochs=3),
    fit("resumed, over", resume=True, max_epochs=1),
    fit("resumed manually", "manual_two", resume=True, checkpoint={}),
    fit("resumed with schedulers", "schedulers", resume=True, max_epochs=3, val_check_interval=2),
    fit(
        "resumed, validated over epochs", resume=True, max_epochs=3, val_check_interval=3, check_val_every_n_epoch=None
    ),
    *(Case(f"{call} a checkpoint", calls=(call,), resume=True) for call in ("validate", "test", "predict")),
]
EVALUATIONS = [
    Case(f"{call} {kind}", calls=(call,), **loaders)
    for call in ("validate", "test", "predict")
    for kind, loaders in {
        "one loader": {"val": 2, "test": 2, "predict": 2},
        "several loaders": {"val": (2, 1), "test": (2, 1), "predict": (2, 1)},
        "a list of one loader": {"val": (2,), "test": (2,), "predict": (2,)},
        "length unknown": {"val": Unknown(2), "test": Unknown(2), "predict": Unknown(2)},
        "an empty loader": {"val": 0, "test": 0, "predict": 0},
        "no batches": {"flags": {"limit_val_batches": 0, "limit_test_batches": 0, "limit_predict_batches": 0}},
        "limited": {
            "val": (3, 1),
            "test": (3, 1),
            "predict": (3, 1),
            "flags": {"limit_val_batches": 2, "limit_test_batches": 2, "limit_predict_batches": 2},
        },
        "fast_dev_run": {"val": (2, 2), "test": (2, 2), "predict": (2, 2), "flags": {"fast_dev_run": True}},
    }.items()
]
EVALUATIONS += [
    Case("all after each other", calls=("validate", "fit", "validate", "test", "predict"), flags={"max_epochs": 1}),
    Case("no predictions wanted", calls=("predict",), arguments={"return_predictions": False}),
    Case("validate plain steps", calls=("validate",), module="plain_steps"),
]
FAILURES = [
    fit("error in training_step", "raises_in_training_step"),
    fit("error in the sanity check", "raises_in_validation_step"),
    fit("error in validation", "raises_in_validation_step", num_sanity_val_steps=0),
    fit("error at the epoch's end", "raises_in_on_train_epoch_end"),
    fit("error in teardown", "raises_in_teardown"),
    fit("exit", "exits_in_training_step"),
    Case("error in validate", calls=("validate",), module="raises_in_validation_step"),
    Case("error in test", calls=("test",), module="raises_in_test_step"),
    Case("error in predict", calls=("predict",), module="raises_in_predict_step"),
]


CASES = [*LOADERS, *STOPS, *STEPPING, *CHECKPOINTS, *EVALUATIONS, *FAILURES]


def records(case: Case, lightning: ModuleType, fulmen: ModuleType, root: Path) -> tuple[list[str], list[str]]:
    """What Lightning does and what we do."""
    return run(lightning, case, root / "lightning"), run(fulmen, case, root / "fulmen")


def compare(theirs: list[str], ours: list[str]) -> None:
    """Fail with the first line where the records part."""
    assert len(theirs) > 3
    difference = first_difference(theirs, ours)
    assert not difference, difference


@pytest.mark.parametrize(
    "case", LOADERS + STOPS + STEPPING + CHECKPOINTS + EVALUATIONS + FAILURES, ids=lambda case: case.name
)
def test_hooks_come_in_lightnings_order(case: Case, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    compare(*records(case, lightning, fulmen, tmp_path))


INTERRUPTED = [
    fit("interrupted", "interrupted_in_training_step"),
    fit("interrupted in validation", "interrupted_in_validation_step", num_sanity_val_steps=0),
    Case("interrupted in validate", calls=("validate",), module="interrupted_in_validation_step"),
]


@pytest.mark.parametrize("case", INTERRUPTED, ids=lambda case: case.name)
def test_ctrl_c_is_heard_in_lightnings_order(
    case: Case, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row "Ctrl-C" of docs/differences.md: what comes out in the end is our own."""
    theirs, ours = records(case, lightning, fulmen, tmp_path)
    outcome = -2  # before the state of the Trainer
    assert theirs.pop(outcome) == "raised SystemExit(1)"
    assert ours.pop(outcome) == "raised KeyboardInterrupt(wanted)"
    compare(theirs, ours)


def without_saves(lines: list[str]) -> list[str]:
    saving = ("callback.state_dict", "data.state_dict", "callback.on_save", "module.on_save")
    return [line for line in lines if not line.startswith(saving)]


SAVING = [
    fit("checkpoint every second step", checkpoint={"every_n_train_steps": 2, "save_top_k": -1}, train=5),
    fit("checkpoint after validation", checkpoint={"save_on_train_epoch_end": False}, val_check_interval=2),
]


@pytest.mark.parametrize("case", SAVING, ids=lambda case: case.name)
def test_what_is_saved_holds_what_the_modules_hook_did(
    case: Case, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row 39. The save comes after the module's hook of that event, and nothing else moves."""
    theirs, ours = records(case, lightning, fulmen, tmp_path)
    hook = "module.on_train_batch_end" if "step" in case.name else "module.on_validation_end"

    def comes_after(lines: list[str]) -> bool:
        save = next(i for i, line in enumerate(lines) if line.startswith("module.on_save_checkpoint"))
        return lines[save - 4].startswith(hook)

    assert comes_after(ours) and not comes_after(theirs)
    compare(without_saves(theirs), without_saves(ours))


MONITORED = [
    fit("best of the validations", checkpoint={"monitor": "value"}, max_epochs=3),
    fit("best of the validations inside", checkpoint={"monitor": "value"}, val_check_interval=2, max_epochs=3),
    fit("every validation", checkpoint={"monitor": "value", "save_top_k": -1}, val_check_interval=2),
    fit("rare validation", checkpoint={"monitor": "value"}, check_val_every_n_epoch=2, max_epochs=4),
]


@pytest.mark.parametrize("case", MONITORED, ids=lambda case: case.name)
def test_a_checkpoint_that_waits_for_its_metric_moves_nothing_else(
    case: Case, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row "a monitored value older than the weights it labels" of docs/differences.md: when we save is our own."""
    theirs, ours = records(case, lightning, fulmen, tmp_path)
    assert any("on_save_checkpoint" in line for line in ours)
    compare(without_saves(theirs), without_saves(ours))


@pytest.mark.parametrize("case", sample(40), ids=lambda case: case.name)
def test_hooks_of_any_combination(case: Case, lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    compare(*records(case, lightning, fulmen, tmp_path))
