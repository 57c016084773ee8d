"""What Lightning 1.x's loggers have beyond today's."""

from __future__ import annotations

from typing import Any

from fulmen.compat.v1.hints import hint


class WORDS:
    """Names that today's class does not have."""

    def update_agg_funcs(self: Any, agg_key_funcs: Any = None, agg_default_func: Any = None) -> None:
        """Says how several values of a key in a step become one.

        Args:
            self: The logger.
            agg_key_funcs: By key the function that makes one value of a list.
            agg_default_func: The function for all other keys; the mean unless given.
        """
        hint("`update_agg_funcs`", "log each key once a step.")
        self.__dict__["_former_functions"] = (agg_key_funcs, agg_default_func)

    def agg_and_log_metrics(self: Any, metrics: Any, step: int | None = None) -> None:
        """Logs metrics, once all of a step have come.

        Args:
            self: The logger.
            metrics: Values by name.
            step: The step they belong to.
        """
        hint("`agg_and_log_metrics`", "`log_metrics(metrics, step)`.")
        waiting = self.__dict__.setdefault("_former_metrics", [])
        if waiting and (step is None or waiting[0][0] != step):
            _log(self)
        waiting.append((step, metrics))
        if step is None:
            _log(self)

    def close(self: Any) -> None:
        """Writes what was recorded.

        Args:
            self: The logger.
        """
        _log(self)
        self.save()


def _log(logger: Any) -> None:
    from fulmen.loggers.logger import merge_dicts

    waiting = logger.__dict__.get("_former_metrics")
    if waiting:
        functions, default = logger.__dict__.get("_former_functions", (None, None))
        merged = merge_dicts([one for _, one in waiting], functions, *([default] if default else []))
        step = waiting[0][0]
        waiting.clear()
        logger.log_metrics(metrics=merged, step=step)


class SIGNATURES:
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""

    def __init__(self: Any, agg_key_funcs: Any = None, agg_default_func: Any = None, **kwargs: Any) -> None:
        if agg_key_funcs is not None or agg_default_func is not None:
            self.update_agg_funcs(agg_key_funcs, agg_default_func)
