from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runs import QUIET, Net, data, fit
from torch import Tensor, nn

from fulmen.callbacks.progress.tqdm_progress import TQDMProgressBar
from fulmen.loops.evaluate import EvaluationLoop
from fulmen.loops.fit import FitLoop
from fulmen.loops.predict import PredictionLoop
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.states import TrainerFn


class All(Net):
    """Has a step for everything."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("value", 1.0 + batch_idx)

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch_idx


def test_every_flag_is_documented() -> None:
    text = inspect.getdoc(Trainer.__init__) or ""
    for name in inspect.signature(Trainer).parameters:
        assert f"{name}: " in text, name


def test_loops_and_callbacks_are_made_when_they_are_used() -> None:
    trainer = Trainer(accelerator="cpu", logger=False)
    assert not {"fit_loop", "validate_loop", "test_loop", "predict_loop"} & set(vars(trainer))
    assert trainer._callbacks is None
    assert isinstance(trainer.fit_loop, FitLoop) and isinstance(trainer.predict_loop, PredictionLoop)
    assert isinstance(trainer.validate_loop, EvaluationLoop) and isinstance(trainer.test_loop, EvaluationLoop)
    assert [trainer.loop_of(fn) for fn in TrainerFn] == [
        trainer.fit_loop, trainer.validate_loop, trainer.test_loop, trainer.predict_loop,
    ]  # fmt: skip
    assert trainer.callbacks is trainer.callbacks


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ({"max_epochs": 3, "min_epochs": 2, "max_steps": 9, "min_steps": 4},
         {"max_epochs": 3, "min_epochs": 2, "max_steps": 9, "min_steps": 4}),
        ({"limit_train_batches": 0.5, "limit_val_batches": 3}, {"limit_train_batches": 0.5, "limit_val_batches": 3}),
        ({"limit_test_batches": 0, "limit_predict_batches": 1}, {"limit_test_batches": 0, "limit_predict_batches": 1}),
        ({"overfit_batches": 2}, {"overfit_batches": 2, "limit_train_batches": 2, "limit_val_batches": 2}),
        ({"accumulate_grad_batches": 4, "exact_accumulation": False},
         {"accumulate_grad_batches": 4, "exact_accumulation": False}),
        ({"gradient_clip_val": 1, "gradient_clip_algorithm": "value"},
         {"gradient_clip_val": 1, "gradient_clip_algorithm": "value"}),
        ({"val_check_interval": 0.25, "check_val_every_n_epoch": 2},
         {"val_check_interval": 0.25, "check_val_every_n_epoch": 2}),
        ({"num_sanity_val_steps": -1}, {"num_sanity_val_steps": math.inf}),
        ({"log_every_n_steps": 7}, {"log_every_n_steps": 7}),
        ({"reload_dataloaders_every_n_epochs": 3}, {"reload_dataloaders_every_n_epochs": 3}),
        ({"inference_mode": False, "detect_anomaly": True}, {"inference_mode": False, "detect_anomaly": True}),
        ({"enable_autolog_hparams": False, "fast_data": False}, {"enable_autolog_hparams": False, "fast_data": False}),
        ({"use_distributed_sampler": False}, {"use_distributed_sampler": False}),
        ({"precision": "bf16-mixed"}, {"precision": "bf16-mixed"}),
        ({"fast_dev_run": 3}, {"fast_dev_run": 3, "max_epochs": 1, "max_steps": 3, "limit_val_batches": 3}),
        ({"default_root_dir": Path("here")}, {"default_root_dir": "here"}),
    ],
)  # fmt: skip
def test_flags_are_shown_under_their_names(flags: dict[str, Any], shown: dict[str, Any]) -> None:
    trainer = Trainer(**{**QUIET, "max_epochs": None, **flags})
    assert {name: getattr(trainer, name) for name in shown} == shown


def test_barebones_has_nothing() -> None:
    trainer = Trainer(barebones=True, accelerator="cpu")
    assert (trainer.barebones, trainer.loggers, trainer.callbacks) == (True, [], [])
    assert (trainer.log_every_n_steps, trainer.num_sanity_val_steps) == (0, 0)


def test_limits_can_be_changed_between_runs() -> None:
    module = Net()
    trainer = fit(module, data(4))
    trainer.limit_train_batches = 2
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, data(4))
    assert trainer.global_step == 6


def test_the_four_methods() -> None:
    module = All()
    trainer = Trainer(**QUIET)
    assert trainer.fit(module, data(2), data(1)) is None  # type: ignore[func-returns-value]
    assert trainer.validate(module, data(2), verbose=False) == [{"value": 1.5}]
    assert trainer.test(module, data(1), verbose=False) == [{"value": 1.0}]
    assert trainer.predict(module, data(3)) == [0, 1, 2]
    assert (trainer.global_step, trainer.current_epoch) == (2, 1)


@pytest.mark.parametrize("method", ["validate", "test"])
@pytest.mark.parametrize("verbose", [True, False])
def test_results_are_printed_unless_that_is_not_wanted(
    method: str, verbose: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    results = getattr(Trainer(**QUIET), method)(All(), data(1), verbose=verbose)
    assert results == [{"value": 1.0}]
    assert (f"{method.capitalize()} metric" in capsys.readouterr().out) == verbose


def test_without_a_model_the_last_one_is_used() -> None:
    trainer = fit(All(), data(1), data(1))
    assert trainer.validate(dataloaders=data(1), verbose=False) == [{"value": 1.0}]
    for method in ("validate", "test", "predict"):
        with pytest.raises(TypeError, match=rf"trainer\.{method}\(model"):
            getattr(Trainer(**QUIET), method)()


def test_saving_and_printing(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = fit(Net())
    trainer.save_checkpoint("some/folder/run.ckpt")
    trainer.save_checkpoint("weights.ckpt", weights_only=True)
    assert "optimizer_states" in torch.load("some/folder/run.ckpt", weights_only=True)
    assert "optimizer_states" not in torch.load("weights.ckpt", weights_only=True)
    trainer.print("a", "b", sep="-")
    assert capsys.readouterr().out == "a-b\n"
    with pytest.raises(MisconfigurationException, match=r"Call `trainer\.fit"):
        Trainer(**QUIET).save_checkpoint("x.ckpt")
    with pytest.raises(TypeError, match="CheckpointIO"):
        trainer.save_checkpoint("x.ckpt", storage_options={"a": 1})


def test_printing_goes_through_the_bar() -> None:
    printed: list[Any] = []

    class Bar(TQDMProgressBar):
        def print(self, *args: Any, **kwargs: Any) -> None:
            printed.append(args)

    class Prints(Net):
        def on_train_start(self) -> None:
            self.trainer.print("inside")

    bar = Bar(refresh_rate=0)
    fit(Prints(), enable_progress_bar=True, callbacks=[bar])
    assert printed == [("inside",)]


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("64-true", torch.float64)])
def test_layers_are_made_as_the_run_needs_them(precision: str, dtype: torch.dtype) -> None:
    with Trainer(**QUIET, precision=precision).init_module():
        layer = nn.Linear(2, 1)
    assert (layer.weight.dtype, layer.weight.device.type) == (dtype, "cpu")


def test_weights_can_be_left_without_values() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with Trainer(**QUIET).init_module(empty_init=True):
        nn.Linear(20, 10)
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(-1, 8))
def test_the_estimate_is_what_will_be_done(batches: int, window: int, epochs: int, steps: int) -> None:
    found: list[float] = []

    class Plans(Net):
        def configure_optimizers(self) -> Any:
            found.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

    flags = {"max_epochs": epochs, "max_steps": steps, "accumulate_grad_batches": window}
    assert fit(Plans(), data(batches), **flags).global_step == found[0]


@pytest.mark.parametrize(
    ("flags", "estimate"),
    [
        ({"max_epochs": -1}, math.inf),
        ({"max_epochs": -1, "max_steps": 7}, 7),
        ({"max_epochs": 2, "max_steps": 3}, 3),
        ({"max_epochs": 5, "limit_train_batches": 2}, 10),
    ],
)
def test_estimates(flags: dict[str, Any], estimate: float) -> None:
    trainer = Trainer(**{**QUIET, **flags})
    trainer.fit_loop.data.attach(data(4), Net(), None)
    assert trainer.estimated_stepping_batches == estimate


def test_nobody_knows_how_long_a_stream_is() -> None:
    class Stream(torch.utils.data.IterableDataset[Tensor]):
        def __iter__(self) -> Any:
            return iter(torch.ones(4, 2))

    loader = torch.utils.data.DataLoader(Stream(), batch_size=2)
    for flags, estimate in (({"max_epochs": 2}, math.inf), ({"max_epochs": 2, "max_steps": 5}, 5)):
        trainer = Trainer(**{**QUIET, **flags})
        trainer.fit_loop.data.attach(loader, Net(), None)
        assert trainer.estimated_stepping_batches == estimate


def test_a_registry_of_models_is_none_of_ours() -> None:
    with pytest.raises(MisconfigurationException, match="best_model_path"):
        Trainer(**QUIET, model_registry="models")
