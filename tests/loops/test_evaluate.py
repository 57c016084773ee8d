from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runs import QUIET, Net, data, fit
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from fulmen.loops.evaluate import as_sequence
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.combined_loader import CombinedLoader


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.ones(6, 2))


class Evaluates(Net):
    """Notes every batch it sees, and logs its number."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout()
        self.seen: list[tuple[int, int]] = []

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        assert not (self.training or self.drop.training or torch.is_grad_enabled())
        self.seen.append((dataloader_idx, batch_idx))
        self.log("number", float(batch_idx), batch_size=1)
        return f"out {dataloader_idx} {batch_idx}"

    test_step = validation_step


def run(method: str, module: Any, loaders: Any, **flags: Any) -> tuple[Any, Trainer]:
    trainer = Trainer(**{**QUIET, **flags})
    return getattr(trainer, method)(module, loaders, verbose=False), trainer


@settings(max_examples=10)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.sampled_from(["validate", "test"]))
def test_each_loader_after_the_other(lengths: list[int], method: str) -> None:
    module = Evaluates()
    results, trainer = run(method, module, [data(length) for length in lengths])
    assert module.seen == [(i, b) for i, length in enumerate(lengths) for b in range(length)]
    means = [(length - 1) / 2 for length in lengths]
    if len(lengths) == 1:
        assert results == [{"number": means[0]}]
    else:
        assert results == [{f"number/dataloader_idx_{i}": mean} for i, mean in enumerate(means)]
    batches = trainer.num_val_batches if method == "validate" else trainer.num_test_batches
    assert batches == lengths
    assert module.training and module.drop.training


@pytest.mark.parametrize(("limit", "batches"), [(1, [1, 1]), (10, [4, 2]), (0.5, [2, 1]), (1.0, [4, 2]), (3, [3, 2])])
def test_limits(limit: float, batches: list[int]) -> None:
    module = Evaluates()
    _, trainer = run("test", module, [data(4), data(2)], limit_test_batches=limit)
    assert trainer.num_test_batches == batches
    assert len(module.seen) == sum(batches)


def test_a_limit_of_zero_asks_for_no_loader() -> None:
    class Refuses(Evaluates):
        def test_dataloader(self) -> Any:
            raise AssertionError

    results, trainer = run("test", Refuses(), None, limit_test_batches=0)
    assert (results, trainer.num_test_batches) == ([], [])


def test_empty_loaders_are_passed_over() -> None:
    module = Evaluates()
    results, _ = run("validate", module, [data(1), data(0), data(2)])
    assert module.seen == [(0, 0), (2, 0), (2, 1)]
    assert [set(values) for values in results] == [{"number/dataloader_idx_0"}, set(), {"number/dataloader_idx_2"}]
    assert run("validate", module, data(0))[0] == []
    assert run("validate", module, [])[0] == []


def test_nothing_logged_and_nothing_known() -> None:
    class Silent(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    assert run("validate", Silent(), data(2))[0] == [{}]
    _, trainer = run("validate", Silent(), DataLoader(Stream(), batch_size=2))
    assert trainer.num_val_batches == [float("inf")]


@pytest.mark.parametrize("fast", [True, False])
def test_outputs_go_to_the_batchs_end(fast: bool) -> None:
    outputs: list[Any] = []

    class Hears(Evaluates):
        def on_validation_batch_end(self, output: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            outputs.append((output, dataloader_idx, torch.equal(batch[0], torch.ones(2, 2))))

    run("validate", Hears(), [data(1), data(1)], fast_data=fast)
    assert outputs == [("out 0 0", 0, True), ("out 1 0", 1, True)]


@pytest.mark.parametrize("inference", [True, False])
def test_inference_mode(inference: bool) -> None:
    modes: list[bool] = []

    class Asks(Evaluates):
        def validation_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            modes.append(torch.is_inference_mode_enabled())

    run("validate", Asks(), data(1), inference_mode=inference)
    assert modes == [inference]


def test_modes_come_back() -> None:
    module = Evaluates()
    module.drop.eval()
    run("validate", module, data(1))
    assert module.training and not module.drop.training


def test_one_key_for_all_loaders() -> None:
    class Shares(Net):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.log(f"of_{dataloader_idx}", 1.0 + dataloader_idx, add_dataloader_idx=False)

        def on_validation_epoch_end(self) -> None:
            self.log("all", 9.0)

    results, trainer = run("validate", Shares(), [data(1), data(1)])
    assert results == [{"of_0": 1.0, "all": 9.0}, {"of_1": 2.0, "all": 9.0}]
    assert {key: value.item() for key, value in trainer.callback_metrics.items()} == {
        "of_0": 1.0,
        "of_1": 2.0,
        "all": 9.0,
    }


def test_values_of_steps_count_on_over_the_run() -> None:
    from fulmen.loggers.logger import Logger

    class Keeps(Logger):
        name, version = "keeps", 0  # type: ignore[assignment]

        def __init__(self) -> None:
            super().__init__()
            self.lines: list[tuple[Any, Any]] = []

        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            self.lines.append((dict(metrics), step))

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    class Steps(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("v", 10.0 * self.current_epoch + batch_idx, on_step=True, on_epoch=False)

    logger = Keeps()
    fit(Steps(), data(1), data(2), max_epochs=2, logger=logger)
    assert logger.lines == [({"v": 0.0}, 0), ({"v": 1.0}, 1), ({"v": 10.0}, 2), ({"v": 11.0}, 3)]


def test_a_nest_of_loaders_is_a_sequence() -> None:
    one, two = data(1), data(2)
    assert as_sequence(one) == [one]
    assert as_sequence({"a": one, "b": [two]}) == [one, two]
    assert as_sequence(CombinedLoader([one, two], "sequential")) == [one, two]
    together = CombinedLoader([one, two], "max_size")
    assert as_sequence(together) == [together]


def test_several_loaders_at_once() -> None:
    seen: list[Any] = []

    class Pairs(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen.append([None if part is None else len(part) for part in batch])

    run("validate", Pairs(), CombinedLoader([data(1), data(2)], "max_size"))
    assert seen == [[1, 1], [None, 1]]


@pytest.mark.parametrize(("every", "asked"), [(0, [0]), (1, [0, 1, 2, 3]), (2, [0, 2])])
def test_loaders_are_made_anew(every: int, asked: list[int]) -> None:
    epochs: list[int] = []

    class Makes(Evaluates):
        def val_dataloader(self) -> Any:
            epochs.append(self.current_epoch)
            return data(1)

    fit(Makes(), data(1), max_epochs=4, reload_dataloaders_every_n_epochs=every)
    assert epochs == asked


def test_a_pass_that_other_processes_began_begins_anew() -> None:
    from torchmetrics import SumMetric

    class Summing(Net):
        def __init__(self) -> None:
            super().__init__()
            self.total = SumMetric()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.total.update(batch[0])
            self.log("total", self.total, on_epoch=True)
            self.log("sum", batch[0].sum(), reduce_fx="sum")
            states.append(self.trainer.validate_loop.state_dict())

    states: list[Any] = []
    module, loader = Summing(), data(batches=3)
    runner = Trainer(**QUIET, inference_mode=False)
    (expected,) = runner.validate(module, loader, verbose=False)
    saved = {**states[1], "world": 2}
    module.total.update(100.0)  # as its counts are when a checkpoint is loaded
    loop = runner.validate_loop
    run = loop.run
    loop.run = lambda: run(saved)  # type: ignore[method-assign,assignment]
    (found,) = runner.validate(module, loader, verbose=False)
    assert found == expected
    assert len(states) == 6
