"""What loggers take: numbers as metrics, dictionaries as hyper-parameters."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from fulmen.utilities.exceptions import MisconfigurationException


def number(name: str, value: Any) -> float:
    """The number in a metric.

    Args:
        name: The metric's name, for the error.
        value: A number, or a tensor or array of one element.

    Returns:
        The number.

    Raises:
        MisconfigurationException: If there is no single number in it.
    """
    if callable(item := getattr(value, "item", None)):
        try:
            value = item()
        except (RuntimeError, ValueError):
            raise MisconfigurationException(
                f"A logged metric must be one number, and `{name}` holds several or none.",
                got=f"{type(value).__name__} of shape {tuple(value.shape)}",
                fix="Log `value.mean()`, or each element under a name of its own.",
            ) from None
    if isinstance(value, (int, float)):
        return value
    raise MisconfigurationException(
        f"A logged metric must be a number, and `{name}` is none.",
        got=f"{value!r:.200} of type {type(value).__name__}",
        fix="Log a float, an int or a tensor of one element; pass text to `log_hyperparams`.",
    )


def check_names(metrics: Any) -> None:
    """Raises an error that says what is wrong with metrics that are no dictionary of names."""
    if type(metrics) is not dict and not isinstance(metrics, Mapping):
        raise MisconfigurationException(
            "`log_metrics` takes a dictionary of numbers by name.",
            got=metrics,
            fix='`log_metrics({"loss": 0.5}, step)`.',
        )
    for name in metrics:
        if not isinstance(name, str):
            raise MisconfigurationException(
                "The name of a metric must be a string.", got=name, fix=f'Log it as `"{name}"`.'
            )


def as_params(params: Any) -> dict[str, Any]:
    """Hyper-parameters as a dictionary.

    Args:
        params: A mapping, a namespace, or None for none.

    Returns:
        A new dictionary.

    Raises:
        MisconfigurationException: If it is something else.
    """
    if params is None:
        return {}
    if isinstance(params, Namespace):
        params = vars(params)
    if not isinstance(params, Mapping):
        raise MisconfigurationException(
            "Hyper-parameters are logged as a dictionary or an `argparse.Namespace`.",
            got=params,
            fix='`log_hyperparams({"lr": 0.1})`, or `log_hyperparams(vars(config))`.',
        )
    return dict(params)


def flat_params(params: Mapping[Any, Any]) -> dict[str, bool | int | float | str]:
    """Hyper-parameters for tools that hold only numbers and text.

    Args:
        params: Values by name, nested or not.

    Returns:
        One level of names, ``"outer/inner"``; numbers and text are kept, all else is its text.
    """
    return {name: _simple(value) for name, value in _flatten(params, "")}


def _flatten(params: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        inner = vars(value) if isinstance(value, Namespace) else value
        if isinstance(inner, Mapping):
            yield from _flatten(inner, f"{path}{name}/")
        else:
            yield f"{path}{name}", value


def _simple(value: Any) -> bool | int | float | str:
    if callable(getattr(value, "item", None)):
        try:
            value = value.item()
        except (RuntimeError, ValueError):
            return str(value)
    return value if isinstance(value, (bool, int, float, str)) else str(value)
