"""Which precision a user means."""

from __future__ import annotations

from typing import Any

import torch

from fulmen.precision.precision import Precision
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_warn
from fulmen.utilities.registry import closest

_NAMES = ("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true")
_SHORT = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}
_LATER = ("transformer-engine", "transformer-engine-float16", "fp8", "nf4", "nf4-dq", "fp4", "fp4-dq", "int8")


def resolve(precision: Precision | str | int | None, device: torch.device | str) -> Precision:
    """Turns what a user passed into a precision.

    Args:
        precision: ``"32-true"``, ``"16-mixed"``, ``"bf16-mixed"``, ``"16-true"``, ``"bf16-true"`` or ``"64-true"``;
            short: ``32``, ``16`` and ``"bf16"`` (both mixed), ``64``, also as strings; None for ``"32-true"``; or a
            precision, which is taken as it is.
        device: Where the model runs, or the type of it.

    Returns:
        The precision.

    Raises:
        MisconfigurationException: If it is unknown, or the device has no such numbers.

    Example:
        >>> resolve("bf16", "cpu").precision
        'bf16-mixed'
    """
    if isinstance(precision, Precision):
        return precision
    kind = torch.device(device).type
    name = _read(precision)
    if name == "16-mixed" and kind == "cpu":
        rank_zero_warn(
            'Mixed precision with float16 is not supported on the CPU: `precision="bf16-mixed"` is used instead of '
            '`precision="16-mixed"`.'
        )
        name = "bf16-mixed"
    if name == "64-true" and kind == "mps":
        raise MisconfigurationException(
            "MPS devices have no numbers in double precision.",
            got=precision,
            fix='`precision="32-true"`, or `accelerator="cpu"`.',
        )
    return _make(name, kind)


def _make(name: str, kind: str) -> Precision:
    # Imported when asked for: most runs need none of them.
    if name.endswith("-mixed"):
        from fulmen.precision.amp import MixedPrecision

        return MixedPrecision(name, kind)
    if name == "64-true":
        from fulmen.precision.double import DoublePrecision

        return DoublePrecision()
    if name == "32-true":
        return Precision()
    from fulmen.precision.half import HalfPrecision

    return HalfPrecision(name)


def _read(precision: Any) -> str:
    if precision is None:
        return "32-true"
    text = str(precision) if isinstance(precision, (str, int)) and not isinstance(precision, bool) else ""
    name = _SHORT.get(text, text)
    if name in _NAMES:
        return name
    choices = ", ".join(repr(choice) for choice in _NAMES)
    if name in _LATER:
        raise MisconfiguredValue(
            "Precisions of 8 bits and less, by Transformer Engine or bitsandbytes, are not supported yet.",
            got=precision,
            fix=f'`precision="bf16-mixed"` is the nearest; all choices: {choices}.',
        )
    raise MisconfiguredValue(
        "`precision` must be the name of a precision, or a `Precision`.",
        got=precision,
        fix=f"{closest(precision, (*_NAMES, *_SHORT))}Choose among: {choices}.",
    )
