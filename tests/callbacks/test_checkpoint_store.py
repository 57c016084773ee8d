"""What ModelCheckpoint keeps: names, ranking, removal, state. When it saves: test_model_checkpoint.py."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks import ModelCheckpoint
from fulmen.utilities.exceptions import MisconfigurationException

from .simulated_run import SimulatedRun, files


def run(root: Path, values: list[float], callback: ModelCheckpoint | None = None, **arguments: Any) -> ModelCheckpoint:
    """An epoch of four steps for each value of the metric `val`."""
    settings = arguments.pop("settings", {})
    callback = callback or ModelCheckpoint(**{"monitor": "val", **arguments})
    simulated = SimulatedRun(callback, root, **settings)
    simulated.validate = lambda: simulated.log("val", values[simulated.current_epoch])
    simulated.fit(epochs=len(values))
    return callback


@given(
    values=st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(math.nan)), min_size=1, max_size=8),
    top_k=st.sampled_from([-1, 1, 2, 3]),
    mode=st.sampled_from(["min", "max"]),
)
def test_the_best_are_kept(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], top_k: int, mode: str
) -> None:
    root = tmp_path_factory.mktemp("run")
    callback = run(root, values, save_top_k=top_k, mode=mode)
    sign = 1 if mode == "min" else -1
    keys = [math.inf if math.isnan(v) else sign * v for v in values]
    kept: list[int] = []
    for epoch, key in enumerate(keys):
        if top_k == -1 or len(kept) < top_k:
            kept.append(epoch)
        elif not math.isnan(values[epoch]) and key < max(keys[e] for e in kept):
            kept.remove(max(kept, key=lambda e: keys[e]))
            kept.append(epoch)
    folder = root / "checkpoints"
    assert sorted(files(folder).values()) == sorted(4 * (epoch + 1) for epoch in kept)
    best = min(kept, key=lambda e: keys[e])
    assert callback.best_model_path == str(folder / f"epoch={best}-step={4 * (best + 1)}.ckpt")
    assert callback.best_model_score == sign * keys[best]
    assert set(callback.best_k_models) == {str(folder / name) for name in files(folder)}
    if top_k in (-1, len(kept)):
        assert callback.kth_value == callback.best_k_models[callback.kth_best_model_path]
        assert sign * callback.kth_value == max(keys[e] for e in kept)


def test_the_newest_without_a_metric(tmp_path: Path) -> None:
    callback = run(tmp_path, [1.0, 2.0, 3.0], monitor=None)
    assert files(tmp_path) == {"checkpoints/epoch=2-step=12.ckpt": 12}
    assert callback.best_model_path.endswith("epoch=2-step=12.ckpt") and callback.best_model_score is None
    assert callback.best_k_models == {} and callback.current_score is None


def test_all_or_none_without_a_metric(tmp_path: Path) -> None:
    run(tmp_path / "all", [1.0, 2.0], monitor=None, save_top_k=-1)
    assert files(tmp_path / "all/checkpoints") == {"epoch=0-step=4.ckpt": 4, "epoch=1-step=8.ckpt": 8}
    none = run(tmp_path / "none", [1.0, 2.0], monitor=None, save_top_k=0)
    assert files(tmp_path / "none") == {} and none.best_model_path == ""


@pytest.mark.parametrize(
    ("filename", "names"),
    [
        (None, ["epoch=0-step=4", "epoch=1-step=8"]),
        ("", ["epoch=0-step=4", "epoch=1-step=8"]),
        ("{epoch:02d}-{val:.2f}", ["epoch=00-val=3.00", "epoch=01-val=1.00"]),
        ("a/{step}", ["a/step=4", "a/step=8"]),
        ("same", ["same", "same-v1"]),
    ],
)
def test_names(tmp_path: Path, filename: str | None, names: list[str]) -> None:
    run(tmp_path, [3.0, 1.0], filename=filename, save_top_k=-1, monitor=None)
    assert files(tmp_path / "checkpoints") == {f"{name}.ckpt": step for name, step in zip(names, (4, 8), strict=True)}


def test_values_alone(tmp_path: Path) -> None:
    run(tmp_path, [3.0], filename="e{epoch}-{val:.1f}", auto_insert_metric_name=False)
    assert list(files(tmp_path / "checkpoints")) == ["e0-3.0.ckpt"]


def test_format_checkpoint_name() -> None:
    callback = ModelCheckpoint(filename="{epoch}_{val}")
    assert callback.format_checkpoint_name({"epoch": 1}) == "epoch=1_val=0.ckpt"
    callback.dirpath = "/runs"
    name = callback.format_checkpoint_name({"epoch": torch.tensor(3)}, "{epoch:03d}", ver=2, prefix="test")
    assert name == "/runs/test-epoch=003-v2.ckpt"


def test_subclasses_set_the_parts_of_names(tmp_path: Path) -> None:
    class Own(ModelCheckpoint):
        CHECKPOINT_JOIN_CHAR = "_"
        CHECKPOINT_EQUALS_CHAR = ":"
        CHECKPOINT_NAME_LAST = "{epoch}-last-{val}"
        FILE_EXTENSION = ".part.ckpt"
        STARTING_VERSION = 5

    (tmp_path / "checkpoints").mkdir()
    torch.save({"global_step": 0}, tmp_path / "checkpoints/epoch:0_step:4.part.ckpt")
    with pytest.warns(match="is not empty"):
        run(tmp_path, [3.0], Own(save_last=True))
    assert files(tmp_path / "checkpoints") == {
        "epoch:0_step:4.part.ckpt": 0,
        "epoch:0_step:4_v5.part.ckpt": 4,
        "epoch:0-last-val:3.0.part.ckpt": 4,
    }


def test_a_counter_that_is_logged_shows_what_was_logged(tmp_path: Path) -> None:
    callback = ModelCheckpoint(filename="{step}")
    simulated = SimulatedRun(callback, tmp_path)
    simulated.validate = lambda: simulated.log("step", 77)
    simulated.fit()
    assert list(files(tmp_path / "checkpoints")) == ["step=77.ckpt"]


def test_versions(tmp_path: Path) -> None:
    """The third value beats the first: its file takes the first one's place and name."""
    callback = run(tmp_path / "counted", [3.0, 1.0, 2.0], save_top_k=2, filename="x")
    assert files(tmp_path / "counted/checkpoints") == {"x.ckpt": 12, "x-v1.ckpt": 8}
    assert {os.path.basename(p): s.item() for p, s in callback.best_k_models.items()} == {"x.ckpt": 2, "x-v1.ckpt": 1}
    run(tmp_path / "plain", [3.0, 1.0], save_top_k=2, filename="x", enable_version_counter=False)
    assert files(tmp_path / "plain/checkpoints") == {"x.ckpt": 8}


def test_existing_files_are_never_overwritten_or_removed(tmp_path: Path) -> None:
    run(tmp_path, [3.0], save_last=True)
    with pytest.warns(UserWarning, match="is not empty"):
        run(tmp_path, [3.0, 2.0], save_last=True)
    assert files(tmp_path / "checkpoints") == {
        "epoch=0-step=4.ckpt": 4,
        "last.ckpt": 4,
        "epoch=1-step=8.ckpt": 8,
        "last-v1.ckpt": 8,
    }


# The folder


def logger(save_dir: Any, name: Any, version: Any) -> Any:
    return SimpleNamespace(save_dir=save_dir, name=name, version=version, after_save_checkpoint=lambda checkpoint: None)


@pytest.mark.parametrize(
    ("name", "version", "folder"),
    [
        ("lightning_logs", 3, "lightning_logs/version_3/checkpoints"),
        ("lightning_logs", "mine", "lightning_logs/mine/checkpoints"),
        ("", 0, "version_0/checkpoints"),
        (None, 0, "version_0/checkpoints"),
    ],
)
def test_the_folder_is_that_of_the_first_logger(tmp_path: Path, name: Any, version: Any, folder: str) -> None:
    loggers = [logger(str(tmp_path), name, version), logger("elsewhere", "b", 1)]
    callback = run(Path("unused"), [1.0], settings={"loggers": loggers})
    assert callback.dirpath == str(tmp_path / folder)
    assert list(files(tmp_path)) == [f"{folder}/epoch=0-step=4.ckpt"]


def test_a_logger_without_a_folder_uses_the_default(tmp_path: Path) -> None:
    callback = run(tmp_path, [1.0], settings={"loggers": [logger(None, "n", 0)]})
    assert callback.dirpath == str(tmp_path / "n/version_0/checkpoints")


def test_the_folder_given_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    callback = ModelCheckpoint(dirpath="~/mine")
    assert callback.dirpath == str(tmp_path.resolve() / "mine")
    run(Path("unused"), [1.0], callback, settings={"loggers": [logger("else", "n", 0)]})
    assert list(files(tmp_path)) == ["mine/epoch=0-step=4.ckpt"]


def test_loggers_hear_of_each_file(tmp_path: Path) -> None:
    heard: list[str] = []
    one = logger(str(tmp_path), "n", 0)
    one.after_save_checkpoint = lambda checkpoint: heard.append(os.path.basename(checkpoint.best_model_path))
    run(tmp_path, [2.0, 1.0], settings={"loggers": [one]})
    assert heard == ["epoch=0-step=4.ckpt", "epoch=1-step=8.ckpt"]


# The last file


def test_last(tmp_path: Path) -> None:
    callback = run(tmp_path, [1.0, 2.0, 3.0], save_last=True)
    assert files(tmp_path / "checkpoints") == {"epoch=0-step=4.ckpt": 4, "last.ckpt": 12}
    assert callback.last_model_path == str(tmp_path / "checkpoints/last.ckpt")


def test_last_alone(tmp_path: Path) -> None:
    run(tmp_path, [1.0, 2.0], save_last=True, save_top_k=0, monitor=None)
    assert files(tmp_path / "checkpoints") == {"last.ckpt": 8}


def test_a_link_points_to_the_newest_file(tmp_path: Path) -> None:
    callback = run(tmp_path, [3.0, 2.0, 2.5], save_last="link")
    last = tmp_path / "checkpoints/last.ckpt"
    assert last.is_symlink() and os.readlink(last) == "epoch=1-step=8.ckpt"
    assert callback.last_model_path == str(last)
    assert files(tmp_path / "checkpoints") == {"epoch=1-step=8.ckpt": 8, "last.ckpt": 8}


def test_a_link_without_anything_to_point_to_is_a_file(tmp_path: Path) -> None:
    run(tmp_path, [1.0], save_last="link", save_top_k=0, monitor=None)
    assert files(tmp_path / "checkpoints") == {"last.ckpt": 4}
    assert not (tmp_path / "checkpoints/last.ckpt").is_symlink()


def test_a_last_file_named_after_a_metric_is_renamed(tmp_path: Path) -> None:
    class Named(ModelCheckpoint):
        CHECKPOINT_NAME_LAST = "{epoch}-last"

    run(tmp_path, [1.0, 2.0], Named(monitor="val", save_last=True))
    assert set(files(tmp_path / "checkpoints")) == {"epoch=0-step=4.ckpt", "epoch=1-last.ckpt"}


def test_last_files_are_found(tmp_path: Path) -> None:
    callback = run(tmp_path, [1.0], save_last=True)
    folder = tmp_path / "checkpoints"
    for name in ("last-v2.ckpt", "lastly.ckpt", "last.ckpt.part"):
        (folder / name).touch()
    trainer: Any = SimulatedRun(callback, tmp_path)
    assert callback._find_last_checkpoints(trainer) == {str(folder / "last.ckpt"), str(folder / "last-v2.ckpt")}
    fresh = ModelCheckpoint()
    assert fresh._find_last_checkpoints(trainer) == callback._find_last_checkpoints(trainer)


# Failure and removal


@pytest.mark.parametrize("fails_at", range(4))
@pytest.mark.parametrize("save_last", [True, "link", None])
@pytest.mark.parametrize("monitor", ["val", None])
def test_a_failed_save_loses_nothing(tmp_path: Path, fails_at: int, save_last: Any, monitor: str | None) -> None:
    """Whenever writing fails, the files that the callback claims are there, and whole."""
    callback = ModelCheckpoint(monitor=monitor, save_last=save_last)
    simulated = SimulatedRun(callback, tmp_path)
    simulated.validate = lambda: simulated.log("val", 10.0 - simulated.current_epoch)
    written: list[str] = []

    def write(path: str) -> None:
        if len(written) == fails_at:
            raise OSError("disk full")
        written.append(path)

    simulated.before_write = write
    try:
        simulated.fit(epochs=3)
    except OSError:
        pass
    folder = tmp_path / "checkpoints"
    claimed = {*callback.best_k_models, callback.best_model_path, callback.last_model_path} - {""}
    assert {os.path.basename(path) for path in claimed} <= set(files(folder))
    assert bool(files(folder)) == bool(written)


def test_only_own_files_are_removed(tmp_path: Path) -> None:
    """State that points elsewhere, say after the folder was moved, removes nothing there."""
    (tmp_path / "other").mkdir()
    foreign = tmp_path / "other/epoch=0-step=4.ckpt"
    torch.save({"global_step": 4}, foreign)
    callback = ModelCheckpoint(monitor="val", dirpath=tmp_path / "mine")
    callback.best_k_models = {str(foreign): torch.tensor(100.0)}
    callback.kth_best_model_path, callback.kth_value = str(foreign), torch.tensor(100.0)
    run(tmp_path, [1.0], callback)
    assert foreign.exists() and list(callback.best_k_models) == [str(tmp_path / "mine/epoch=0-step=4.ckpt")]


def test_the_file_that_was_resumed_from_stays(tmp_path: Path) -> None:
    first = run(tmp_path, [3.0])
    again = ModelCheckpoint(monitor="val")
    simulated = SimulatedRun(again, tmp_path, ckpt_path=first.best_model_path, global_step=4, current_epoch=1)
    simulated.validate = lambda: simulated.log("val", 2.0 - simulated.current_epoch)
    simulated.fire("setup", "fit")  # it is no surprise that the folder holds the file
    again.load_state_dict(first.state_dict())
    simulated.fit(epochs=3, setup=False)
    assert files(tmp_path / "checkpoints") == {"epoch=0-step=4.ckpt": 4, "epoch=2-step=12.ckpt": 12}


# State


def test_state_goes_round_and_the_ranking_goes_on(tmp_path: Path) -> None:
    first = run(tmp_path, [2.0, 3.0], save_top_k=2, save_last=True)
    state = torch.load(first.last_model_path, weights_only=True)["state"]
    assert set(state) == {
        "monitor",
        "best_model_score",
        "best_model_path",
        "current_score",
        "dirpath",
        "best_k_models",
        "kth_best_model_path",
        "kth_value",
        "last_model_path",
    }
    assert state == first.state_dict()
    again = ModelCheckpoint(monitor="val", save_top_k=2, save_last=True)
    simulated = SimulatedRun(again, tmp_path, global_step=8, current_epoch=2)
    simulated.validate = lambda: simulated.log("val", 1.0)
    with pytest.warns(match="is not empty"):
        simulated.fire("setup", "fit")
    again.load_state_dict(state)
    simulated.fit(epochs=3, setup=False)
    assert files(tmp_path / "checkpoints") == {"epoch=0-step=4.ckpt": 4, "epoch=2-step=12.ckpt": 12, "last.ckpt": 12}
    assert len(state["best_k_models"]) == 2


def test_in_another_folder_only_the_best_file_is_known(tmp_path: Path) -> None:
    first = run(tmp_path, [2.0])
    again = ModelCheckpoint(monitor="val", dirpath=tmp_path / "other")
    with pytest.warns(UserWarning, match="only `best_model_path` is taken over"):
        again.load_state_dict(first.state_dict())
    assert again.best_model_path == first.best_model_path and again.best_k_models == {}


def test_state_keys_tell_callbacks_apart() -> None:
    assert ModelCheckpoint(monitor="v", every_n_train_steps=3).state_key == (
        "ModelCheckpoint{'monitor': 'v', 'mode': 'min', 'every_n_train_steps': 3, 'every_n_epochs': 0, "
        "'train_time_interval': None}"
    )


def test_to_yaml(tmp_path: Path) -> None:
    callback = run(tmp_path, [2.0, 1.0], save_top_k=2)
    callback.to_yaml()
    text = (tmp_path / "checkpoints/best_k_models.yaml").read_text()
    assert yaml.safe_load(text) == {path: score.item() for path, score in callback.best_k_models.items()}
    callback.to_yaml(tmp_path / "own.yaml")
    assert (tmp_path / "own.yaml").read_text() == text


def test_verbose(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fulmen"):
        run(tmp_path, [3.0, 4.0], verbose=True)
    path = tmp_path / "checkpoints/epoch=0-step=4.ckpt"
    assert caplog.messages == [
        f"Epoch 0, global step 4: 'val' reached 3.00000 (best 3.00000), saving model to {str(path)!r} as top 1",
        "Epoch 1, global step 8: 'val' was not in top 1",
    ]


def test_check_monitor_top_k(tmp_path: Path) -> None:
    callback = run(tmp_path, [3.0])
    trainer: Any = SimulatedRun(callback, tmp_path)
    assert callback.check_monitor_top_k(trainer, torch.tensor(2.0))
    assert not callback.check_monitor_top_k(trainer, torch.tensor(3.0))
    assert not callback.check_monitor_top_k(trainer)
    callback.save_top_k = 0
    assert not callback.check_monitor_top_k(trainer, torch.tensor(2.0))
    callback.save_top_k = -1
    assert callback.check_monitor_top_k(trainer, torch.tensor(5.0))
    assert callback.file_exists(callback.best_model_path, trainer)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ({"save_top_k": -2}, "or -1 for all"),
        ({"save_top_k": 1.5}, "or -1 for all"),
        ({"save_top_k": 2}, 'Name one, `monitor="val_loss"`'),
        ({"mode": "auto"}, 'mode="min" for a loss'),
        ({"save_last": "copy"}, '"link" for a link'),
        ({"filename": "{epoch"}, "For example"),
    ],
)
def test_mistakes(arguments: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        ModelCheckpoint(**arguments)
