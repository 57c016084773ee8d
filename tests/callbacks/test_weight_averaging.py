from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

import fulmen as pl
from fulmen.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging, WeightAveraging
from fulmen.callbacks.averaging import skeleton
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType, MisconfiguredValue

from .averaged import Net, data, fit


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(torch.allclose(one, other, atol=1e-6))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_mean_of_all_steps_is_validated_tested_and_left_in_the_model(accumulate: int) -> None:
    trainer, model = fit(WeightAveraging(), accumulate_grad_batches=accumulate)
    made = model.steps if accumulate == 1 else [model.steps[i] for i in (1, 2, 4, 5)]
    half = len(made) // 2
    for seen, steps in zip(model.seen["validate"], (made[:half], made), strict=True):
        assert close(seen, torch.stack(steps).mean(0))
    assert close(model.now(), torch.stack(made).mean(0))
    trainer.test(model, data(4), verbose=False)
    assert torch.equal(model.seen["test"][0], model.now())


@given(st.floats(0, 1), st.integers(0, 3), st.none() | st.integers(0, 4), st.none() | st.integers(0, 2), st.booleans())
@settings(max_examples=5)
def test_ema(decay: float, every: int, first: int | None, epoch: int | None, multi: bool) -> None:
    options: dict[str, Any] = {"update_every_n_steps": every, "update_starting_at_step": first}
    callback = EMAWeightAveraging(decay=decay, update_starting_at_epoch=epoch, **options)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        _, model = fit(callback)
    average, begun = model.start, False
    for index, weights in enumerate(model.steps):
        asked = [every > 0 and index % every == 0 and index >= (first or 0)]
        asked += [epoch is not None and index // 3 >= epoch] * (index % 3 == 2)
        for update in asked:
            if update:
                average = decay * average + (1 - decay) * weights if begun else weights
                begun = True
    assert close(model.now(), average if begun else model.steps[-1])
    assert begun != any("never began" in str(warning.message) for warning in said)


@pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*")
@pytest.mark.parametrize("begins", [None, 4])
def test_an_average_that_has_not_begun(begins: int | None, tmp_path: Path) -> None:
    """Until then the weights that are trained are validated and saved; and at the end they stay."""
    saving = ModelCheckpoint(tmp_path, save_top_k=-1)

    def make() -> Any:
        return EMAWeightAveraging(decay=0.5, update_starting_at_step=9 if begins is None else begins)

    expected = pytest.warns(UserWarning, match="never began.*See when `should_update` says yes")
    with expected if begins is None else contextlib.nullcontext():
        _, model = fit(make(), more=[saving], enable_checkpointing=True)
    first, second = sorted(tmp_path.glob("*.ckpt"))
    assert torch.equal(model.seen["validate"][0], model.steps[2])
    assert torch.equal(Net.load_from_checkpoint(first).now(), model.steps[2])
    end = model.steps[-1] if begins is None else (model.steps[4] + model.steps[5]) / 2
    for weights in (model.now(), model.seen["validate"][1], Net.load_from_checkpoint(second).now()):
        assert close(weights, end)
    assert "current_model_state" not in torch.load(first)
    with expected if begins is None else contextlib.nullcontext():
        _, again = fit(make(), ckpt_path=first)
    assert torch.equal(again.now(), model.now())


def test_a_function_of_ones_own_a_device_and_buffers() -> None:
    _, model = fit(WeightAveraging("cpu", multi_avg_fn=get_ema_multi_avg_fn(0.5)), Net(norm=True))
    average = model.steps[0]
    for weights in model.steps[1:]:
        average = (average + weights) / 2
    assert close(model.now(), average)

    left = WeightAveraging(use_buffers=False)
    statistics: list[torch.Tensor] = []

    class Noting(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            statistics.append(pl_module.backbone[1].running_mean.clone())

    _, model = fit(left, Net(norm=True), more=[Noting()])
    assert torch.equal(model.backbone[1].running_mean, statistics[-1])
    _, model = fit(WeightAveraging(), Net(norm=True), more=[Noting()])
    assert close(model.backbone[1].running_mean, torch.stack(statistics[6:]).mean(0))


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed"])
def test_the_average_has_the_digits_that_it_needs(precision: Any, tmp_path: Path) -> None:
    callback = EMAWeightAveraging(decay=0.999)
    trainer, model = fit(callback, precision=precision, max_epochs=4)
    average = model.steps[0]
    for weights in model.steps[1:]:
        average = 0.999 * average + 0.001 * weights
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    state = torch.load(tmp_path / "a.ckpt")["state_dict"]
    saved = torch.cat([state[name].flatten().double() for name, _ in model.named_parameters()])
    tolerance = {"64-true": 1e-12, "bf16-mixed": 1e-6, "bf16-true": 5e-5}[precision]
    assert torch.allclose(saved, average, rtol=0, atol=tolerance)


@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parametrize("make", [WeightAveraging, lambda: StochasticWeightAveraging(0.05, 1)], ids=["all", "swa"])
def test_files_load_without_a_trainer(make: Any, weights_only: bool, tmp_path: Path) -> None:
    """The file that is called best holds the weights that were best, and every program reads them."""
    saving = ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=-1, save_weights_only=weights_only)
    trainer, model = fit(make(), more=[saving], enable_checkpointing=True)
    files = sorted(tmp_path.glob("*.ckpt"))
    for file, seen in zip(files, model.seen["validate"], strict=True):
        assert torch.equal(Net.load_from_checkpoint(file).now(), seen)
        plain = torch.load(file, weights_only=True)["state_dict"]
        Net().load_state_dict(plain)
    trainer.test(model, data(4), ckpt_path=str(files[0]), verbose=False)
    assert torch.equal(model.seen["test"][0], model.seen["validate"][0])


def test_a_checkpoint_without_an_average(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer, _ = fit(pl.Callback())
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    with caplog.at_level("INFO", logger="fulmen"):
        _, model = fit(WeightAveraging(), ckpt_path=tmp_path / "plain.ckpt", max_epochs=3)
    assert any("averaging begins with the weights in it" in message for message in caplog.messages)
    assert close(model.now(), torch.stack(model.steps).mean(0))


def test_a_validation_that_fails_leaves_the_weights_that_are_trained(tmp_path: Path) -> None:
    class Failing(pl.Callback):
        def on_validation_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.current_epoch == 1:
                raise KeyError("wanted")

    saving = ModelCheckpoint(tmp_path, save_on_exception=True, every_n_train_steps=100)
    model = Net()
    with pytest.raises(KeyError):
        fit(WeightAveraging(), model, more=[Failing(), saving], enable_checkpointing=True)
    assert torch.equal(model.now(), model.steps[-1])
    (file,) = tmp_path.glob("*.ckpt")
    assert close(Net.load_from_checkpoint(file).now(), torch.stack(model.steps).mean(0))


def test_fit_twice() -> None:
    """The second run averages what it does itself, with a Trainer of its own, too."""
    callback = WeightAveraging()
    trainer, model = fit(callback)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, data(), data(4))
    assert close(model.now(), torch.stack(model.steps[6:]).mean(0))
    _, model = fit(callback, max_epochs=1)
    assert close(model.now(), torch.stack(model.steps).mean(0))


def test_a_skeleton_has_the_same_tensors_under_the_same_names() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(2, 3), nn.ModuleDict({"a": nn.PReLU()}))
    model[2].weight = model[0].weight  # tied
    model.append(model[1])  # twice the same layer
    model.register_buffer("hidden", torch.ones(1), persistent=False)
    model.register_parameter("none", None)
    bare = skeleton(model)
    assert [id(p) for p in bare.parameters()] == [id(p) for p in model.parameters()]
    assert [(n, id(b)) for n, b in bare.named_buffers()] == [(n, id(b)) for n, b in model.named_buffers()]
    assert list(bare.state_dict()) == list(model.state_dict())


def test_tied_weights_are_averaged_under_both_names(tmp_path: Path) -> None:
    class Tied(Net):
        def __init__(self) -> None:
            super().__init__()
            self.twin = nn.Linear(5, 1)
            self.twin.weight = self.head.weight

        def loss(self, batch: Any) -> torch.Tensor:
            return super().loss(batch) + self.twin(self.backbone(batch[0])).mean()

    trainer, model = fit(WeightAveraging(), Tied())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    state = torch.load(tmp_path / "a.ckpt")["state_dict"]
    assert torch.equal(state["twin.weight"], model.head.weight) and torch.equal(state["head.weight"], model.head.weight)


@pytest.mark.parametrize("options", [{"decay": 0.9}, {"avg_fn": max, "multi_avg_fn": max}])
def test_unknown_arguments(options: dict[str, Any]) -> None:
    with pytest.raises(MisconfiguredType, match="Pass one of `avg_fn` and `multi_avg_fn`"):
        WeightAveraging(**options)


@pytest.mark.parametrize(
    ("options", "kind", "remedy"),
    [
        ({"decay": 1.5}, MisconfiguredValue, r"Pass `decay=0.999`"),
        ({"decay": "0.9"}, MisconfiguredType, r"Pass `decay=0.999`"),
        ({"avg_fn": max}, MisconfiguredType, r"pass it to `WeightAveraging`: `WeightAveraging\(avg_fn=...\)`"),
        ({"device": "foo"}, MisconfigurationException, "or None for the device of the model"),
        ({"device": 1.5}, MisconfigurationException, "or None for the device of the model"),
        ({"update_every_n_steps": -1}, MisconfiguredValue, "Pass `update_every_n_steps=1`"),
        ({"update_every_n_steps": "2"}, MisconfiguredValue, "Pass `update_every_n_steps=1`"),
        ({"update_starting_at_step": 0.5}, MisconfiguredType, "Pass `update_starting_at_step=100`, or None"),
    ],
)
def test_bad_arguments(options: dict[str, Any], kind: type[Exception], remedy: str) -> None:
    with pytest.raises(kind, match=remedy):
        EMAWeightAveraging(**options)
    with pytest.raises(MisconfigurationException, match="None for the device of the model"):
        WeightAveraging("foo")


def test_one_average_only() -> None:
    with pytest.raises(MisconfigurationException, match="Leave one of them in"):
        fit(WeightAveraging(), more=[StochasticWeightAveraging(0.1)])


def test_it_listens_to_what_it_needs() -> None:
    class Own(EMAWeightAveraging):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None: ...

    class Asking(WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            return epoch_idx is not None

    for callback, heard in (
        (WeightAveraging(), False),
        (EMAWeightAveraging(), False),
        (EMAWeightAveraging(update_starting_at_epoch=1), True),
        (Own(), True),
        (Asking(), True),
    ):
        trainer, _ = fit(callback, max_epochs=1)
        assert bool(trainer.hooks.listeners["on_train_epoch_end"]) == heard
