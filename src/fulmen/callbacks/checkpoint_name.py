"""Names of checkpoint files, made from templates like ``"{epoch:02d}-{val_loss:.2f}"``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch

from fulmen.utilities.exceptions import MisconfigurationException

_FIELD = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")

COUNTERS = ("epoch", "step")
UNKNOWN = "none"


def fields(template: str) -> list[str]:
    """The metrics that a template names, in order."""
    return [name for name, _ in _FIELD.findall(template)]


def metrics_in(template: str) -> list[str]:
    """The metrics that a template names, without the epoch and the step, which are always known."""
    return [name for name in fields(template) if name not in COUNTERS]


def check_template(template: str, argument: str) -> None:
    """Checks that a template can be filled in.

    Args:
        template: The template.
        argument: What it was given as, for the error text.

    Raises:
        MisconfigurationException: If braces do not match, a field has no name, or a format no number can be shown in.
    """
    broken = re.search(r"[{}]", _FIELD.sub("", template)) is not None
    for name, spec in _FIELD.findall(template):
        number: type[int] | type[float] = int if name in COUNTERS or spec.endswith(("d", "x", "b", "o", "c")) else float
        try:
            format(number(0), spec)
        except ValueError:
            broken = True
        broken = broken or not name
    if broken:
        raise MisconfigurationException(
            f"`{argument}` is a template with the names of metrics in braces.",
            got=template,
            fix='For example "{epoch:02d}-{val_loss:.2f}".',
        )


def fill(template: str, values: Mapping[str, Any], with_names: bool = True, equals: str = "=") -> str:
    """Fills in a template.

    Args:
        template: The template.
        values: For each name a number or a scalar tensor, or None for one that is not known, which is shown as
            ``none``. A name that is missing counts as 0.
        with_names: Whether to put ``name=`` before each value.
        equals: What stands between a name and its value.

    Returns:
        The name.

    Example:
        >>> fill("{epoch:02d}-{val_loss:.2f}", {"epoch": 3, "val_loss": 0.1234})
        'epoch=03-val_loss=0.12'
    """

    def show(match: re.Match[str]) -> str:
        name, spec = match[1], match[2] or ""
        value = values.get(name, 0)
        if isinstance(value, torch.Tensor):
            value = value.item()
        shown = UNKNOWN if value is None else _shown(value, spec)
        return f"{name}{equals}{shown}" if with_names else shown

    return _FIELD.sub(show, template)


def _shown(value: int | float, spec: str) -> str:
    """A number in a format; a number that the format is not for must not end a run, so it is rounded, or plain."""
    try:
        return format(value, spec)
    except ValueError:
        return format(round(value), spec) if math.isfinite(value) else str(value)
