"""Offline: what W&B writes is read back."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.loggers.wandb import WandbLogger
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only

from .runs import At, Net, fit, weights
from .wandb_file import content

wandb: Any = pytest.importorskip("wandb", reason="it writes what these tests read")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DATA_DIR": str(tmp_path / "data"),
        "WANDB_CACHE_DIR": str(tmp_path / "cache"),
        "WANDB_CONFIG_DIR": str(tmp_path / "config"),
        "WANDB_X_DISABLE_STATS": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    wandb.finish()


def test_a_run_holds_all_that_was_logged(tmp_path: Path) -> None:
    opened = []

    def log_all(trainer: Any) -> None:
        opened.append(wandb.run is not None)
        trainer.log_image("image", torch.zeros(3, 4, 5), caption="black")
        trainer.log_table("table", columns=["x", "y"], data=[[1, "a"]])
        trainer.log_text("text", "Once upon a time")
        trainer.log_audio("sound", torch.zeros(100), sample_rate=8000)
        trainer.log_video("video", torch.zeros(2, 3, 8, 8))
        trainer.log_histogram("values", torch.arange(10.0))

    logger = WandbLogger("named", tmp_path / "runs", project="p", prefix="fold", tags=["t"], config={"given": 1})
    torch.manual_seed(0)
    net = fit(logger, [At(1, log_all)], Net(notes="n"))
    assert weights(net) == weights(fit(False))
    assert opened == [True]
    assert logger.version == wandb.run.id
    wandb.finish()

    found = content(tmp_path / "runs")
    assert found["run"] == {"id": logger.version, "project": "p", "name": "named", "tags": ["t"]}
    assert found["config"] == {"given": 1, "lr": 0.1, "notes": "n"}
    assert found["metrics"] == [("trainer/global_step", "", False), ("*", "trainer/global_step", True)]
    rows = [row for row in found["history"] if "fold-loss" in row]
    assert [row["trainer/global_step"] for row in rows] == list(range(6))
    assert [row["fold-epoch"] for row in rows] == [0, 0, 0, 1, 1, 1]
    media = {key.split(".")[0] for row in found["history"] for key in row if key.endswith("_type")}
    assert media == {f"fold-{name}" for name in ("image", "table", "text", "sound", "video", "values")}
    (image,) = (tmp_path / "runs").rglob("media/images/fold-image*.png")
    assert numpy.asarray(_open(image)).shape == (4, 5, 3)
    (sound,) = (tmp_path / "runs").rglob("media/*/fold-sound*")  # without `soundfile`, a page that plays it
    assert b"RIFF" in sound.read_bytes() or b"data:audio/wav;base64,UklGR" in sound.read_bytes()


def _open(path: Path) -> Any:
    from PIL import Image

    return Image.open(path)


def test_checkpoints_become_artifacts_that_are_deleted_by_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = WandbLogger(save_dir=tmp_path / "runs", log_model="all", checkpoint_name="net")
    go = threading.Event()
    checkpoint = ModelCheckpoint(
        tmp_path / "ckpt", filename="{step}", every_n_train_steps=2, save_top_k=1, monitor="loss", mode="max"
    )
    sent = []
    add_file = wandb.Artifact.add_file

    def noted(self: Any, path: str, **kwargs: Any) -> Any:
        sent.append((Path(path).name, kwargs["policy"]))
        return add_file(self, path, **kwargs)

    monkeypatch.setattr(wandb.Artifact, "add_file", noted)
    callbacks = [At(1, lambda _: logger._background.submit(go.wait, 30)), At(6, lambda _: go.set()), checkpoint]
    fit(logger, callbacks, enable_checkpointing=True)
    wandb.finish()
    artifacts = content(tmp_path / "runs")["artifacts"]
    assert artifacts
    name, kind, about, aliases, files = artifacts[0]
    assert (name, kind, aliases, files) == ("net", "model", ["best", "latest"], ["model.ckpt"])
    assert about["original_filename"] == "step=2.ckpt"
    assert about["ModelCheckpoint"]["monitor"] == "loss"
    assert sent[0] == ("step=2.ckpt", "mutable")
    assert len(sent) == len(artifacts)
    assert not list((tmp_path / "ckpt").glob(".sending-*"))


def test_what_lightning_s_methods_take(tmp_path: Path) -> None:
    picture = tmp_path / "black.png"
    from PIL import Image

    Image.new("RGB", (3, 2)).save(picture)
    logger = WandbLogger(save_dir=tmp_path / "runs", id="mine", x_axis="epoch")
    black = numpy.zeros((2, 3, 3), dtype=numpy.uint8)
    logger.log_image("paths", [str(picture), wandb.Image(black)], step=1, caption=["a", "b"])
    logger.log_image("boxes", [black], mode=["RGB"])
    logger.log_text("samples", columns=["input", "output"], data=[["x", "y"]])
    logger.log_text("plain", "hi", step=2)
    logger.log_hyperparams({"f": torch.relu, "t": torch.tensor(1.5), "path": Path("a"), "list": [1, (2, 3)]})
    logger.log_metrics({"chart": {"x": 1.0}, "text": "t"}, 3)
    assert (logger.name, logger.version, logger.save_dir) == ("lightning_logs", "mine", str(tmp_path / "runs"))
    for method in (logger.log_image, logger.log_audio, logger.log_video):
        with pytest.raises(MisconfigurationException, match="Pass a list of 1, or a single value"):
            method("k", ["a"], caption=["a", "b"])
    wandb.finish()
    found = content(tmp_path / "runs")
    assert found["metrics"][0][0] == "trainer/epoch"
    assert [row.get("trainer/epoch") for row in found["history"]] == [1, 1, 1, 2, 3]
    assert found["history"][-1] == {"chart.x": 1, "text": "t", "trainer/epoch": 3}
    assert found["config"] == {"f": "relu", "t": 1.5, "path": "a", "list": [1, [2, 3]]}
    captions = [value for row in found["history"] for key, value in row.items() if key == "paths.captions"]
    assert captions == [["a", None]]


def test_a_run_that_is_open_is_gone_on_with(tmp_path: Path) -> None:
    run = wandb.init(project="own", dir=str(tmp_path))
    given = WandbLogger(experiment=run)
    assert given.version == run.id
    assert given.experiment is run
    logger = WandbLogger(project="other")
    with pytest.warns(UserWarning, match=r"Call `wandb.finish\(\)` before"):
        logger.log_metrics({"a": 1.0}, 0)
    assert logger.version == run.id
    for clone in (copy.deepcopy(logger), pickle.loads(pickle.dumps(logger))):
        clone.log_metrics({"a": 2.0}, 1)
        assert clone.version == run.id
    calls = []
    object.__setattr__(run, "watch", lambda model, **options: calls.append(options))
    logger.watch(torch.nn.Linear(1, 1), log="all", log_freq=3)
    assert calls == [{"log": "all", "log_freq": 3, "log_graph": True}]
    with pytest.raises(TypeError, match="offline"):
        logger.use_artifact("net:latest")
    with pytest.raises(TypeError, match="offline"):
        WandbLogger.download_artifact("net:latest")


def test_options_without_a_meaning_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="Set `offline=False`"):
        WandbLogger(offline=True, log_model=True)
    with pytest.raises(MisconfigurationException, match=r"vars\(config\)"):
        WandbLogger().log_hyperparams("lr")  # type: ignore[arg-type]
    assert wandb.run is None


def test_other_ranks_make_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    logger = WandbLogger()
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_hyperparams({"a": 1})
    logger.log_image("a", torch.zeros(3, 2, 2))
    logger.experiment.log({"a": 1})
    logger.finalize("success")
    assert wandb.run is None
    assert logger.version is None


def test_a_run_that_cannot_be_made_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise wandb.errors.CommError("no way to api.wandb.ai")

    monkeypatch.setattr(wandb, "init", fail)
    logger = WandbLogger()
    with pytest.warns(UserWarning, match="switched off for the rest of this run.*no way to") as caught:
        net = fit(logger)
    assert len(caught) == 1
    assert weights(net) == weights(fit(False))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of a file's size stands for a full disk")
def test_a_full_disk_stops_nothing_and_is_told(tmp_path: Path) -> None:
    """W&B's own process cannot write on, and says nothing."""
    code = """
        import resource, signal, time, warnings
        from fulmen.loggers import wandb as module
        from fulmen.loggers.wandb_offline import check_written
        from tests.loggers.runs import At, fit, weights

        def until_it_is_full(trainer):
            trainer.logger._background.drain()
            for _ in range(300):
                try:
                    check_written(trainer.logger._experiment)
                except OSError:
                    return
                time.sleep(0.1)

        module._LOOK_EVERY = 0
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            net = fit(module.WandbLogger(), [At(150, until_it_is_full)], max_epochs=60)
        told = [str(one.message) for one in caught if "WandbLogger" in str(one.message)]
        assert len(told) == 1, told
        reasons = ("file too large", "failed to save record")  # what W&B's log says of it first
        assert "switched off" in told[0] and any(reason in told[0] for reason in reasons), told
        assert weights(net) == weights(fit(False, max_epochs=60))
        print("went on")
    """
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "went on" in done.stdout, done.stderr[-3000:]


def test_a_disk_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fulmen.loggers.wandb_offline import check_written

    class Run:
        offline = True
        dir = str(tmp_path / "files")

    with warnings.catch_warnings():
        check_written(Run())
    real = os.statvfs(tmp_path)
    full = os.statvfs_result([*real[:4], 0, *real[5:]])
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(OSError, match="the disk is full"):
        check_written(Run())
    Run.offline = False
    check_written(Run())
