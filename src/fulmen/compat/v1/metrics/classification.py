"""``pl.metrics``' classification: the arguments of 1.x, over TorchMetrics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.compat.v1.metrics.inferring import Inferring


def _average(average: str | None, mdmc: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """What `average` and `mdmc_average` are called today."""
    known = {"average": average, **settings}
    if mdmc is not None:
        known["multidim_average"] = mdmc
    return {key: value for key, value in known.items() if value is not None or key == "average"}


class Accuracy(Inferring):
    """The share of right predictions. The arguments are those of 1.x; see ``torchmetrics.Accuracy``."""

    def __init__(
        self,
        threshold: float = 0.5,
        num_classes: int | None = None,
        average: str | None = "micro",
        mdmc_average: str | None = "global",
        ignore_index: int | None = None,
        top_k: int | None = None,
        multiclass: bool | None = None,
        subset_accuracy: bool = False,
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        settings = {"threshold": threshold, "ignore_index": ignore_index, "top_k": top_k, **kwargs}
        super().__init__(
            "Accuracy", num_classes, compute_on_step, subset_accuracy=subset_accuracy,
            **_average(average, mdmc_average, settings),
        )  # fmt: skip


class _Averaged(Inferring):
    """What Precision, Recall and their like have in common."""

    name = ""

    def __init__(
        self,
        num_classes: int | None = None,
        threshold: float = 0.5,
        average: str | None = "micro",
        mdmc_average: str | None = None,
        ignore_index: int | None = None,
        top_k: int | None = None,
        multiclass: bool | None = None,
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        settings = {"threshold": threshold, "ignore_index": ignore_index, "top_k": top_k, **kwargs}
        super().__init__(self.name, num_classes, compute_on_step, **_average(average, mdmc_average, settings))


class Precision(_Averaged):
    """Of what was predicted, the share that is right; see ``torchmetrics.Precision``."""

    name = "Precision"


class Recall(_Averaged):
    """Of what there was, the share that was found; see ``torchmetrics.Recall``."""

    name = "Recall"


class Specificity(_Averaged):
    """Of what there was not, the share that was not predicted; see ``torchmetrics.Specificity``."""

    name = "Specificity"


class F1(_Averaged):
    """The harmonic mean of precision and recall; see ``torchmetrics.F1Score``."""

    name = "F1Score"


class F1Score(F1):
    """The later name of ``F1``."""


class FBeta(Inferring):
    """A mean of precision and recall with weights; see ``torchmetrics.FBetaScore``."""

    def __init__(
        self,
        num_classes: int | None = None,
        beta: float = 1.0,
        threshold: float = 0.5,
        average: str | None = "micro",
        mdmc_average: str | None = None,
        ignore_index: int | None = None,
        top_k: int | None = None,
        multiclass: bool | None = None,
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        settings = {"beta": beta, "threshold": threshold, "ignore_index": ignore_index, "top_k": top_k, **kwargs}
        super().__init__("FBetaScore", num_classes, compute_on_step, **_average(average, mdmc_average, settings))


class StatScores(Inferring):
    """Counts of true and false positives and negatives; see ``torchmetrics.StatScores``."""

    def __init__(
        self,
        threshold: float = 0.5,
        top_k: int | None = None,
        reduce: str | None = "micro",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        mdmc_reduce: str | None = None,
        multiclass: bool | None = None,
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        average = "none" if reduce == "macro" else reduce  # the macro of 1.x gave the counts of each class
        settings = {"threshold": threshold, "top_k": top_k, "ignore_index": ignore_index, **kwargs}
        if reduce == "samples":
            average, mdmc_reduce = "micro", "samplewise"
        super().__init__("StatScores", num_classes, compute_on_step, **_average(average, mdmc_reduce, settings))


class HammingDistance(Inferring):
    """The share of wrong labels; see ``torchmetrics.HammingDistance``."""

    def __init__(self, threshold: float = 0.5, compute_on_step: bool | None = None, **kwargs: Any) -> None:
        super().__init__("HammingDistance", None, compute_on_step, threshold=threshold, **kwargs)


class ConfusionMatrix(Inferring):
    """How often each class was taken for which; see ``torchmetrics.ConfusionMatrix``."""

    def __init__(
        self,
        num_classes: int | None = None,
        normalize: str | None = None,
        threshold: float = 0.5,
        multilabel: bool = False,
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            "ConfusionMatrix", num_classes, compute_on_step, binary=False, normalize=normalize, threshold=threshold,
            **kwargs,
        )  # fmt: skip


class CohenKappa(Inferring):
    """Agreement beyond chance; see ``torchmetrics.CohenKappa``."""

    def __init__(
        self,
        num_classes: int | None = None,
        weights: str | None = None,
        threshold: float = 0.5,
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            "CohenKappa", num_classes, compute_on_step, binary=False, weights=weights, threshold=threshold, **kwargs
        )


class MatthewsCorrcoef(Inferring):
    """A correlation of predictions and targets; see ``torchmetrics.MatthewsCorrCoef``."""

    def __init__(
        self,
        num_classes: int | None = None,
        threshold: float = 0.5,
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__("MatthewsCorrCoef", num_classes, compute_on_step, binary=False, threshold=threshold, **kwargs)


class IoU(Inferring):
    """Intersection over union, which ``torchmetrics.JaccardIndex`` is today.

    Args:
        num_classes: The number of classes.
        ignore_index: A class that is left out of the mean.
        absent_score: What a class counts that is neither predicted nor there.
        threshold: From what probability on a binary prediction is positive.
        reduction: ``"elementwise_mean"``, ``"sum"`` or ``"none"``.
        compute_on_step: Whether a call returns the value of the batch.
        **kwargs: For ``torchmetrics.ConfusionMatrix``.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        ignore_index: int | None = None,
        absent_score: float = 0.0,
        threshold: float = 0.5,
        reduction: str = "elementwise_mean",
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__("ConfusionMatrix", num_classes, compute_on_step, binary=False, threshold=threshold, **kwargs)
        self.left_out, self.absent_score, self.reduction = ignore_index, absent_score, reduction

    def finish(self, value: Tensor) -> Tensor:
        """The scores of a confusion matrix."""
        if self.left_out is not None and 0 <= self.left_out < value.shape[0]:
            value = value.clone()
            value[self.left_out] = 0  # targets of that class count for nobody
        hits = value.diag().float()
        union = value.sum(0) + value.sum(1) - hits
        scores = torch.where(union == 0, torch.full_like(hits, self.absent_score), hits / union.clamp(min=1))
        if self.left_out is not None and 0 <= self.left_out < value.shape[0]:
            scores = torch.cat([scores[: self.left_out], scores[self.left_out + 1 :]])
        return {"elementwise_mean": scores.mean, "sum": scores.sum}.get(self.reduction, lambda: scores)()


class Jaccard(Inferring):
    """Intersection over union as TorchMetrics has it."""

    def __init__(self, num_classes: int | None = None, compute_on_step: bool | None = None, **kwargs: Any) -> None:
        super().__init__("JaccardIndex", num_classes, compute_on_step, binary=False, **kwargs)


class _Curve(Inferring):
    """What is made of scores at all thresholds."""

    name = ""

    def __init__(
        self,
        num_classes: int | None = None,
        pos_label: int | None = None,
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(self.name, num_classes, compute_on_step, **kwargs)


class ROC(_Curve):
    """The receiver operating characteristic; see ``torchmetrics.ROC``."""

    name = "ROC"


class PrecisionRecallCurve(_Curve):
    """Pairs of precision and recall; see ``torchmetrics.PrecisionRecallCurve``."""

    name = "PrecisionRecallCurve"


class AveragePrecision(_Curve):
    """The area below precision over recall; see ``torchmetrics.AveragePrecision``."""

    name = "AveragePrecision"


class AUROC(Inferring):
    """The area below the ROC; see ``torchmetrics.AUROC``."""

    def __init__(
        self,
        num_classes: int | None = None,
        pos_label: int | None = None,
        average: str | None = "macro",
        max_fpr: float | None = None,
        compute_on_step: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__("AUROC", num_classes, compute_on_step, average=average, max_fpr=max_fpr, **kwargs)
