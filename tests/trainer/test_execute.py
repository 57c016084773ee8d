from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.runs import QUIET, Net, data, fit
from torch import nn

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.optimizer import LightningOptimizer
from fulmen.loggers.logger import Logger
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.trainer.trainer import Trainer

calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> Iterator[None]:
    calls.clear()
    yield
    assert not torch.is_anomaly_enabled()
    assert torch.is_grad_enabled()


class Keeps(Logger):
    name, version = "keeps", 0  # type: ignore[assignment]

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: Any, step: Any = None) -> None: ...

    def log_graph(self, model: Any, *args: Any) -> None:
        calls.append("logger graph")

    def finalize(self, status: str) -> None:
        calls.append(f"logger {status}")


class Data(LightningDataModule):
    def prepare_data(self) -> None:
        calls.append("data prepare")

    def setup(self, stage: str) -> None:
        calls.append(f"data setup {stage}")

    def teardown(self, stage: str) -> None:
        calls.append(f"data teardown {stage}")

    def on_exception(self, exception: BaseException) -> None:
        calls.append(f"data {exception!r}")

    def loader(self) -> Any:
        return data(1)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


class Hears(Callback):
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        calls.append(f"callback setup {stage}")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        calls.append(f"callback teardown {stage}")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        calls.append(f"callback {exception!r} {trainer.interrupted}")


class Module(Net):
    failing = ""

    def fail_in(self, name: str) -> None:
        if self.failing == name:
            raise ValueError("boo")

    def prepare_data(self) -> None:
        calls.append("module prepare")
        self.fail_in("prepare_data")

    def setup(self, stage: str) -> None:
        calls.append(f"module setup {stage}")
        self.fail_in("setup")

    def configure_model(self) -> None:
        calls.append("module configure_model")

    def configure_optimizers(self) -> Any:
        calls.append("module configure_optimizers")
        return super().configure_optimizers()

    def on_fit_start(self) -> None:
        calls.append("module on_fit_start")

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.fail_in("training_step")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.fail_in("validation_step")

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> None: ...

    def on_fit_end(self) -> None:
        calls.append("module on_fit_end")

    def teardown(self, stage: str) -> None:
        calls.append(f"module teardown {stage}")
        self.fail_in("teardown")


def trainer(**flags: Any) -> Trainer:
    return Trainer(**{**QUIET, "logger": Keeps(), **flags}, callbacks=[Hears()])


@pytest.mark.parametrize("method", ["fit", "validate", "test", "predict"])
def test_what_surrounds_every_loop(method: str) -> None:
    made = trainer()
    getattr(made, method)(Module(), datamodule=Data())
    optimizers = ["module configure_optimizers", "module on_fit_start"] if method == "fit" else []
    assert calls == [
        "data prepare", "module prepare", f"data setup {method}", f"callback setup {method}", f"module setup {method}",
        "module configure_model", *optimizers, "logger graph", *(["module on_fit_end"] if method == "fit" else []),
        f"data teardown {method}", f"callback teardown {method}", f"module teardown {method}", "logger success",
    ]  # fmt: skip
    assert (str(made.state.fn), str(made.state.status), made.state.stage) == (method, "finished", None)


@pytest.mark.parametrize("place", ["prepare_data", "setup", "training_step", "validation_step", "teardown"])
def test_an_exception_is_told_and_raised_again(place: str) -> None:
    module, made = Module(), trainer()
    module.failing = place
    with pytest.raises(ValueError, match=r"^boo$"):
        made.fit(module, datamodule=Data())
    assert calls[-3:] == ["callback ValueError('boo') True", "data ValueError('boo')", "logger failed"]
    assert "logger success" not in calls
    assert made.interrupted
    assert (str(made.state.status), made.state.stage) == ("interrupted", None)


def test_after_an_exception_the_trainer_works() -> None:
    module, made = Module(), trainer(max_epochs=1)
    module.failing = "training_step"
    with pytest.raises(ValueError, match="boo"):
        made.fit(module, datamodule=Data())
    module.failing = ""
    made.fit(module, datamodule=Data())
    assert (made.global_step, made.interrupted) == (1, False)


def test_an_exception_before_there_is_a_model() -> None:
    with pytest.raises(TypeError, match="LightningModule"):
        trainer().fit(nn.Linear(1, 1), data(1))  # type: ignore[arg-type]
    assert [call.split("(")[0] for call in calls] == ["callback MisconfiguredType", "logger failed"]


def test_ctrl_c_is_told() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it

    class Interrupted(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            signal.raise_signal(signal.SIGINT)
            return super().training_step(batch, batch_idx)

    made = trainer()
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            made.fit(Interrupted(), datamodule=Data())
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls[-3].startswith("callback KeyboardInterrupt(") and calls[-2].startswith("data KeyboardInterrupt(")
    assert made.interrupted


def test_ctrl_c_at_a_prompt_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    made = trainer()
    made.fit(Interrupted(), datamodule=Data())
    assert made.interrupted


def test_optimizers_are_wrapped_once_for_those_who_see_them() -> None:
    made = fit(Net())
    (wrapped,) = made.strategy._lightning_optimizers
    assert type(wrapped) is LightningOptimizer
    assert wrapped.optimizer is made.optimizers[0]
    assert wrapped._module is made.lightning_module


def test_anomalies_are_looked_for_on_demand() -> None:
    seen: list[bool] = []

    class Asks(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append(torch.is_anomaly_enabled())
            return super().training_step(batch, batch_idx)

    fit(Asks(), data(1), detect_anomaly=True)
    fit(Asks(), data(1))
    assert seen == [True, False]


def test_gradients_are_on_inside_a_run_started_without_them() -> None:
    with torch.no_grad():
        assert fit(Net()).global_step == 2
        assert not torch.is_grad_enabled()


def test_the_strategy_is_told_too() -> None:
    class Tells(SingleDeviceStrategy):
        def on_exception(self, exception: BaseException) -> None:
            calls.append(f"strategy {exception!r}")

    module = Module()
    module.failing = "training_step"
    with pytest.raises(ValueError, match="boo"):
        trainer(strategy=Tells("cpu")).fit(module, datamodule=Data())
    assert "strategy ValueError('boo')" in calls


def test_the_sanity_check_reaches_no_logger() -> None:
    lines: list[Any] = []

    class Lines(Keeps):
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            lines.append(metrics)

    class Logs(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("a", 1.0, on_step=True)

    trainer_ = Trainer(**{**QUIET, "logger": Lines(), "max_steps": 0})
    trainer_.fit(Logs(), data(1), data(2))
    assert lines == []
    assert trainer_.callback_metrics == {}
