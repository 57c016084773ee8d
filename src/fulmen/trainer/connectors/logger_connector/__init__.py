"""What was logged, under the names by which other libraries know it."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"_LoggerConnector": "fulmen.trainer.connectors.logger_connector.logger_connector"}
)
