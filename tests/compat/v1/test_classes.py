"""Classes of 1.x: arguments that are gone, and names that are gone."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.compat.v1.test_outputs import QUIET, Model, loader

from fulmen import Trainer
from fulmen.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint, ProgressBar, TQDMProgressBar
from fulmen.compat import v1
from fulmen.compat.v1 import callbacks, loggers, speech
from fulmen.loggers import CSVLogger
from fulmen.profilers import SimpleProfiler
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")


@pytest.mark.parametrize("name", ["every_n_val_epochs", "period"])
def test_checkpoints_every_n_validations(name: str, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "here", save_top_k=-1, **{name: 2})
    trainer = Trainer(**{**QUIET, "max_epochs": 5, "enable_checkpointing": True}, callbacks=[checkpoint])
    trainer.fit(Model(), loader(1), loader(1))
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["epoch=1-step=2.ckpt", "epoch=3-step=4.ckpt"]


def test_a_checkpoints_path_and_prefix(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(filepath=tmp_path / "there/{epoch}", prefix="mine", mode="auto", monitor="val_acc")
    assert checkpoint.mode == "max"
    assert checkpoint.dirpath == str(tmp_path / "there")
    assert checkpoint.filename == "mine-{epoch}"
    assert ModelCheckpoint(filepath=tmp_path).dirpath == str(tmp_path)
    assert ModelCheckpoint(save_top_k=None).save_top_k == 1  # type: ignore[arg-type]


def test_save_checkpoint_saves_now(tmp_path: Path) -> None:
    v1.speak()
    checkpoint: Any = ModelCheckpoint(tmp_path, every_n_epochs=50)

    class Old(Model):
        def on_batch_end(self) -> None:
            if self.trainer.global_step == 2:
                checkpoint.save_checkpoint(self.trainer)

    trainer = Trainer(**{**QUIET, "enable_checkpointing": True}, callbacks=[checkpoint])
    trainer.fit(Old(), loader(3), loader(1))
    assert checkpoint.best_model_path.endswith("epoch=0-step=2.ckpt")


class OldStopping(EarlyStopping):
    extra = 0

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> Any:
        return {**super().on_save_checkpoint(trainer, pl_module, checkpoint), "extra": 7}  # type: ignore[func-returns-value]

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, callback_state: Any) -> None:
        super().on_load_checkpoint(trainer, pl_module, callback_state)
        self.extra = callback_state["extra"]


def test_a_subclass_of_1_5_adds_to_the_state(tmp_path: Path) -> None:
    class Old(Model):
        def validation_epoch_end(self, outputs: Any) -> None:
            self.log("loss", 1.0)

    trainer = Trainer(**{**QUIET, "max_epochs": 3}, callbacks=[OldStopping("loss", patience=9)])
    trainer.fit(Old(), loader(1), loader(1))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = OldStopping("loss", patience=9)
    Trainer(**{**QUIET, "max_epochs": 4}, callbacks=[again]).fit(
        Old(), loader(1), loader(1), ckpt_path=tmp_path / "a.ckpt"
    )
    assert again.extra == 7
    assert again.wait_count == 3
    checkpoint: Any = ModelCheckpoint(tmp_path)
    checkpoint.on_load_checkpoint(
        trainer, None, {**checkpoint.on_save_checkpoint(trainer, None, {}), "current_score": 2}
    )
    assert checkpoint.current_score == 2


def test_early_stopping_without_a_metric_watches_early_stop_on() -> None:
    v1.speak()
    stopping = EarlyStopping(patience=0)  # type: ignore[call-arg]

    class Old(Model):
        def validation_epoch_end(self, outputs: Any) -> None:
            self.log("early_stop_on", 1.0)

    trainer = Trainer(**{**QUIET, "max_epochs": 9}, callbacks=[stopping])
    trainer.fit(Old(), loader(1), loader(1))
    assert trainer.current_epoch == 2
    assert EarlyStopping("x_acc", mode="auto").mode == "max"


def test_a_callback_of_functions_takes_old_events() -> None:
    heard: list[str] = []
    callback = LambdaCallback(  # type: ignore[call-arg]
        on_init_end=lambda trainer: heard.append("on_init_end"),
        on_epoch_start=lambda trainer, module: heard.append("on_epoch_start"),
        on_train_epoch_start=lambda trainer, module: heard.append("on_train_epoch_start"),
        on_batch_end=lambda trainer, module: heard.append("on_batch_end"),
    )
    Trainer(**QUIET, callbacks=[callback], limit_val_batches=0).fit(Model(), loader(1), loader(1))
    assert heard == ["on_init_end", "on_epoch_start", "on_train_epoch_start", "on_batch_end"]


class Recorder:
    """What a logger of a user's of 2021 looks like."""

    def __init__(self) -> None:
        super().__init__(agg_key_funcs={"most": max})  # type: ignore[call-arg]
        self.rows: list[Any] = []
        self.hparams: Any = None

    experiment = name = version = property(lambda self: "mine")

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.rows.append((step, metrics))

    def log_hyperparams(self, params: Any) -> None:
        self.hparams = params


def test_a_logger_of_1_x_aggregates_and_logs() -> None:
    kind: Any = type("Mine", (Recorder, loggers.LightningLoggerBase), {})
    logger = kind()
    logger.agg_and_log_metrics({"most": 1.0, "mean": 1.0}, step=1)
    logger.agg_and_log_metrics({"most": 5.0, "mean": 2.0}, step=1)
    logger.agg_and_log_metrics({"most": 2.0}, step=2)
    assert logger.rows == [(1, {"most": 5.0, "mean": 1.5})]
    logger.close()
    assert logger.rows[-1] == (2, {"most": 2.0})
    assert logger.group_separator == "/"
    assert isinstance(CSVLogger("."), loggers.LightningLoggerBase)


def test_a_collection_passes_on_what_it_gets(tmp_path: Path) -> None:
    kind: Any = type("Mine", (Recorder, loggers.LightningLoggerBase), {})
    one, two = kind(), kind()
    both: Any = loggers.LoggerCollection([one, two])
    both.log_metrics({"a": 1.0}, step=3)
    both.log_hyperparams({"b": 2})
    assert one.rows == two.rows == [(3, {"a": 1.0})]
    assert one.hparams == two.hparams == {"b": 2}
    assert len(both) == 2 and both[1] is two and list(both) == [one, two]
    assert both.experiment == ["mine", "mine"]
    assert both.name == both.version == "mine"
    for call in (both.save, both.close):
        call()
    both.finalize("success")
    trainer = Trainer(**{**QUIET, "logger": both})
    assert trainer.loggers == [one, two]


def test_profilers_go_over_things() -> None:
    from fulmen.compat.v1.profilers import AbstractProfiler, BaseProfiler

    profiler: Any = SimpleProfiler()
    assert isinstance(profiler, BaseProfiler) and AbstractProfiler is BaseProfiler
    assert list(profiler.profile_iterable([1, 2], "items")) == [1, 2]
    assert len(profiler.recorded_durations["items"]) == 3  # the last finds the end


@pytest.mark.parametrize(
    ("kind", "remedy"), [("XLAStatsMonitor", "DeviceStatsMonitor"), ("QuantizationAwareTraining", "torchao")]
)
def test_what_is_gone_names_what_to_use(kind: str, remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        getattr(callbacks, kind)()


def test_the_gpus_figures_are_those_of_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MisconfigurationException, match="DeviceStatsMonitor"):
        callbacks.GPUStatsMonitor()
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\nprint('10, 20, [N/A], 7')\n")
    program.chmod(0o755)
    monitor = callbacks.GPUStatsMonitor(intra_step_time=True)
    assert monitor._ask(0) == {
        "gpu_id: 0/memory.used (MB)": 10.0, "gpu_id: 0/memory.free (MB)": 20.0, "gpu_id: 0/utilization.memory (%)": 0.0,
        "gpu_id: 0/utilization.gpu (%)": 7.0,
    }  # fmt: skip
    with pytest.raises(MisconfigurationException, match="Trainer\\(logger=True\\)"):
        Trainer(**QUIET, callbacks=[monitor]).fit(Model(), loader(1), loader(1))
    with pytest.raises(MisconfigurationException, match="run on cpu"):
        Trainer(**{**QUIET, "logger": CSVLogger(tmp_path)}, callbacks=[monitor]).fit(Model(), loader(1), loader(1))


def test_modern_classes_take_modern_arguments_only_until_1_x_is_spoken() -> None:
    with pytest.raises(TypeError, match="nothing"):
        ModelCheckpoint(nothing=1)  # type: ignore[call-arg]
    assert v1.speaking is False
    assert torch.is_tensor(EarlyStopping("a").best_score)


def test_the_bar_of_1_x_is_drawn_with_tqdm() -> None:
    v1.speak()
    bar: Any = ProgressBar(refresh_rate=7)  # type: ignore[call-arg]
    assert (type(bar), bar.refresh_rate) == (TQDMProgressBar, 7)

    class Own(ProgressBar):
        def init_validation_tqdm(self) -> Any:
            drawn = super().init_validation_tqdm()  # type: ignore[misc]
            drawn.set_description("held out")
            return drawn

    class Modern(ProgressBar):
        def __init__(self) -> None:
            super().__init__()
            self.heard = 0

        def on_train_batch_end(self, *args: Any) -> None:
            self.heard += 1

    assert isinstance(Own(), TQDMProgressBar)
    assert not isinstance(Modern(), TQDMProgressBar)
    for kind in (Own, Modern):
        one: Any = kind()
        Trainer(**{**QUIET, "enable_progress_bar": True}, callbacks=[one]).fit(Model(), loader(2), loader(1))
        assert kind is Own or one.heard == 2


def test_bars_are_as_today_once_it_is_forgotten() -> None:
    v1.speak()
    speech.forget()
    assert type(TQDMProgressBar(refresh_rate=3)) is TQDMProgressBar
    assert type(ProgressBar()) is ProgressBar
    with pytest.raises(TypeError):
        ProgressBar(refresh_rate=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [ModelCheckpoint, EarlyStopping, ProgressBar, LambdaCallback])
def test_what_a_class_takes_is_shown_as_today(kind: type) -> None:
    before = inspect.signature(kind)
    v1.speak()
    assert inspect.signature(kind) == before


def test_a_command_line_has_todays_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jsonargparse", reason="the command line is built on it")
    from fulmen.cli import LightningCLI

    v1.speak()
    with pytest.raises(SystemExit):
        LightningCLI(Model, args=["fit", "--print_config"])
    printed = capsys.readouterr().out
    assert "ckpt_path" in printed
    assert "train_dataloader" not in printed
