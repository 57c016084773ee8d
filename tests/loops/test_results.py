from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.runs import Net, data, fit

from fulmen.core.logging import LogOptions
from fulmen.loops.logbook import LogBook
from fulmen.loops.results import Results
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType

OPTIONS = LogOptions(False, None, None, None, "mean", False, False, None, True, None, False)


@pytest.fixture
def results() -> Results:
    return Results(Net(), training=True, device=torch.device("cpu"))


def log(results: Results, name: str, value: Any = 1.0, hook: str = "training_step", **asked: Any) -> Any:
    entry = results.admit(name, value, OPTIONS._replace(**asked), hook)
    entry.take(value, 1)
    return entry


def test_entries_are_kept_by_loader_hook_and_key(results: Results) -> None:
    first, second = log(results, "a"), log(results, "a", hook="on_train_epoch_end")
    results.dataloader_idx = 1
    third = log(results, "a", hook="validation_step")
    assert list(results.entries()) == [first, second, third]
    assert list(results.entries_of(None)) == [first, second]
    assert list(results.entries_of(1)) == [third]
    assert list(results.entries_of(7)) == []
    assert results.tables(None)["training_step"]["a"] is first
    assert (first.key, third.key) == ("a", "a/dataloader_idx_1")


def test_a_new_epoch_keeps_what_is_known_of_the_keys(results: Results) -> None:
    entry = log(results, "a")
    results.reset()
    assert list(results.entries()) == []
    assert results.tables(None)["training_step"]["a"] is entry
    entry.take(2.0, 1)
    assert list(results.entries()) == [entry]


def test_the_size_of_a_batch_is_read_once(results: Results) -> None:
    entry = log(results, "a", on_epoch=True)
    assert results.batch_size(entry) == 1  # outside of batches
    for size in (3, 5):
        results.begin_batch([torch.ones(size, 2)], 0)
        assert results.batch_size(entry) == size
        results.batch = None
        assert results.batch_size(entry) == size
    results.begin_batch(["text"], 0)
    with pytest.raises(MisconfigurationException, match=r"type list\n.*batch_size=len\(batch\)"):
        results.batch_size(entry)


@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        (lambda results: log(results, 3), MisconfiguredType, r"`self\.log\(\"loss\", loss\)`"),
        (lambda results: log(results, "a", None), ValueError, "returns a number"),
        (lambda results: log(results, "a/dataloader_idx_0"), MisconfigurationException, "add_dataloader_idx=False"),
        (
            lambda results: [log(results, "a"), log(results, "a", prog_bar=True)],
            MisconfigurationException,
            "another key",
        ),
        (lambda results: log(results, "a", hook="setup"), MisconfigurationException, "cannot be called in `setup`"),
    ],
)
def test_what_is_not_admitted(results: Results, act: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        act(results)
    with pytest.raises(MisconfigurationException):
        act(Results(Net(), training=True, device=torch.device("cpu")))


def test_loaders_share_no_key_of_their_own_making(results: Results) -> None:
    results.dataloader_idx = 0
    log(results, "a", hook="validation_step", add_dataloader_idx=False)
    log(results, "b/dataloader_idx_0", hook="validation_step", add_dataloader_idx=False)
    results.dataloader_idx = 1
    with pytest.raises(MisconfigurationException, match=r"loaders 0 and 1\.\n.*f'a_\{dataloader_idx\}'"):
        log(results, "a", hook="validation_step", add_dataloader_idx=False)


def test_a_key_that_will_be_ambiguous(results: Results) -> None:
    with pytest.warns(UserWarning, match="makes the keys loss_step_step and loss_step_epoch"):
        log(results, "loss_step", on_step=True, on_epoch=True)


def test_a_metric_belongs_to_the_module(results: Results) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    metric = torchmetrics.MeanMetric()
    metric(1.0)
    with pytest.raises(MisconfigurationException, match=r"`self\.val_acc = MeanMetric\(\.\.\.\)`"):
        log(results, "val/acc", metric)
    assert log(results, "b", metric, metric_attribute="elsewhere").metric is metric
    results.module.mine = metric
    assert log(results, "val/acc", metric).metric is metric


def test_the_book_points_at_the_hook_that_runs(results: Results) -> None:
    book = LogBook()
    with pytest.raises(MisconfigurationException, match="only while batches"):
        book.admit("a", 1.0, OPTIONS)
    book.open(results)
    book.enter("training_step")
    entry = book.admit("a", 1.0, OPTIONS)
    assert book.entries == {"a": entry}
    book.enter("on_train_epoch_end")
    assert book.entries == {}
    book.enter(None)
    with pytest.raises(MisconfigurationException, match="only while batches"):
        book.admit("b", 1.0, OPTIONS)
    book.open(results, 1)
    book.enter("validation_step")
    assert book.admit("a", 1.0, OPTIONS).key == "a/dataloader_idx_1"
    book.open(None)
    book.enter("training_step")
    with pytest.raises(MisconfigurationException, match="only while batches"):
        book.admit("a", 1.0, OPTIONS)


def test_each_epoch_starts_from_nothing() -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("a", float(self.global_step), on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

    assert fit(Logs(), data(2), max_epochs=3).callback_metrics["a"] == 4.5
