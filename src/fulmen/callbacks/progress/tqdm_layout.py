"""What a line of tqdm's shows where not all has room: the values first, then the rest by its use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"

# Each with the columns that its bar may give away of the ten that it has where nobody asks for a width.
_Layouts = tuple[tuple[str, int], ...]
_KNOWN: _Layouts = (
    (BAR_FORMAT, 0),
    ("{l_bar}{bar}| {n_fmt}/{total_fmt} [{rate_noinv_fmt}{postfix}]", 5),
    ("{desc}{percentage:3.0f}% {n_fmt}/{total_fmt} [{rate_noinv_fmt}{postfix}]", 0),
    ("{desc}{percentage:3.0f}% {n_fmt}/{total_fmt}{postfix}", 0),
    ("{desc}{percentage:3.0f}%{postfix}", 0),
)
_UNKNOWN: _Layouts = (
    (BAR_FORMAT, 5),
    ("{desc}{n_fmt}/{total_fmt} [{elapsed}, {rate_noinv_fmt}{postfix}]", 0),
    ("{desc}{n_fmt}/{total_fmt} [{rate_noinv_fmt}{postfix}]", 0),
    ("{desc}{n_fmt}/{total_fmt}{postfix}", 0),
)


def fitting(format_meter: Callable[..., str], width_of: Callable[[str], int], options: dict[str, Any]) -> str:
    """Writes a line that is no longer than it may be: all values if there is a way, and then as much as has room.

    Args:
        format_meter: tqdm's own function.
        width_of: How many columns a text takes.
        options: What tqdm hands to its function.

    Returns:
        The line. A format of the user's stays what it is.
    """
    room = options.get("ncols")
    if not room or options.get("bar_format") != BAR_FORMAT:
        return format_meter(**options)
    prefix = options.get("prefix") or ""
    if prefix and not prefix.endswith(": "):
        options = {**options, "prefix": f"{prefix}: "}
    layouts = _KNOWN if options.get("total") else _UNKNOWN
    for values in _shorter_and_shorter(options.get("postfix") or ""):
        for layout, gives in layouts:
            chosen = {**options, "postfix": values, "bar_format": layout}
            if width_of(format_meter(**{**chosen, "ncols": None})) - gives <= room:
                return format_meter(**chosen)
    return format_meter(**{**options, "postfix": "", "bar_format": layouts[-1][0]})


def _shorter_and_shorter(text: str) -> Iterator[str]:
    """Values with their names, then with shorter names, then fewer of them."""
    yield text
    values = text.split(", ") if text else []
    for length in (24, 16, 10):
        values = [_with_name_of(length, value) for value in values]
        yield ", ".join(values)
    for count in range(len(values) - 1, -1, -1):
        yield ", ".join([*values[:count], "…"])


def _with_name_of(length: int, value: str) -> str:
    name, sign, number = value.rpartition("=")
    if len(name) <= length:
        return value
    head = length // 2
    return f"{name[:head]}…{name[head + 1 - length :]}{sign}{number}"
