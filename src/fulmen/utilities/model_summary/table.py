"""Numbers and tables as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fulmen.utilities.exceptions import MisconfigurationException

UNITS = (" ", "K", "M", "B", "T")


def get_human_readable_count(number: int) -> str:
    """Shortens a count to at most three digits and a letter for thousands (K), millions (M), billions (B) ...

    Args:
        number: The count, 0 or more.

    Returns:
        The text, with a space before the letter, or two spaces where there is none.

    Example:
        >>> get_human_readable_count(123)
        '123  '
        >>> get_human_readable_count(1234)
        '1.2 K'
        >>> get_human_readable_count(2_000_000)
        '2.0 M'
        >>> get_human_readable_count(567_890_000_000)
        '567 B'
    """
    if number < 0:
        raise MisconfigurationException("A count must be 0 or more.", got=number, fix="Pass a number of things.")
    count = int(number)
    power = min((len(str(count)) - 1) // 3, len(UNITS) - 1)
    if power == 0:
        return f"{count}  "
    value = count / 1000**power
    # From a hundred on it is cut, so that 999,999 stays below a million.
    return f"{int(value):,d} {UNITS[power]}" if value >= 100 else f"{value:.1f} {UNITS[power]}"


def get_formatted_model_size(total_model_size: float) -> str:
    """Writes a size in megabytes with three decimals.

    Example:
        >>> get_formatted_model_size(1234.5678)
        '1,234.568'
    """
    return f"{total_model_size:,.3f}"


# What a narrow terminal has no room for, in this order.
_GIVEN_UP = ("Out sizes", "In sizes", "FLOPs", "Mode")
_LEAST = 8  # characters that are left of a name or a type


def fit_columns(
    columns: Sequence[tuple[str, Sequence[str]]], room: int, between: int = 3
) -> list[tuple[str, Sequence[str]]]:
    """Leaves out of a summary what a line has no room for, and shortens names that are long.

    Args:
        columns: Header and cells of each column.
        room: The characters of a line.
        between: How many of them stand between two columns.

    Returns:
        The columns that are shown.

    Example:
        >>> fit_columns([("Name", ["encoder"]), ("Params", ["12"]), ("FLOPs", ["300"])], 20)
        [('Name', ['encoder']), ('Params', ['12'])]
    """
    kept = list(columns)
    for title in _GIVEN_UP:
        if _excess(kept, room, between) > 0:
            kept = [column for column in kept if column[0] != title]
    for number in sorted(range(len(kept)), key=lambda index: -_width(kept[index])):
        title, cells = kept[number]
        excess = _excess(kept, room, between)
        if excess > 0 and title in ("Name", "Type"):
            most = max(_width(kept[number]) - excess, _LEAST)
            kept[number] = (title, [_shortened(cell, most) for cell in cells])
    return kept


def _width(column: tuple[str, Sequence[str]]) -> int:
    return max(map(len, (column[0], *column[1])))


def _excess(columns: Sequence[tuple[str, Sequence[str]]], room: int, between: int) -> int:
    return sum(_width(column) + between for column in columns) - between - room


def _shortened(text: str, most: int) -> str:
    head = (most - 1) // 2
    return text if len(text) <= most else f"{text[:head]}…{text[head + 1 - most :]}"


def format_table(
    columns: Sequence[tuple[str, Sequence[str]]],
    total_parameters: int,
    trainable_parameters: int,
    model_size: float,
    training_modes: Mapping[str, int],
    total_flops: int,
) -> str:
    """Writes a summary as plain text.

    Args:
        columns: Header and cells of each column.
        total_parameters: The number of parameters.
        trainable_parameters: How many of them are trained.
        model_size: The parameters' size in megabytes.
        training_modes: How many modules are in mode ``"train"`` and in mode ``"eval"``.
        total_flops: The floating point operations of one forward pass.

    Returns:
        The table and, below it, the totals.
    """
    widths = [max(len(header), *map(len, cells)) if cells else len(header) for header, cells in columns]
    rows = zip(*(cells for _, cells in columns), strict=True)
    lines = [_line([header for header, _ in columns], widths), *(_line(row, widths) for row in rows)]
    # Where the rule is longer than the lines, it always has been: scripts that parse the table count on it.
    rule = "-" * (sum(widths) + 3 * (len(widths) + 1))
    totals = [
        (get_human_readable_count(trainable_parameters), "Trainable params"),
        (get_human_readable_count(total_parameters - trainable_parameters), "Non-trainable params"),
        (get_human_readable_count(total_parameters), "Total params"),
        (get_formatted_model_size(model_size), "Total estimated model params size (MB)"),
        (str(training_modes["train"]), "Modules in train mode"),
        (str(training_modes["eval"]), "Modules in eval mode"),
        (get_human_readable_count(total_flops), "Total Flops"),
    ]
    return "\n".join([lines[0], rule, *lines[1:], rule, *(f"{value:<10}{what}" for value, what in totals)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " | ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
