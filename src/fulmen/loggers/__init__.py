"""Where metrics and hyper-parameters of a run are written."""

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CSVLogger": "fulmen.loggers.csv_logs",
        "DummyLogger": "fulmen.loggers.logger",
        "Logger": "fulmen.loggers.logger",
        "TensorBoardLogger": "fulmen.loggers.tensorboard",
    },
)
