from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runs import Manual, Net, data, fit


class Watches(Net):
    """Notes outputs, the last batch and validations as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.log_: list[Any] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        self.log_.append(("start", batch_idx, self.trainer.is_last_batch))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log_.append(("end", batch_idx, self.trainer.is_last_batch))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.log_.append("validation")


@settings(max_examples=10)
@given(st.integers(1, 4))
def test_the_last_batch_is_known(batches: int) -> None:
    module = Watches()
    fit(module, data(batches), data(1), max_epochs=2, limit_val_batches=0)
    expected = [(event, i, i == batches - 1) for _ in range(2) for i in range(batches) for event in ("start", "end")]
    assert module.log_ == expected


def test_validation_comes_between_batches() -> None:
    module = Watches()
    fit(module, data(3), data(1), val_check_interval=2)
    assert [entry if isinstance(entry, str) else entry[:2] for entry in module.log_] == [
        ("start", 0), ("end", 0), ("start", 1), ("end", 1), "validation", ("start", 2), ("end", 2),
    ]  # fmt: skip


def test_the_rest_of_an_epoch_can_be_skipped() -> None:
    class Skips(Watches):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            super().on_train_batch_start(batch, batch_idx)
            return -1 if batch_idx == 1 else None

    module = Skips()
    trainer = fit(module, data(4), data(1), max_epochs=2)
    assert module.log_ == [("start", 0, False), ("end", 0, False), ("start", 1, False)] * 2
    assert (trainer.global_step, trainer.current_epoch, trainer.is_last_batch) == (2, 2, True)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda loss: loss, {"loss": 3.0}),
        (lambda loss: {"loss": loss, "extra": loss * 2, "note": "text"}, {"loss": 3.0, "extra": 6.0, "note": "text"}),
        (lambda loss: None, {}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*returned None.*")
def test_outputs_are_what_the_step_returned_without_its_graph(make: Any, expected: dict[str, Any]) -> None:
    outputs: list[Any] = []

    class Returns(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return make(self(batch[0]).mean() * 0 + 3)

        def on_train_batch_end(self, output: Any, batch: Any, batch_idx: int) -> None:
            assert not any(isinstance(value, torch.Tensor) and value.requires_grad for value in output.values())
            outputs.append(
                {key: value.item() if isinstance(value, torch.Tensor) else value for key, value in output.items()}
            )

    trainer = fit(Returns(), data(1))
    assert outputs == [expected]
    assert trainer.global_step == 1


@pytest.mark.parametrize("returned", [None, 3.0, {"a": 4.0}])
def test_outputs_under_manual_optimization(returned: Any) -> None:
    outputs: list[Any] = []

    class Returns(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            weight = self.layer.weight.sum() * 0
            if isinstance(returned, dict):
                return {"a": weight + 4}
            return None if returned is None else weight + 3

        def on_train_batch_end(self, output: Any, batch: Any, batch_idx: int) -> None:
            outputs.append({key: value.item() for key, value in output.items()})

    fit(Returns(), data(1))
    assert outputs == [{"loss": 3.0} if returned == 3.0 else returned or {}]


def test_a_step_that_returns_nothing_is_said_once() -> None:
    class Silent(Net):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.before = self.layer.weight.clone()

    with pytest.warns(UserWarning, match="so the batch was skipped") as caught:
        trainer = fit(Silent(), data(3))
    assert len(caught) == 1
    assert trainer.global_step == 3
    assert torch.equal(trainer.lightning_module.before, trainer.lightning_module.layer.weight)


def test_stopping_in_validation_ends_the_epoch() -> None:
    class StopsInside(Watches):
        def on_validation_end(self) -> None:
            if self.global_step == 2:
                self.trainer.should_stop = True

    module = StopsInside()
    assert fit(module, data(6), data(1), val_check_interval=2, max_epochs=3).global_step == 2
    assert module.log_.count("validation") == 1
