"""What the display of rich's shows where not all has room: the values on lines of their own, and fewer columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, Task

_BAR = 10  # the least columns of a bar
_GIVEN_UP = ("CustomTimeColumn", "ProcessingSpeedColumn", "CustomBarColumn")  # in this order
_VALUES = "MetricsTextColumn"


def lay_out(progress: Progress) -> Iterator[RenderableType]:
    """The table of the bars and, once they have no room in it, the values below.

    Args:
        progress: The display. Values that have gone below stay there, so that nothing jumps.
    """
    tasks = [task for task in progress.tasks if task.visible]
    if not tasks:  # also while the display is being made
        yield progress.make_tasks_table(tasks)
        return
    room = progress.console.width
    columns = list(progress.columns)
    display: Any = progress
    display.values_below = getattr(progress, "values_below", False) or _width(progress, columns, tasks) > room
    if not display.values_below:
        yield progress.make_tasks_table(progress.tasks)
        return
    values: list[Any] = [column for column in columns if _is(column, _VALUES)]
    columns = [column for column in columns if not _is(column, _VALUES)]
    for name in _GIVEN_UP:
        if _width(progress, columns, tasks) > room:
            columns = [column for column in columns if not _is(column, name)]
    kept, progress.columns = progress.columns, tuple(columns)
    try:
        yield progress.make_tasks_table(progress.tasks)
    finally:
        progress.columns = kept
    for column in values:
        if any(task.fields.get("metrics", False) for task in tasks):
            yield column.lines()


def _is(column: Any, name: str) -> bool:
    return any(base.__name__ == name for base in type(column).__mro__)


def _width(progress: Progress, columns: list[Any], tasks: list[Task]) -> int:
    """How many columns of the terminal a table needs so that nothing in it is cut or broken."""
    return sum(max((_cell(progress, column, task) for task in tasks), default=0) + 1 for column in columns) - 1


def _cell(progress: Progress, column: Any, task: Task) -> int:
    from rich.measure import Measurement
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    if isinstance(column, str):
        return Text.from_markup(column.format(task=task)).cell_len
    cell = column(task)
    if isinstance(cell, Text):
        return cell.cell_len
    if isinstance(cell, ProgressBar):
        return min(cell.width or _BAR, _BAR)
    return Measurement.get(progress.console, progress.console.options, cell).minimum
