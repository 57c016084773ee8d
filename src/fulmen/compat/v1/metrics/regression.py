"""``pl.metrics``' regression, image and other metrics that need no task: TorchMetrics' own, under their old names."""

from __future__ import annotations

from typing import Any

from fulmen.utilities.imports import require

_NAMES = {
    "MeanSquaredError": "MeanSquaredError", "MeanAbsoluteError": "MeanAbsoluteError",
    "MeanSquaredLogError": "MeanSquaredLogError", "ExplainedVariance": "ExplainedVariance", "R2Score": "R2Score",
    "PSNR": "PeakSignalNoiseRatio", "SSIM": "StructuralSimilarityIndexMeasure", "CosineSimilarity": "CosineSimilarity",
    "PearsonCorrcoef": "PearsonCorrCoef", "SpearmanCorrcoef": "SpearmanCorrCoef",
}  # fmt: skip


def _made(name: str, today: str) -> type:
    place = "torchmetrics.image" if name in ("PSNR", "SSIM") else "torchmetrics"
    base: Any = getattr(require(place, "metrics", "`pl.metrics`"), today)

    def __init__(self: Any, *args: Any, compute_on_step: bool | None = None, **kwargs: Any) -> None:
        if name == "PSNR" and not args and kwargs.get("data_range") is None:
            kwargs["data_range"] = 1.0
        base.__init__(self, *args, **kwargs)

    return type(name, (base,), {"__init__": __init__, "__module__": __name__, "__doc__": base.__doc__})


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    kind = globals()[name] = _made(name, _NAMES[name])
    return kind
