from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint, StochasticWeightAveraging
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue

from .averaged import Net, data, fit


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(torch.allclose(one, other, atol=1e-6))


def begins(model: Net, first: torch.Tensor | None = None, batches: int = 3) -> list[torch.Tensor]:
    """The weights with which each epoch began."""
    return [model.start if first is None else first, *model.steps[batches - 1 :: batches]]


def mean(weights: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(weights).mean(0)


@pytest.mark.parametrize("start", [2, 0.5])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_mean_over_the_last_epochs(start: float, accumulate: int) -> None:
    callback = StochasticWeightAveraging(0.05, start, annealing_epochs=1)
    trainer, model = fit(callback, max_epochs=4, accumulate_grad_batches=accumulate)
    starts = begins(model)
    assert (callback.swa_start, callback.swa_end) == (1, 3)
    for epoch, seen in enumerate(model.seen["validate"]):
        assert close(seen, mean(starts[1 : epoch + 1]) if epoch else starts[1])
    assert close(model.now(), mean(starts[1:4]))
    assert [rates[0] for rates in model.rates[::3]] == pytest.approx([0.1, 0.1, 0.05, 0.05])
    trainer.test(model, data(4), verbose=False)
    assert torch.equal(model.seen["test"][0], model.now())


@pytest.mark.parametrize("manual", [False, True])
def test_batch_norm_gets_statistics_of_the_average(tmp_path: Path, manual: bool) -> None:
    """They are those of one pass over the data with the averaged weights, and the last file holds them."""
    model: Net = ByHand(norm=True) if manual else Net(norm=True)
    saving = ModelCheckpoint(tmp_path, save_top_k=-1)
    callback = StochasticWeightAveraging([0.05], 1)
    trainer, _ = fit(callback, model, max_epochs=3, more=[saving], enable_checkpointing=True)
    average = mean(begins(model)[:3])
    assert close(model.now(), average)
    by_hand = Net(norm=True)
    by_hand.load_state_dict(model.state_dict())
    torch.optim.swa_utils.update_bn([batch[0] for batch in data()], by_hand.backbone)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert close(getattr(model.backbone[1], name), getattr(by_hand.backbone[1], name)), name
    assert model.backbone[1].momentum == 0.1 and trainer.max_epochs == 3
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) == 4
    again = Net.load_from_checkpoint(files[-1], norm=True)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("every", "validated"), [(2, 3), (3, 2), (9, 1)])
def test_the_final_model_is_validated(every: int, validated: int, tmp_path: Path) -> None:
    """Also where its epoch is none of those that are, in a run that goes on there, too."""
    saving = ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=-1)
    flags: dict[str, Any] = {"max_epochs": 4, "check_val_every_n_epoch": every, "enable_checkpointing": True}
    trainer, model = fit(StochasticWeightAveraging(0.05, 1), Net(norm=True), more=[saving], **flags)
    assert len(model.seen["validate"]) == validated and trainer.check_val_every_n_epoch == every
    assert torch.equal(model.seen["validate"][-1], model.now())
    (value,) = trainer.validate(model, data(4), verbose=False)
    assert value["val_loss"] == pytest.approx(float(saving.current_score or 0))


class ByHand(Net):
    def __init__(self, norm: bool) -> None:
        super().__init__(norm)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        optimizer.step()


def test_an_end_before_its_time() -> None:
    """The model has the average of what there was."""
    _, model = fit(StochasticWeightAveraging(0.05, 1), max_epochs=9, max_steps=8)
    assert close(model.now(), mean(begins(model)[:3]))
    model = Net(norm=True)
    stopping = EarlyStopping("val_loss", patience=1, mode="max")
    trainer, _ = fit(StochasticWeightAveraging(0.05, 1), model, max_epochs=9, more=[stopping])
    assert trainer.current_epoch < 9 and trainer.max_epochs == 9
    assert close(model.now(), mean(begins(model)[: trainer.current_epoch]))


def test_averaging_that_never_begins() -> None:
    _, model = fit(StochasticWeightAveraging(0.05, 9), Net(norm=True), max_epochs=2)
    assert torch.equal(model.now(), model.steps[-1]) and len(model.steps) == 6


def test_a_run_without_end() -> None:
    _, model = fit(StochasticWeightAveraging(0.05, 2, device=None), max_epochs=-1, max_steps=10)
    assert close(model.now(), mean(begins(model)[1:4]))


def test_fit_twice_and_a_function_of_ones_own() -> None:
    callback = StochasticWeightAveraging(0.05, 0.5, avg_fn=lambda average, weight, count: (average + weight) / 2)
    trainer, model = fit(callback, max_epochs=3)
    starts = begins(model)
    assert close(model.now(), (((starts[0] + starts[1]) / 2) + starts[2]) / 2)
    trainer.fit_loop.max_epochs = 8
    between = model.now()
    model.steps.clear()
    trainer.fit(model, data(), data(4))
    starts = begins(model, between)  # epochs 3 to 7, of which those from 3 on count
    average = starts[0]
    for weights in starts[1:5]:
        average = (average + weights) / 2
    assert callback.swa_start == 3 and close(model.now(), average)


@pytest.mark.parametrize("failing", [2, 4])
def test_after_an_exception_all_is_as_before(failing: int) -> None:
    class Failing(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == failing and batch_idx == 1:
                raise KeyError("wanted")

    model = Net(norm=True)
    with pytest.raises(KeyError):
        fit(StochasticWeightAveraging(0.05, 2), model, max_epochs=4, more=[Failing()])
    assert model.backbone[1].momentum == 0.1
    assert model.trainer.max_epochs == 4 and not model.trainer.fit_loop.forward_only


def test_a_checkpoint_of_lightning_keeps_its_average_elsewhere() -> None:
    callback = StochasticWeightAveraging(0.05, 1)
    model = Net()
    callback._make_average(model)
    other = Net()
    state = {"n_averaged": 2, "latest_update_epoch": 1, "scheduler_state": None}
    callback.load_state_dict({**state, "average_model_state": other.state_dict()})
    assert callback._average is not None
    assert torch.equal(torch.cat([p.flatten() for p in callback._average.parameters()]).double(), other.now())
    assert callback.state_dict()["n_averaged"] == 2


def test_what_others_use() -> None:
    kind = StochasticWeightAveraging
    model, other, norm = Net(), Net(), Net(norm=True)
    assert kind.pl_module_contains_batch_norm(norm) and not kind.pl_module_contains_batch_norm(model)
    count = torch.tensor(0)
    sums = torch.zeros_like(model.now())
    average = Net()
    for number in range(1, 4):
        other = Net()
        sums += other.now()
        kind.update_parameters(average, other, count, kind.avg_fn)
        assert count == number and close(average.now(), sums / number)
    kind.transfer_weights(average, model)
    assert torch.equal(model.now(), average.now())
    callback = kind(0.1)
    norm.backbone[1].running_mean += 1
    callback.reset_batch_norm_and_save_state(norm)
    assert norm.backbone[1].momentum is None and not norm.backbone[1].running_mean.any()
    callback.reset_momenta()
    assert norm.backbone[1].momentum == 0.1
    callback.on_train_epoch_end(None)  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match="in a hook, or after `fit`"):
        print(callback.swa_start)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"swa_lrs": -0.1}, "Pass `swa_lrs=0.01`"),
        ({"swa_lrs": []}, "Pass `swa_lrs=0.01`"),
        ({"swa_lrs": [0.1, "a"]}, "or a list of such floats"),
        ({"swa_epoch_start": 0}, "Pass an int from 1 up, or a float from 0 to 1"),
        ({"swa_epoch_start": 1.5}, "Pass an int from 1 up, or a float from 0 to 1"),
        ({"annealing_epochs": -1}, "Pass `annealing_epochs=10`"),
        ({"annealing_strategy": "log"}, 'Pass `annealing_strategy="cos"` or `"linear"`'),
        ({"avg_fn": 3}, "None for the mean"),
        ({"device": 3}, "None for the device of the model"),
        ({"device": "foo"}, "None for the device of the model"),
    ],
)
def test_bad_arguments(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        StochasticWeightAveraging(**{"swa_lrs": 0.1, **options})


def test_runs_that_it_cannot_average() -> None:
    class Two(ByHand):
        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(part.parameters(), 0.1) for part in (self.backbone, self.head)]

    with pytest.raises(MisconfigurationException, match="Return one optimizer, or average with `WeightAveraging`"):
        fit(StochasticWeightAveraging(0.1), Two(norm=False))
    with pytest.raises(MisconfigurationException, match=r"Pass `Trainer\(max_epochs=...\)`"):
        fit(StochasticWeightAveraging(0.1), max_epochs=-1, max_steps=3)
    with pytest.raises(MisconfiguredValue, match="Pass as many, or one float for all groups"):
        fit(StochasticWeightAveraging([0.1, 0.2], 1))


def test_a_way_of_ones_own_to_take_weights_in() -> None:
    """It is called with what the mean is called with, statistics follow it, and what it leaves is the average."""

    class Newest(StochasticWeightAveraging):
        counts: list[int] = []  # of the class, as the method is

        @staticmethod
        def update_parameters(average_model: Any, model: Any, n_averaged: torch.Tensor, avg_fn: Any) -> None:
            Newest.counts.append(int(n_averaged))
            StochasticWeightAveraging.update_parameters(
                average_model, model, n_averaged, lambda average, weight, number: weight
            )

    trainer, model = fit(Newest(0.05, 2, annealing_epochs=1), max_epochs=4)
    assert Newest.counts == [0, 1, 2]
    assert close(model.now(), begins(model)[3])
    assert trainer.max_epochs == 4
