"""The loops of training, evaluation and prediction."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "_EvaluationLoop": "fulmen.loops.evaluation_loop",
        "_FitLoop": "fulmen.loops.fit_loop",
        "_PredictionLoop": "fulmen.loops.prediction_loop",
        "_TrainingEpochLoop": "fulmen.loops.training_epoch_loop",
    },
)
