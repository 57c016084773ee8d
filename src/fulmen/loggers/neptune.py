"""Neptune, a service that has ended."""

from __future__ import annotations

from typing import Any

from fulmen.utilities.exceptions import MisconfiguredRun


class NeptuneLogger:
    """Raises an error: Neptune's service has ended, and there is nothing to log to.

    Args:
        *args: What it took.
        **kwargs: What it took.

    Raises:
        MisconfigurationException: Always; also a ``RuntimeError``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise MisconfiguredRun(
            "`NeptuneLogger` is no longer supported: Neptune's service has ended.",
            fix="Log to another service with `MLFlowLogger`, `WandbLogger` or `CometLogger`, or to files with"
            " `TensorBoardLogger` or `CSVLogger`; all are in `fulmen.loggers`.",
        )
