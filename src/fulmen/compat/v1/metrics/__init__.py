"""``pl.metrics`` of 1.0 to 1.4, over TorchMetrics: what kind of classification it is, the first batch says."""

from __future__ import annotations

import importlib
from typing import Any

from fulmen.compat import v1
from fulmen.compat.v1.hints import hint

_PLACES = {
    **dict.fromkeys(
        (
            "AUROC", "Accuracy", "AveragePrecision", "CohenKappa", "ConfusionMatrix", "F1", "F1Score", "FBeta",
            "HammingDistance", "IoU", "MatthewsCorrcoef", "Precision", "PrecisionRecallCurve", "ROC", "Recall",
            "Specificity", "StatScores",
        ),
        "fulmen.compat.v1.metrics.classification",
    ),
    **dict.fromkeys(
        (
            "CosineSimilarity", "ExplainedVariance", "MeanAbsoluteError", "MeanSquaredError", "MeanSquaredLogError",
            "PSNR", "PearsonCorrcoef", "R2Score", "SSIM", "SpearmanCorrcoef",
        ),
        "fulmen.compat.v1.metrics.regression",
    ),
    **dict.fromkeys(("Metric", "MetricCollection", "MetricTracker"), "torchmetrics"),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    name = {"Fbeta": "FBeta"}.get(name, name)  # as it was up to 1.1
    if name in ("functional", "classification", "regression"):
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _PLACES:
        functional = importlib.import_module(f"{__name__}.functional")
        if name.startswith("_") or not hasattr(functional, name):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(functional, name)
    if v1.speaking:  # else somebody looks at all modules
        hint(
            "`pl.metrics`",
            '`torchmetrics`, where a classification says what it is: `Accuracy(task="multiclass", ...)`.',
        )
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    functional = importlib.import_module(f"{__name__}.functional")
    return sorted([*_PLACES, *dir(functional), "functional"])
