"""Training after a finder is, bit by bit, training without one: whatever the loaders, and whatever the model keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import SOAK
from tests.resume.loaders import LOADERS
from tests.tuner.models import QUIET, SWEEP, Data, Ema, Model, Record, assert_equal, files, outcome, seed, table
from torch import nn
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import BatchSizeFinder, LearningRateFinder
from fulmen.tuner import Tuner
from fulmen.utilities.combined_loader import CombinedLoader

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*suggests no rate.*"),
    pytest.mark.filterwarnings("ignore:.*shuffles its samples.*"),
    pytest.mark.filterwarnings("ignore:.*will create 3 worker processes.*"),
]
Finder = Callable[[pl.Trainer, Model, dict[str, Any]], None]
# whose last batch has one sample, which is too few for batch norm
SINGLE = {"workers by sample", "batch sampler", "workers of a flow", "flow, workers that live on"}
QUICK = ("memory", "shared generator", "stateful sampler", "stateful flow", "stateful loader", "workers that live on")
KINDS = list(LOADERS) if SOAK else QUICK


def run(
    data: Callable[[], dict[str, Any]],
    before: Finder | None = None,
    callbacks: Callable[[], list[pl.Callback]] = list,
    change: Callable[[Model], None] = lambda model: None,
    norm: bool = True,
    **flags: Any,
) -> dict[str, Any]:
    """What comes of a fit, with something before it."""
    seed(7)
    record, ema = Record(), Ema()
    model, given = Model(record, norm=norm), data()
    trainer = pl.Trainer(
        max_epochs=2, logger=record.logger, callbacks=[*callbacks(), ema], **{"val_check_interval": 3, **flags}, **QUIET
    )
    if before is not None:
        before(trainer, model, given)
    change(model)
    trainer.fit(model, **given)
    return outcome(trainer, model, ema)


def rates(trainer: pl.Trainer, model: Model, given: dict[str, Any]) -> None:
    found = Tuner(trainer).lr_find(model, **given, num_training=9, update_attr=False, **SWEEP)
    assert found is not None and len(found.results["loss"]) == 9


def passed(kind: str) -> Callable[[], dict[str, Any]]:
    return lambda: {
        "train_dataloaders": LOADERS[kind](),
        "val_dataloaders": CombinedLoader(
            LOADERS[kind]() if "live on" in kind else DataLoader(table(8), 4), "min_size"
        ),
    }


def looking() -> list[pl.Callback]:
    return [LearningRateFinder(num_training_steps=9, update_attr=False, **SWEEP)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_loader(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the tuner before `fit` and the callback in it."""
    monkeypatch.chdir(tmp_path)
    flags: dict[str, Any] = {"norm": kind not in SINGLE}
    if "flow" in kind or "stateful loader" in kind:
        flags["val_check_interval"] = 1.0
    plain = run(passed(kind), **flags)
    assert_equal(run(passed(kind), before=rates, **flags), plain)
    assert_equal(run(passed(kind), callbacks=looking, **flags), plain)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "flags",
    [
        {"accumulate_grad_batches": 3},
        {"precision": "bf16-mixed"},
        {"gradient_clip_val": 0.1, "max_steps": 9},
        {"limit_train_batches": 4, "reload_dataloaders_every_n_epochs": 1},
        *([{"overfit_batches": 3}, {"precision": "64-true", "num_sanity_val_steps": 0}] if SOAK else []),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*reads the same batches.*")
def test_flags_and_a_datamodule(flags: dict[str, Any]) -> None:
    def data() -> dict[str, Any]:
        return {"datamodule": Data()}

    plain = run(data, **flags)
    assert_equal(run(data, before=rates, **flags), plain)
    assert_equal(run(data, callbacks=looking, **flags), plain)


def test_the_rate_that_is_found_is_as_if_it_were_written_down() -> None:
    """With its groups, of which one has a tenth, and its schedule, which was made of it."""
    found: list[float] = []

    def search(trainer: pl.Trainer, model: Model, given: dict[str, Any]) -> None:
        Tuner(trainer).lr_find(model, **given, num_training=30, **SWEEP)
        assert model.lr == model.hparams["lr"] != 0.01
        found.append(model.lr)

    def written(model: Model) -> None:
        model.lr = model.hparams["lr"] = found[0]

    def data() -> dict[str, Any]:
        return {"datamodule": Data()}

    tuned = run(data, before=search)
    assert_equal(tuned, run(data, change=written))
    assert_equal(run(data, callbacks=lambda: [LearningRateFinder(num_training_steps=30, **SWEEP)]), tuned)


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_the_batch_size_that_is_found_is_as_if_it_were_written_down(mode: str) -> None:
    options = {"mode": mode, "init_val": 3, "max_trials": 3}

    def search(trainer: pl.Trainer, model: Model, given: dict[str, Any]) -> None:
        assert Tuner(trainer).scale_batch_size(model, **given, **options) == size
        assert given["datamodule"].hparams["batch_size"] == size

    def written(size: int) -> Callable[[], dict[str, Any]]:
        return lambda: {"datamodule": Data(batch_size=size)}

    size = 12 if mode == "power" else 11
    plain = run(written(size), change=lambda model: setattr(model, "batch_size", size), val_check_interval=1.0)
    assert_equal(run(written(4), before=search, val_check_interval=1.0), plain)
    assert_equal(run(written(4), callbacks=lambda: [BatchSizeFinder(**options)], val_check_interval=1.0), plain)


class Failing(nn.Module):
    """Fails in the fourth step of all."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error, self.armed = error, True

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        model_steps[0] += 1
        if self.armed and model_steps[0] == 4:
            raise self.error("the fourth")
        return inputs


model_steps = [0]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_trial_that_fails_leaves_nothing_either(error: type[BaseException]) -> None:
    def search(trainer: pl.Trainer, model: Model, given: dict[str, Any]) -> None:
        model_steps[0] = 0
        model.first.append(failing := Failing(error))
        before = set(vars(trainer))
        with pytest.raises(error):
            rates(trainer, model, given)
        failing.armed = False
        assert set(vars(trainer)) == before

    def whole(model: Model) -> None:
        if not any(isinstance(one, Failing) for one in model.first):
            failing = Failing(error)
            failing.armed = False
            model.first.append(failing)

    def data() -> dict[str, Any]:
        return {"datamodule": Data()}

    assert_equal(run(data, before=search), run(data, change=whole))


def test_between_two_fits() -> None:
    """What the Trainer counts, shows and has stays as well, and the second `fit` goes on where the first ended."""

    def fits(find: bool) -> dict[str, Any]:
        seed(3)
        record, ema = Record(), Ema()
        model, data = Model(record), Data()
        trainer = pl.Trainer(max_epochs=1, logger=record.logger, callbacks=[ema], **QUIET)
        trainer.fit(model, datamodule=data)
        trainer.fit_loop.max_epochs = 3
        if find:
            state = dict(vars(trainer)), {key: value.clone() for key, value in trainer.callback_metrics.items()}
            rates(trainer, model, {"datamodule": data})
            assert {**vars(trainer)} == state[0] and trainer.callback_metrics == state[1]
        trainer.fit(model, datamodule=data)
        return outcome(trainer, model, ema)

    assert_equal(fits(find=True), fits(find=False))


def test_in_the_middle_of_training() -> None:
    """At the start of an epoch, with workers that live on, open schedules and moments of the optimizer."""

    class Later(LearningRateFinder):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None: ...

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.lr_find(trainer, pl_module)
            assert self.optimal_lr is not None and len(self.optimal_lr.results["lr"]) == 9

    def later() -> list[pl.Callback]:
        return [Later(num_training_steps=9, update_attr=False, **SWEEP)]

    for kind in ("workers that live on", "shared generator", *(("stateful flow", "cycle") if SOAK else ())):
        flags = {"val_check_interval": 1.0, "max_steps": 9}
        assert_equal(run(passed(kind), callbacks=later, **flags), run(passed(kind), **flags))
