"""When ModelCheckpoint saves. What it keeps: test_checkpoint_store.py."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks import ModelCheckpoint
from fulmen.callbacks import model_checkpoint as module
from fulmen.checkpoint.folder import part_name
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.states import TrainerFn, TrainerState

from .simulated_run import SimulatedRun, files


def run(root: Path, callback: ModelCheckpoint, **settings: Any) -> list[str]:
    """Three epochs of four batches; the names that were written, in order."""
    plan = {name: settings.pop(name) for name in ("epochs", "batches", "validate_every") if name in settings}
    simulated = SimulatedRun(callback, root, **settings)
    simulated.fit(**{"epochs": 3, "batches": 4, **plan})
    return [event.removeprefix("save ").removesuffix(".ckpt") for event in simulated.events]


def steps(names: list[str]) -> list[int]:
    return [int(re.findall(r"step=(\d+)", name)[0]) for name in names]


HALF = {"validate_every": 2, "val_check_interval": 0.5}


@pytest.mark.parametrize(
    ("arguments", "settings", "expected"),
    [
        ({}, {}, [4, 8, 12]),
        ({}, HALF, [2, 4, 6, 8, 10, 12]),
        ({}, {"validate_every": 4, "val_check_interval": 4}, [4, 8, 12]),
        ({}, {"check_val_every_n_epoch": 2}, [8]),
        ({}, {"check_val_every_n_epoch": None, "validate_every": 6, "val_check_interval": 6}, [6, 12]),
        ({}, {"enable_validation": False}, [4, 8, 12]),
        ({}, {"enable_validation": False, "check_val_every_n_epoch": 2}, [4, 8, 12]),
        ({"save_on_train_epoch_end": True}, HALF, [4, 8, 12]),
        ({"save_on_train_epoch_end": False}, {}, [4, 8, 12]),
        ({"save_on_train_epoch_end": False}, {"enable_validation": False}, []),
        ({"every_n_epochs": 2}, {}, [8]),
        ({"every_n_epochs": 0}, {}, []),
        ({"every_n_train_steps": 5}, {}, [5, 10]),
        ({"every_n_train_steps": 2}, {"accumulate_grad_batches": 2}, [2, 4, 6]),
        ({"every_n_train_steps": 0}, {}, []),
        ({"train_time_interval": timedelta(0)}, {"epochs": 1}, [1, 2, 3, 4]),
        ({"save_top_k": 0}, {}, []),
        ({}, {"fast_dev_run": 1}, []),
        ({}, {"sanity_checking": True}, []),
        ({"every_n_train_steps": 1}, {"sanity_checking": True}, []),
        ({}, {"state": TrainerState(fn=TrainerFn.VALIDATING)}, []),
    ],
)
def test_when_a_save_is_due(
    tmp_path: Path, arguments: dict[str, Any], settings: dict[str, Any], expected: list[int]
) -> None:
    assert steps(run(tmp_path, ModelCheckpoint(**{"save_top_k": -1, **arguments}), **settings)) == expected


def test_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)

    def train() -> None:
        clock.now += 1

    callback = ModelCheckpoint(save_top_k=-1, train_time_interval=timedelta(seconds=5))
    assert steps(run(tmp_path, callback, train=train)) == [5, 10]


def test_processes_agree_on_time(tmp_path: Path) -> None:
    """The first says that it is time, however the others' clocks go."""
    callback = ModelCheckpoint(save_top_k=-1, train_time_interval=timedelta(hours=1), enable_version_counter=False)
    simulated = SimulatedRun(callback, tmp_path, world_size=2)
    simulated.strategy.broadcast = lambda obj, src=0: True if isinstance(obj, bool) else obj  # type: ignore
    simulated.fit(epochs=1, batches=2)
    assert len(simulated.events) == 2


def test_batches_are_heard_only_where_they_trigger() -> None:
    event = "on_train_batch_end"
    assert not ModelCheckpoint().listens_to(event)
    assert ModelCheckpoint(every_n_train_steps=5).listens_to(event)
    assert ModelCheckpoint(train_time_interval=timedelta(0)).listens_to(event)
    assert ModelCheckpoint().listens_to("on_validation_end")


# The file holds the weights that earned the metric


@pytest.mark.filterwarnings("ignore:.*saved nothing")  # where the last validation comes before the first save
@given(
    trigger=st.sampled_from(["every_n_train_steps", "every_n_epochs"]),
    every=st.integers(1, 5),
    validate_every=st.integers(1, 5),
    accumulate=st.integers(1, 3),
    across_epochs=st.booleans(),
    at_epoch_end=st.sampled_from([None, True, False]),
    save_last=st.booleans(),
)
def test_every_label_is_true(
    tmp_path_factory: pytest.TempPathFactory,
    trigger: str,
    every: int,
    validate_every: int,
    accumulate: int,
    across_epochs: bool,
    at_epoch_end: bool | None,
    save_last: bool,
) -> None:
    """The metric is the step at which it was made: in names and scores it must be the step of the weights."""
    root = tmp_path_factory.mktemp("run")
    callback = ModelCheckpoint(
        monitor="val",
        mode="max",
        save_top_k=-1,
        filename="{step}-{val:.0f}",
        save_last=save_last,
        save_on_train_epoch_end=at_epoch_end,
        **{trigger: every},  # type: ignore[arg-type]
    )
    settings: dict[str, Any] = {"accumulate_grad_batches": accumulate, "val_check_interval": validate_every}
    if across_epochs:
        settings["check_val_every_n_epoch"] = None
    made: list[int] = []
    simulated = SimulatedRun(callback, root, **settings)
    simulated.validate = lambda: (made.append(simulated.global_step), simulated.log("val", made[-1]))  # type: ignore
    simulated.end_of_epoch = lambda: None if made else simulated.run_validation()  # the metric must come some time
    simulated.fit(epochs=3, batches=4, validate_every=validate_every)
    held = files(root / "checkpoints")
    held.pop("last.ckpt", None)
    for name, step in held.items():
        assert name == f"step={step}-val={step}.ckpt"
    for path, score in callback.best_k_models.items():
        assert held[Path(path).name] == score
    due = [s for s in range(1, simulated.global_step + 1) if s % every == 0]
    if trigger == "every_n_train_steps":
        # Each time that a save was due, the next new value was saved, unless training ended before.
        expected = {min((m for m in made if m >= s), default=0) for s in due} - {0}
        assert set(held.values()) == expected


def test_a_save_waits_for_the_next_validation(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="val", every_n_train_steps=3, save_top_k=-1, filename="{step}-{val:.0f}")
    assert run(tmp_path, callback) == ["step=4-val=4", "step=8-val=8", "step=12-val=12"]


def test_a_fresh_value_is_saved_at_once(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="loss", every_n_train_steps=3, save_top_k=-1, filename="{step}-{loss:.0f}")
    simulated = SimulatedRun(callback, tmp_path)
    simulated.train = lambda: simulated.log("loss", simulated.global_step)
    simulated.fit(epochs=1, batches=8)
    assert simulated.events == ["save step=3-loss=3.ckpt", "save step=6-loss=6.ckpt"]


def test_a_value_that_training_logs_now_and_then_is_waited_for(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="loss", every_n_train_steps=4, save_top_k=-1, filename="{step}-{loss:.0f}")
    simulated = SimulatedRun(callback, tmp_path, enable_validation=False)
    simulated.train = lambda: simulated.log("loss", simulated.global_step) if simulated.global_step % 5 == 1 else None
    simulated.fit(epochs=1, batches=12)
    assert simulated.events == ["save step=6-loss=6.ckpt", "save step=11-loss=11.ckpt"]


def test_batches_are_not_asked_for_a_value_that_validation_makes(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="val", every_n_train_steps=2)
    simulated = SimulatedRun(callback, tmp_path)
    asked: list[int] = []
    ask = simulated.metric_step
    simulated.metric_step = lambda name: asked.append(simulated.global_step) or ask(name)  # type: ignore
    simulated.fit(epochs=4, batches=8)
    assert not [step for step in asked if step % 2]


def test_a_metric_of_the_end_of_epochs(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="mean", every_n_train_steps=3, save_top_k=-1, filename="{step}-{mean:.0f}")
    simulated = SimulatedRun(callback, tmp_path, enable_validation=False)
    simulated.end_of_epoch = lambda: simulated.log("mean", simulated.global_step)
    simulated.fit(epochs=2)
    assert simulated.events == ["save step=4-mean=4.ckpt", "save step=8-mean=8.ckpt"]


@pytest.mark.parametrize("monitor", ["epoch", "step"])
def test_counters_are_always_known(tmp_path: Path, monitor: str) -> None:
    callback = ModelCheckpoint(monitor=monitor, mode="max", save_top_k=2)
    run(tmp_path, callback)
    scores = {"epoch": [1, 2], "step": [8, 12]}[monitor]
    assert sorted(score.item() for score in callback.best_k_models.values()) == scores


def test_the_last_file_waits_for_nothing(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="val", every_n_train_steps=3, save_last=True)
    last: list[tuple[int, int]] = []
    simulated = SimulatedRun(callback, tmp_path)
    simulated.validate = lambda: simulated.log("val", simulated.global_step)
    simulated.train = lambda: last.append((simulated.global_step, files(tmp_path).get("checkpoints/last.ckpt", 0)))
    simulated.fit(epochs=2)
    # Due at 3 and 6; the saves that waited came at 4 (new best) and 8 (no new best).
    assert dict(last) == {1: 0, 2: 0, 3: 0, 4: 3, 5: 4, 6: 4, 7: 6, 8: 6}
    assert files(tmp_path / "checkpoints") == {"epoch=0-step=4.ckpt": 4, "last.ckpt": 8}


def test_the_last_file_knows_the_ranking_of_its_step(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="val", every_n_train_steps=4, save_last=True, mode="max")
    run(tmp_path, callback)
    state = torch.load(callback.last_model_path, weights_only=True)["state"]
    assert state["best_model_path"] == str(tmp_path / "checkpoints/epoch=2-step=12.ckpt")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"every_n_train_steps": 5, "save_last": True}, {"epoch=1-step=6.ckpt": 6, "last.ckpt": 8}),
        ({"every_n_train_steps": 5}, {"epoch=1-step=6.ckpt": 6}),
        ({"every_n_epochs": 0, "save_last": True}, {"last.ckpt": 8}),
    ],
)
def test_nothing_is_lost_at_the_end(tmp_path: Path, arguments: dict[str, Any], expected: dict[str, int]) -> None:
    """A save is due at 5 (made at 6) and waits at the end; it never gets a label that is not its own."""
    callback = ModelCheckpoint(monitor="val", save_top_k=-1, **arguments)
    simulated = SimulatedRun(callback, tmp_path, check_val_every_n_epoch=None)
    simulated.train = lambda: callback._trigger(simulated) if simulated.global_step == 7 else None  # type: ignore
    if callback.every_n_epochs == 0 and "every_n_train_steps" not in arguments:
        simulated.train = lambda: None
    simulated.fit(epochs=2, validate_every=6)
    assert files(tmp_path / "checkpoints") == expected


@pytest.mark.parametrize(
    ("validate_every", "remedy"),
    [(100, r"never logged. Log it with `self.log\('val'"), (6, "the last at step 12. Val")],
)
def test_a_metric_that_never_was_new_is_warned_of(tmp_path: Path, validate_every: int, remedy: str) -> None:
    callback = ModelCheckpoint(monitor="val", every_n_train_steps=13)
    with pytest.warns(UserWarning, match=f"saved nothing.*{remedy}"):
        run(tmp_path, callback, check_val_every_n_epoch=None, validate_every=validate_every, epochs=4)
    assert files(tmp_path) == {}


# Names without a monitor


def test_a_metric_in_the_name_is_waited_for(tmp_path: Path) -> None:
    callback = ModelCheckpoint(every_n_train_steps=3, save_top_k=-1, filename="{step}-{val:.0f}")
    assert run(tmp_path, callback) == ["step=4-val=4", "step=8-val=8", "step=12-val=12"]


def test_but_no_longer_than_an_epoch(tmp_path: Path) -> None:
    callback = ModelCheckpoint(save_on_train_epoch_end=True, save_top_k=-1, filename="{step}-{val:.0f}")
    with pytest.warns(UserWarning, match="has not been logged so far"):
        names = run(tmp_path, callback, epochs=6, check_val_every_n_epoch=5)
    assert names == ["step=8-val=none", "step=16-val=none", "step=20-val=20", "step=24-val=none"]


def test_a_name_that_nobody_logs_is_not_waited_for(tmp_path: Path) -> None:
    callback = ModelCheckpoint(save_top_k=-1, filename="{step}-{vall:.2f}")
    with pytest.warns(UserWarning, match="Did you mean 'val'"):
        assert run(tmp_path, callback) == [f"step={step}-vall=none" for step in (4, 8, 12)]


def test_an_epoch_without_end_brings_nothing_more(tmp_path: Path) -> None:
    callback = ModelCheckpoint(save_top_k=-1, filename="{step}-{mean:.0f}", every_n_train_steps=3)
    settings = {"validate_every": 2, "epochs": 1, "num_training_batches": float("inf")}
    with pytest.warns(UserWarning, match="has not been logged so far"):
        assert run(tmp_path, callback, **settings) == ["step=3-mean=none"]


def test_metrics_of_two_events_are_waited_for_until_both_are_new(tmp_path: Path) -> None:
    callback = ModelCheckpoint(save_top_k=-1, filename="{step}-{val:.0f}-{mean:.0f}")
    simulated = SimulatedRun(callback, tmp_path, val_check_interval=0.5)
    simulated.validate = lambda: simulated.log("val", simulated.global_step)
    simulated.end_of_epoch = lambda: simulated.log("mean", simulated.global_step)
    simulated.fit(epochs=2, validate_every=2)
    assert simulated.events == ["save step=4-val=4-mean=4.ckpt", "save step=8-val=8-mean=8.ckpt"]


def test_other_metrics_in_the_name_are_shown_only_if_they_are_as_new(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="val", save_top_k=-1, filename="{val:.0f}-{mean:.0f}")
    simulated = SimulatedRun(callback, tmp_path, val_check_interval=0.5)
    simulated.log("mean", 1)
    simulated.made_at["mean"] = -1
    simulated.validate = lambda: (  # type: ignore[assignment,return-value]
        simulated.log("val", simulated.global_step),
        simulated.log("mean", 7) if simulated.global_step == 4 else None,
    )
    simulated.fit(epochs=1, validate_every=2)
    assert simulated.events == ["save val=2-mean=none.ckpt", "save val=4-mean=7.ckpt"]


# A metric that is not there


@pytest.mark.parametrize("settings", [{}, HALF, {"validate_every": 4, "val_check_interval": 4}])
@pytest.mark.parametrize("arguments", [{}, {"every_n_train_steps": 1}, {"save_on_train_epoch_end": True}])
def test_an_unknown_metric(tmp_path: Path, arguments: dict[str, Any], settings: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match=r"`epoch`, `step`, `val`\n.*Did you mean 'val'\?"):
        run(tmp_path, ModelCheckpoint(monitor="vall", **arguments), **settings)
    assert files(tmp_path) == {}


def test_without_validation_a_missing_metric_is_only_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning) as warned:
        run(tmp_path, ModelCheckpoint(monitor="val", save_last=True), enable_validation=False)
    assert len([w for w in warned if "Nothing is saved as long as it is missing" in str(w.message)]) == 1
    assert files(tmp_path / "checkpoints") == {"last.ckpt": 12}


def test_a_metric_that_comes_later_is_no_mistake(tmp_path: Path) -> None:
    callback = ModelCheckpoint(monitor="val", save_top_k=-1, save_on_train_epoch_end=True)
    assert steps(run(tmp_path, callback, check_val_every_n_epoch=3)) == [12]


# Resuming


def test_a_waiting_save_is_part_of_the_state(tmp_path: Path) -> None:
    first = ModelCheckpoint(monitor="val", every_n_train_steps=3)
    simulated = SimulatedRun(first, tmp_path, enable_validation=False)
    simulated.train = lambda: state.update(first.state_dict())
    state: dict[str, Any] = {}
    with pytest.warns(UserWarning, match="saved nothing|Nothing is saved"):
        simulated.fit(epochs=1)
    assert state["awaited"] == ["val"] and "awaited" not in first.state_dict()

    again = ModelCheckpoint(monitor="val", every_n_train_steps=100, save_top_k=-1)
    resumed = SimulatedRun(again, tmp_path, global_step=4, current_epoch=1)
    resumed.fire("setup", "fit")
    again.load_state_dict(state)
    resumed.fit(epochs=2, setup=False)
    assert resumed.events == ["save epoch=1-step=8.ckpt"]


def test_no_save_is_due_where_a_run_begins(tmp_path: Path) -> None:
    callback = ModelCheckpoint(every_n_train_steps=4, save_top_k=-1)
    simulated = SimulatedRun(callback, tmp_path, global_step=4, current_epoch=1, accumulate_grad_batches=2)
    simulated.fit(epochs=3)
    assert simulated.events == ["save epoch=2-step=8.ckpt"]


def test_a_callback_serves_a_second_run(tmp_path: Path) -> None:
    callback = ModelCheckpoint()
    run(tmp_path, callback, epochs=1)
    with pytest.warns(match="is not empty"):
        assert run(tmp_path, callback, epochs=1) == ["epoch=0-step=4"]


# Exceptions


def stop_at(tmp_path: Path, step: int, **arguments: Any) -> SimulatedRun:
    callback = ModelCheckpoint(**{"save_on_exception": True, **arguments})
    simulated = SimulatedRun(callback, tmp_path)

    def train() -> None:
        if simulated.global_step == step:
            simulated.global_step -= 1
            raise RuntimeError("boom")

    simulated.train = train
    try:
        simulated.fit(epochs=2)
    except RuntimeError as error:
        simulated.before_write = arguments.get("before_write", lambda path: None)
        simulated.fire("on_exception", error)
    return simulated


@pytest.mark.parametrize(
    ("step", "arguments", "expected"),
    [
        (3, {}, {"epoch=0-step=2.ckpt": 2}),
        (3, {"monitor": "val", "filename": "{step}-{epoch}"}, {"step=2-epoch=0.ckpt": 2}),
        (6, {"monitor": "val", "filename": "{val:.0f}"}, {"val=4.ckpt": 4, "val=none.ckpt": 5}),
        (3, {"save_last": True}, {"epoch=0-step=2.ckpt": 2, "last.ckpt": 2}),
        (3, {"save_last": "link"}, {"epoch=0-step=2.ckpt": 2, "last.ckpt": 2}),
        (1, {}, {}),
        (5, {}, {"epoch=0-step=4.ckpt": 4}),
        (3, {"save_on_exception": False}, {}),
    ],
)
def test_exceptions(tmp_path: Path, step: int, arguments: dict[str, Any], expected: dict[str, int]) -> None:
    simulated = stop_at(tmp_path, step, **arguments)
    assert files(tmp_path / "checkpoints") == expected
    claimed = set(simulated.callback.best_k_models)
    assert not any("none" in path or "step=2" in path for path in claimed)


def test_a_save_that_fails_does_not_hide_the_exception(tmp_path: Path) -> None:
    callback = ModelCheckpoint(save_on_exception=True)
    simulated = SimulatedRun(callback, tmp_path, global_step=3)
    simulated.fire("setup", "fit")

    def full(path: str) -> None:
        raise OSError("disk full")

    simulated.before_write = full
    with pytest.warns(UserWarning, match=r"After a RuntimeError \(boom\).*disk full"):
        simulated.fire("on_exception", RuntimeError("boom"))


@pytest.mark.parametrize(
    ("stage", "settings", "left"), [("fit", {}, 0), ("validate", {}, 1), ("fit", {"fast_dev_run": True}, 1)]
)
@pytest.mark.parametrize("rank_zero", [True, False])
def test_training_begins_with_cleaning_up(
    tmp_path: Path, stage: str, settings: dict[str, Any], left: int, rank_zero: bool
) -> None:
    """What a save that was killed left half written, in the folder or as deep below as file names reach."""
    (tmp_path / "checkpoints/deep").mkdir(parents=True)
    (tmp_path / "checkpoints" / part_name("a.ckpt")).touch()
    (tmp_path / "checkpoints/deep" / part_name("b.ckpt")).touch()
    callback = ModelCheckpoint(filename="deep/{step}", save_top_k=0)
    SimulatedRun(callback, tmp_path, is_global_zero=rank_zero, **settings).fire("setup", stage)
    assert len(list(tmp_path.rglob("*.part"))) == (2 * left if rank_zero else 2)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ({"every_n_train_steps": 1, "every_n_epochs": 1}, "use a second `ModelCheckpoint`"),
        ({"every_n_train_steps": 1, "train_time_interval": timedelta(seconds=1)}, "use a second `ModelCheckpoint`"),
        ({"every_n_epochs": -1}, "or 0 for never"),
        ({"every_n_train_steps": 2.5}, "or 0 for never"),
        ({"train_time_interval": 5}, "DD:HH:MM:SS"),
    ],
)
def test_mistakes(arguments: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        ModelCheckpoint(**arguments)


def test_triggers_that_are_off_exclude_nothing() -> None:
    callback = ModelCheckpoint(every_n_train_steps=0, every_n_epochs=2)
    assert callback.every_n_epochs == 2
    assert ModelCheckpoint().every_n_epochs == 1
    timed = ModelCheckpoint(train_time_interval="00:01:00:00")  # type: ignore[arg-type]
    assert timed.every_n_epochs == 0 and "datetime.timedelta(seconds=3600)" in timed.state_key
