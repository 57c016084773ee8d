"""``pl.metrics.functional``: what the metrics compute, of one batch."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from torch import Tensor

from fulmen.compat import v1
from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.metrics import classification as kinds

_CLASSES = {
    "accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "f1": "F1", "f1_score": "F1",
    "fbeta": "FBeta", "stat_scores": "StatScores", "hamming_distance": "HammingDistance",
    "confusion_matrix": "ConfusionMatrix", "iou": "IoU", "roc": "ROC", "auroc": "AUROC", "cohen_kappa": "CohenKappa",
    "precision_recall_curve": "PrecisionRecallCurve", "average_precision": "AveragePrecision",
    "specificity": "Specificity", "matthews_corrcoef": "MatthewsCorrcoef",
}  # fmt: skip
_FUNCTIONS = {
    "mean_squared_error": "mean_squared_error", "mean_absolute_error": "mean_absolute_error",
    "mean_squared_log_error": "mean_squared_log_error", "explained_variance": "explained_variance",
    "r2score": "r2_score", "r2_score": "r2_score", "psnr": "peak_signal_noise_ratio",
    "ssim": "structural_similarity_index_measure", "image_gradients": "image_gradients", "bleu_score": "bleu_score",
    "auc": "auc",
}  # fmt: skip


def precision_recall(preds: Any, target: Any, *args: Any, **settings: Any) -> tuple[Any, Any]:
    """Precision and recall.

    Args:
        preds: Labels, probabilities or scores.
        target: Labels.
        *args: As ``Precision`` takes them.
        **settings: As ``Precision`` takes them.
    """
    return (
        kinds.Precision(*args, **settings)(preds, target),
        kinds.Recall(*args, **settings)(preds, target),
    )


def to_categorical(tensor: Tensor, argmax_dim: int = 1) -> Tensor:
    """The class of the highest score.

    Args:
        tensor: Scores.
        argmax_dim: The dimension of the classes.
    """
    return tensor.argmax(dim=argmax_dim)


@functools.cache
def _made(name: str) -> Callable[..., Any]:
    """The function of a class; the same each time, and to be found by its name."""
    kind = getattr(kinds, _CLASSES[name])

    def function(preds: Any, target: Any, *args: Any, **settings: Any) -> Any:
        return kind(*args, **settings)(preds, target)

    function.__name__ = function.__qualname__ = name
    return function


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        if v1.speaking:  # else somebody looks at all modules
            hint(
                "`pl.metrics.functional`",
                '`torchmetrics.functional`: `accuracy(preds, target, task="multiclass", ...)`.',
            )
        return _made(name)
    if name in _FUNCTIONS:
        for place in ("torchmetrics.functional", "torchmetrics.utilities.compute"):
            found = getattr(importlib.import_module(place), _FUNCTIONS[name], None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_CLASSES, *_FUNCTIONS, "precision_recall"])
