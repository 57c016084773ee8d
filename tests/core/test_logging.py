from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runs import Net, data, fit
from torch import Tensor

from fulmen.core.logging import LogOptions
from fulmen.utilities.exceptions import MisconfigurationException


class Logs(Net):
    """Logs a value a step, with given options."""

    def __init__(self, values: list[Any], **options: Any) -> None:
        super().__init__()
        self.values, self.options = values, options

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        self.log("a", self.values[batch_idx], **self.options)
        return super().training_step(batch, batch_idx)


def metrics(values: list[Any], **options: Any) -> dict[str, Any]:
    return dict(fit(Logs(values, **options), data(len(values))).callback_metrics)


REDUCTIONS = {
    "mean": lambda pairs: sum(v * w for v, w in pairs) / sum(w for _, w in pairs),
    "sum": lambda pairs: sum(v for v, _ in pairs),
    "max": lambda pairs: max(v for v, _ in pairs),
    "min": lambda pairs: min(v for v, _ in pairs),
}


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(-8, 8).map(float), st.integers(1, 5)), min_size=1, max_size=4),
    st.sampled_from(list(REDUCTIONS)),
    st.booleans(),
)
def test_the_value_of_the_epoch(pairs: list[tuple[float, int]], how: str, as_tensors: bool) -> None:
    class Weighs(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
            value, size = pairs[batch_idx]
            self.log("a", torch.tensor(value) if as_tensors else value, on_step=False, on_epoch=True,
                     reduce_fx=how, batch_size=size)  # fmt: skip
            return super().training_step(batch, batch_idx)

    found = fit(Weighs(), data(len(pairs))).callback_metrics
    assert found["a"].item() == pytest.approx(REDUCTIONS[how](pairs), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, {"a"}),
        ({"on_step": False, "on_epoch": True}, {"a"}),
        ({"on_epoch": True}, {"a", "a_step", "a_epoch"}),
    ],
)
def test_keys(options: dict[str, Any], keys: set[str]) -> None:
    assert set(metrics([1.0, 2.0], **options)) == keys


def test_where_a_value_goes() -> None:
    trainer = fit(Logs([1.0, 2.0], prog_bar=True, logger=False))
    assert trainer.progress_bar_metrics == {"a": 2.0}
    assert trainer.logged_metrics == {}
    assert trainer.callback_metrics == {"a": torch.tensor(2.0)}


@pytest.mark.parametrize(
    "value", [3, True, 2.5, torch.tensor(3), torch.tensor([[1.5]]), torch.ones(1, dtype=torch.half)]
)
def test_kinds_of_values(value: Any) -> None:
    found = metrics([value])["a"]
    assert found.shape == ()
    assert found.dtype == torch.float32
    assert found.item() == float(value)


def test_numpys_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    for value in (numpy.float64(1.5), numpy.float32(1.5), numpy.int64(2), numpy.array([2.5])):
        found = metrics([value], on_epoch=True)
        assert [found[key].item() for key in ("a", "a_step", "a_epoch")] == [float(value.item())] * 3
        assert found["a"].shape == ()


def test_double_precision_stays() -> None:
    assert metrics([torch.tensor(1 / 3, dtype=torch.float64)])["a"].item() == 1 / 3


def test_log_dict_logs_each_with_the_same_options() -> None:
    class Several(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
            self.log_dict({"a": 1.0, "b": torch.tensor(2.0)}, prog_bar=True)
            return super().training_step(batch, batch_idx)

    assert fit(Several()).progress_bar_metrics == {"a": 1.0, "b": 2.0}


def test_log_dict_takes_collections_of_metrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")

    class Collects(Net):
        def __init__(self) -> None:
            super().__init__()
            self.all = torchmetrics.MetricCollection([torchmetrics.MeanMetric(), torchmetrics.SumMetric()])

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
            self.all.update(float(batch_idx))
            self.log_dict(self.all, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

    found = fit(Collects(), data(3), max_epochs=2).callback_metrics
    assert {key: value.item() for key, value in found.items()} == {"MeanMetric": 1.0, "SumMetric": 3.0}


def test_options_must_stay_the_same() -> None:
    class Wavers(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
            self.log("a", 1.0, prog_bar=batch_idx == 1)
            return super().training_step(batch, batch_idx)

    with pytest.raises(MisconfigurationException, match="prog_bar=False, then prog_bar=True"):
        fit(Wavers())


def test_one_key_in_two_hooks() -> None:
    class Twice(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
            self.log("a", 1.0)
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self) -> None:
            self.log("a", 5.0, prog_bar=True)

    assert fit(Twice()).callback_metrics["a"] == 5.0


def test_a_module_that_nobody_runs() -> None:
    with pytest.warns(UserWarning, match="goes nowhere"):
        Net().log("a", 1.0)


def test_after_the_run_nothing_can_be_logged() -> None:
    net = Net()
    fit(net)
    with pytest.raises(MisconfigurationException, match="only while batches are trained"):
        net.log("a", 1.0)


def test_options_are_in_the_order_of_the_arguments() -> None:
    import inspect

    names = [name for name in inspect.signature(Net.log).parameters if name not in ("self", "name", "value")]
    assert [name for name in names if name != "batch_size"] == list(LogOptions._fields)
