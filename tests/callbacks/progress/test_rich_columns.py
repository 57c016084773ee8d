from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from fulmen.callbacks.progress import rich_progress
from fulmen.callbacks.progress.rich_columns import CLASSES

from .runs import Time

pytest.importorskip("rich", reason="the columns are rich's")


def test_drawing_softly_waits_a_tenth_of_a_second(clock: Time) -> None:
    from rich.console import Console

    progress = rich_progress.CustomProgress(console=Console(file=sys.stderr), auto_refresh=False)
    drawn = []
    progress.refresh = lambda: drawn.append(clock.now)
    for _ in range(100):
        clock.now += 1 / 64
        progress.soft_refresh()
    assert len(drawn) == 15


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_classes_are_found_where_they_say(name: str) -> None:
    found = getattr(rich_progress, name)
    assert (found.__module__, found.__qualname__) == (rich_progress.__name__, name)
    assert found is getattr(rich_progress, name)


def _progress(*columns: Any, now: float = 0.0) -> Any:
    from rich.console import Console

    console = Console(file=sys.stderr)
    return rich_progress.CustomProgress(*columns, console=console, auto_refresh=False, get_time=lambda: now)


def _cell(column: Any, **fields: Any) -> str:
    progress = _progress(column)
    number = progress.add_task("task", **{"total": 10, **fields})
    progress.update(number, completed=4)
    return str(column(progress.tasks[0]))


@pytest.mark.parametrize(("total", "text"), [(10, "4/10"), (None, "4/--"), (math.inf, "4/--")])
def test_batches(total: float | None, text: str) -> None:
    assert _cell(rich_progress.BatchesProcessedColumn(style=""), total=total) == text


def test_time_that_nobody_knows() -> None:
    assert _cell(rich_progress.CustomTimeColumn(style=""), total=None) == "0:00:00 • -:--:--"


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ({"finished_speed": 5.0}, "5.00it/s"),
        ({"speed": 3.0, "elapsed": 4.0}, "3.00it/s"),
        ({"elapsed": 2.0}, "2.00it/s"),
        ({"elapsed": 0.0}, "0.00it/s"),
    ],
)
def test_speed(task: dict[str, Any], text: str) -> None:
    known = {"finished_speed": None, "speed": None, "finished_time": None, "elapsed": None, "completed": 4, **task}
    assert str(rich_progress.ProcessingSpeedColumn(style="").render(SimpleNamespace(**known))) == text


def test_values_stand_beside_the_bar_of_training_alone() -> None:
    column = rich_progress.MetricsTextColumn(None, style="", text_delimiter=", ", metrics_format=".2f")
    column.update({"v_num": 3, "loss": 0.125, "name": "abc"})
    assert _cell(column, metrics=True) == "v_num: 3, loss: 0.12, name: abc"
    assert _cell(column) == ""


def test_a_task_without_an_end_has_no_time_left() -> None:
    progress = _progress()
    progress.add_task("task", total=None)
    (task,) = progress.tasks
    assert isinstance(task, rich_progress.CustomInfiniteTask)
    assert task.time_remaining is None


def test_adding_a_task_draws_nothing() -> None:
    progress = _progress()
    progress.refresh = lambda: pytest.fail("drawn")
    numbers = [progress.add_task("task", total=total) for total in (10, None)]
    assert numbers == [0, 1]
    assert [task.started for task in progress.tasks] == [True, True]


@pytest.mark.parametrize("total", [10, None])
def test_the_bar(total: float | None) -> None:
    column = rich_progress.CustomBarColumn(complete_style="red")
    progress = _progress(column)
    progress.update(progress.add_task("task", total=total), completed=4)
    bar = column(progress.tasks[0])
    assert (bar.completed, bar.total, bar.pulse, bar.complete_style) == (4, total, total is None, "red")
