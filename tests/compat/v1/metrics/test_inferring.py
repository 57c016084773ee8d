"""Metrics of 1.x, without arguments: held against TorchMetrics' with theirs."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st

from fulmen.compat.v1 import metrics as pl_metrics
from fulmen.compat.v1.metrics import classification
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")

# Each with the arguments of 1.x, its name in TorchMetrics, and the same arguments as they are called there.
COUNTED: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("Accuracy", {}, "Accuracy", {}),
    ("Accuracy", {"average": "macro"}, "Accuracy", {"average": "macro"}),
    ("Precision", {"average": "macro"}, "Precision", {"average": "macro"}),
    ("Precision", {"average": "none"}, "Precision", {"average": "none"}),
    ("Recall", {"average": "weighted"}, "Recall", {"average": "weighted"}),
    ("Specificity", {}, "Specificity", {}),
    ("F1", {"average": "macro"}, "F1Score", {"average": "macro"}),
    ("FBeta", {"beta": 0.5}, "FBetaScore", {"beta": 0.5}),
    ("StatScores", {}, "StatScores", {}),
    ("StatScores", {"reduce": "macro"}, "StatScores", {"average": "none"}),
    ("ConfusionMatrix", {}, "ConfusionMatrix", {}),
    ("CohenKappa", {}, "CohenKappa", {}),
    ("MatthewsCorrcoef", {}, "MatthewsCorrCoef", {}),
]
labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6)


@given(case=st.sampled_from(COUNTED), batches=st.lists(labels, min_size=1, max_size=3))
@settings(max_examples=20)
def test_classes_that_turn_up_later_lose_no_counts(case: Any, batches: list[list[tuple[int, int]]]) -> None:
    name, old, today, new = case
    top = max(max(pair) for batch in batches for pair in batch)
    metric = getattr(pl_metrics, name)(**old)
    if top <= 1 and metric.binary:
        known = getattr(torchmetrics, today)(task="binary")
        if name == "FBeta":
            known = torchmetrics.FBetaScore(task="binary", **new)
    else:
        known = getattr(torchmetrics, today)(task="multiclass", num_classes=max(top + 1, 2), **new)
    for batch in batches:
        preds, target = torch.tensor(batch).T
        metric.update(preds, target)
        known.update(preds, target)
    torch.testing.assert_close(metric.compute(), known.compute(), equal_nan=True)


@pytest.mark.parametrize(("name", "old", "today", "new"), COUNTED)
def test_scores_say_how_many_classes_there_are(name: str, old: Any, today: str, new: Any) -> None:
    torch.manual_seed(0)
    metric = getattr(pl_metrics, name)(**old)
    known = getattr(torchmetrics, today)(task="multiclass", num_classes=7, **new)
    for _ in range(3):
        scores, target = torch.rand(8, 7).softmax(1), torch.randint(0, 7, (8,))
        torch.testing.assert_close(metric(scores, target), known(scores, target))
    torch.testing.assert_close(metric.compute(), known.compute())
    metric.reset()
    known.reset()
    scores, target = torch.rand(8, 7).softmax(1), torch.randint(0, 7, (8,))
    torch.testing.assert_close(metric(scores, target), known(scores, target))
    torch.testing.assert_close(metric.compute(), known.compute())


@pytest.mark.parametrize("name", ["Accuracy", "Precision", "AUROC", "AveragePrecision", "F1Score"])
def test_probabilities_alone_are_binary_and_rows_of_them_labels(name: str) -> None:
    torch.manual_seed(0)
    one, two = torch.rand(20), torch.rand(20, 3)
    sure, several = torch.randint(0, 2, (20,)), torch.randint(0, 2, (20, 3))
    kind, today = getattr(pl_metrics, name), getattr(torchmetrics, name)
    torch.testing.assert_close(kind()(one, sure), today(task="binary")(one, sure))
    torch.testing.assert_close(kind()(one[:, None], sure), today(task="binary")(one, sure))
    torch.testing.assert_close(kind()(two, several), today(task="multilabel", num_labels=3)(two, several))


def test_iou_is_that_of_1_x() -> None:
    preds, target = torch.tensor([0, 1, 1, 3]), torch.tensor([0, 1, 0, 3])
    scores = torch.tensor([1 / 2, 1 / 2, 0.0, 1.0])  # nobody is of class 2
    torch.testing.assert_close(pl_metrics.IoU(num_classes=4)(preds, target), scores.mean())
    torch.testing.assert_close(pl_metrics.IoU(num_classes=4, absent_score=1.0)(preds, target), torch.tensor(3 / 4))
    torch.testing.assert_close(pl_metrics.IoU(reduction="none")(preds, target), scores)
    without = pl_metrics.IoU(num_classes=4, ignore_index=0, reduction="none")(preds, target)
    torch.testing.assert_close(without, torch.tensor([1.0, 0.0, 1.0]))


def test_what_does_not_fit_says_to_give_num_classes() -> None:
    metric = pl_metrics.Accuracy()
    metric.update(torch.rand(4, 3), torch.tensor([0, 1, 2, 0]))
    with pytest.raises(MisconfigurationException, match=r"multiclass with 3[^\n]*\n.*`num_classes=`"):
        metric.update(torch.rand(4, 5), torch.tensor([0, 1, 2, 0]))
    with pytest.raises(MisconfigurationException, match="`num_classes=6`"):
        pl_metrics.Accuracy(num_classes=3).update(torch.tensor([5]), torch.tensor([1]))
    with pytest.raises(MisconfigurationException, match=r"`\(N, C, ...\)` scores"):
        pl_metrics.Accuracy().update(torch.rand(4), torch.zeros(5, dtype=torch.int))


def test_it_is_copied_pickled_and_saved_with_what_it_counted() -> None:
    from fulmen.loops.metric_state import metric_states, put_metric_states

    first, second = (torch.tensor([0, 3, 1]), torch.tensor([0, 2, 1])), (torch.tensor([4]), torch.tensor([4]))
    model = torch.nn.Module()
    model.metric = pl_metrics.Accuracy()
    model.metric.update(*first)
    again = torch.nn.Module()
    again.metric = pl_metrics.Accuracy()
    put_metric_states(again, metric_states(model))
    for metric in (copy.deepcopy(model.metric), pickle.loads(pickle.dumps(model.metric)), again.metric):
        metric.update(*second)
        assert metric.compute() == 3 / 4
    assert model.metric.compute() == 2 / 3


def test_functions_take_the_arguments_of_the_classes() -> None:
    from fulmen.compat.v1.metrics import functional

    preds, target = torch.tensor([0, 2, 1]), torch.tensor([0, 1, 1])
    assert functional.accuracy(preds, target) == 2 / 3
    assert functional.confusion_matrix(preds, target, num_classes=3).shape == (3, 3)
    precision, recall = functional.precision_recall(preds, target, average="macro", num_classes=3)
    assert precision == pytest.approx(2 / 3)
    assert recall == pytest.approx(1 / 2)
    assert functional.mean_squared_error(torch.ones(2), torch.zeros(2)) == 1.0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = functional.nothing


@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all")
@pytest.mark.parametrize("name", [name for name in dir(pl_metrics) if name[0].isupper()])
def test_every_name_is_there(name: str) -> None:
    kind = getattr(pl_metrics, name)
    assert issubclass(kind, torch.nn.Module)
    if name not in ("Metric", "MetricCollection", "MetricTracker"):
        assert isinstance(kind(compute_on_step=False), torchmetrics.Metric)


def test_compute_before_any_batch_warns() -> None:
    with pytest.warns(UserWarning, match="before any batch"):
        assert classification.Accuracy().compute() == 0.0
