from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runs import QUIET, Net, data
from torch import Tensor
from torch.utils.data import DataLoader

from fulmen.callbacks.callback import Callback
from fulmen.trainer.trainer import Trainer


class Predicts(Net):
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        assert not (self.training or torch.is_grad_enabled())
        return dataloader_idx, batch_idx


def predict(module: Net, loaders: Any, return_predictions: bool | None = None, **flags: Any) -> Any:
    return Trainer(**{**QUIET, **flags}).predict(module, loaders, return_predictions=return_predictions)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_a_list_for_one_loader_and_lists_for_several(lengths: list[int]) -> None:
    found = predict(Predicts(), [data(length) for length in lengths])
    lists = [[(i, b) for b in range(length)] for i, length in enumerate(lengths)]
    assert found == (lists[0] if len(lists) == 1 else lists)


def test_by_default_the_model_is_called() -> None:
    net = Net()

    class OnInputs(Net):
        def forward(self, x: Any) -> Tensor:
            return net(x[0] if isinstance(x, list) else x)

    (found,) = predict(OnInputs(), data(1))
    assert torch.equal(found, net(torch.ones(2, 2)))


@pytest.mark.parametrize(("wanted", "kept"), [(None, True), (True, True), (False, False)])
def test_predictions_are_kept_unless_that_is_not_wanted(wanted: bool | None, kept: bool) -> None:
    assert (predict(Predicts(), data(2), wanted) is not None) is kept


@pytest.mark.parametrize(("loaders", "flags"), [(data(0), {}), ([], {}), (data(2), {"limit_predict_batches": 0})])
def test_nothing_to_predict(loaders: Any, flags: dict[str, Any]) -> None:
    assert predict(Predicts(), loaders, **flags) is None


def test_limits() -> None:
    assert predict(Predicts(), data(4), limit_predict_batches=0.5) == [(0, 0), (0, 1)]


def test_hooks_and_modes() -> None:
    calls: list[str] = []

    class Hears(Callback):
        def on_predict_start(self, *args: Any) -> None:
            calls.append("start")

        def on_predict_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            calls.append(f"batch {batch_idx}")

        def on_predict_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, i: int, of: int = 0
        ) -> None:
            calls.append(f"{outputs}")

        def on_predict_end(self, *args: Any) -> None:
            calls.append("end")

    module = Predicts()
    module.layer.eval()
    predict(module, data(1), callbacks=[Hears()])
    assert calls == ["start", "batch 0", "(0, 0)", "end"]
    assert module.training and not module.layer.training


def test_a_step_may_want_the_batch_alone() -> None:
    class Alone(Net):
        def predict_step(self, batch: Any) -> Any:
            return len(batch[0])

    assert predict(Alone(), data(2)) == [2, 2]


def test_workers_end_with_a_pass_that_is_not_read_to_its_end() -> None:
    loader = DataLoader(torch.ones(9, 4), batch_size=2, num_workers=1)
    assert len(predict(Predicts(), loader, limit_predict_batches=1)) == 1
    assert not multiprocessing.active_children()
