"""Callbacks: code that runs at the events of a run, apart from the model."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BackboneFinetuning": "fulmen.callbacks.finetuning",
        "BaseFinetuning": "fulmen.callbacks.finetuning",
        "BatchSizeFinder": "fulmen.callbacks.batch_size_finder",
        "Callback": "fulmen.callbacks.callback",
        "BasePredictionWriter": "fulmen.callbacks.prediction_writer",
        "Checkpoint": "fulmen.callbacks.checkpoint",
        "EMAWeightAveraging": "fulmen.callbacks.weight_averaging",
        "DeviceStatsMonitor": "fulmen.callbacks.device_stats_monitor",
        "EarlyStopping": "fulmen.callbacks.early_stopping",
        "GradientAccumulationScheduler": "fulmen.callbacks.gradient_accumulation_scheduler",
        "LambdaCallback": "fulmen.callbacks.lambda_function",
        "LearningRateFinder": "fulmen.callbacks.lr_finder",
        "LearningRateMonitor": "fulmen.callbacks.lr_monitor",
        "ModelCheckpoint": "fulmen.callbacks.model_checkpoint",
        "ModelPruning": "fulmen.callbacks.pruning",
        "ModelSummary": "fulmen.callbacks.model_summary",
        "OnExceptionCheckpoint": "fulmen.callbacks.on_exception_checkpoint",
        "ProgressBar": "fulmen.callbacks.progress.progress_bar",
        "RichModelSummary": "fulmen.callbacks.rich_model_summary",
        "RichProgressBar": "fulmen.callbacks.progress.rich_progress",
        "StochasticWeightAveraging": "fulmen.callbacks.stochastic_weight_avg",
        "SpikeDetection": "fulmen.callbacks.spike",
        "TQDMProgressBar": "fulmen.callbacks.progress.tqdm_progress",
        "ThroughputMonitor": "fulmen.callbacks.throughput_monitor",
        "Timer": "fulmen.callbacks.timer",
        "WeightAveraging": "fulmen.callbacks.weight_averaging",
    },
)
