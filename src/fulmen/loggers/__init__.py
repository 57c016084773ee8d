"""Where metrics and hyper-parameters of a run are written."""

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CometLogger": "fulmen.loggers.comet",
        "CSVLogger": "fulmen.loggers.csv_logs",
        "DummyLogger": "fulmen.loggers.logger",
        "Logger": "fulmen.loggers.logger",
        "MLFlowLogger": "fulmen.loggers.mlflow",
        "TensorBoardLogger": "fulmen.loggers.tensorboard",
        "WandbLogger": "fulmen.loggers.wandb",
    },
)
