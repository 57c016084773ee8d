"""The columns of the rich progress bar, each made when it is first asked for, because their bases are rich's."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.progress.refresh import INTERVAL
from fulmen.callbacks.progress.rich_layout import lay_out
from fulmen.utilities.imports import require

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Task, TaskID
    from rich.progress_bar import ProgressBar
    from rich.style import Style
    from rich.text import Text

_PUBLIC = "fulmen.callbacks.progress.rich_progress"


@functools.cache
def bar_column() -> Any:
    """The class of the bar itself."""
    require("rich", "rich", "RichProgressBar")
    from rich.progress import BarColumn

    class CustomBarColumn(BarColumn):
        """The bar; one without a known end moves to and fro."""

        def render(self, task: Task) -> ProgressBar:
            """Draws the bar of a task."""
            from rich.progress_bar import ProgressBar

            known = task.total is not None and math.isfinite(task.total)
            return ProgressBar(
                total=max(0, task.total) if known and task.total is not None else None,
                completed=max(0, task.completed),
                width=None if self.bar_width is None else max(1, self.bar_width),
                pulse=not task.started or not known,
                animation_time=task.get_time(),
                style=self.style,
                complete_style=self.complete_style,
                finished_style=self.finished_style,
                pulse_style=self.pulse_style,
            )

    return _public(CustomBarColumn)


@functools.cache
def infinite_task() -> Any:
    """The class of a task without a known end."""
    require("rich", "rich", "RichProgressBar")
    from rich.progress import Task

    class CustomInfiniteTask(Task):
        """A task whose number of batches is not known, for an `IterableDataset`."""

        @property
        def time_remaining(self) -> float | None:
            """Nobody knows."""
            return None

    return _public(CustomInfiniteTask)


@functools.cache
def progress_class() -> Any:
    """The class of the display with all bars."""
    require("rich", "rich", "RichProgressBar")
    from rich.progress import Progress, Task

    class CustomProgress(Progress):
        """All bars; draws when it is told to, and not from a thread."""

        def get_renderables(self) -> Iterator[RenderableType]:
            """The bars, and the values beside them or below."""
            return lay_out(self)

        def start(self) -> None:
            """Begins to show the bars."""
            if not self.disable:
                self.live.start(refresh=False)

        def stop(self) -> None:
            """Leaves the bars as they are."""
            if not self.disable:
                self.live.stop()

        def soft_refresh(self) -> None:
            """Draws, unless the last drawing was less than a tenth of a second ago."""
            now = monotonic()
            if now >= getattr(self, "_next_drawing", 0.0):
                self._next_drawing = now + INTERVAL
                self.refresh()

        def add_task(
            self,
            description: str,
            start: bool = True,
            total: float | None = 100.0,
            completed: int = 0,
            visible: bool = True,
            **fields: Any,
        ) -> TaskID:
            """Adds a bar. See ``rich.progress.Progress.add_task``; a total of None or infinity is not known."""
            # Not by way of rich's own method, which draws at once.
            known = total is not None and math.isfinite(total)
            task = (Task if known else infinite_task())(
                self._task_index, description, total if known else None, completed, visible=visible, fields=fields,
                _get_time=self.get_time, _lock=self._lock,
            )  # fmt: skip
            return self.add_custom_task(task, start)

        def add_custom_task(self, task: Task, start: bool = True) -> TaskID:
            """Adds a bar for a task of one's own class.

            Args:
                task: The task.
                start: Whether its time begins now.

            Returns:
                The task's number.
            """
            with self._lock:
                self._tasks[self._task_index] = task
                if start:
                    self.start_task(self._task_index)
                number = self._task_index
                self._task_index = type(number)(int(number) + 1)
            return number

    return _public(CustomProgress)


def _text_column(name: str, doc: str, render: Any, **members: Any) -> Any:
    require("rich", "rich", "RichProgressBar")
    from rich.progress import ProgressColumn

    def __init__(self: Any, style: str | Style) -> None:
        self.style = style
        ProgressColumn.__init__(self)

    namespace = {"__doc__": doc, "__init__": __init__, "render": render, **members}
    return _public(type(name, (ProgressColumn,), namespace))


def _styled(text: str, style: str | Style) -> Text:
    from rich.text import Text

    return Text(text, style=style)


@functools.cache
def time_column() -> Any:
    """The class of the column with the time that has passed and the time that is left."""

    def render(self: Any, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        remaining = task.time_remaining
        texts = ("-:--:--" if t is None else str(timedelta(seconds=int(t))) for t in (elapsed, remaining))
        return _styled(" • ".join(texts), self.style)

    doc = "The time that has passed and the time that is left."
    return _text_column("CustomTimeColumn", doc, render, max_refresh=0.5)


@functools.cache
def batches_column() -> Any:
    """The class of the column with the number of batches."""

    def render(self: Any, task: Task) -> Text:
        total = "--" if task.total is None or not math.isfinite(task.total) else f"{int(task.total)}"
        return _styled(f"{int(task.completed)}/{total}", self.style)

    return _text_column("BatchesProcessedColumn", "The batches done and all there are.", render)


@functools.cache
def speed_column() -> Any:
    """The class of the column with the speed."""

    def render(self: Any, task: Task) -> Text:
        # rich measures between drawings; until there are two, the mean will do.
        elapsed = task.finished_time or task.elapsed
        speed = task.finished_speed or task.speed or (task.completed / elapsed if elapsed else 0.0)
        return _styled(f"{speed:.2f}it/s", self.style)

    return _text_column("ProcessingSpeedColumn", "The batches a second.", render)


@functools.cache
def metrics_column() -> Any:
    """The class of the column with the logged values."""
    require("rich", "rich", "RichProgressBar")
    from rich.progress import ProgressColumn

    class MetricsTextColumn(ProgressColumn):
        """The values logged with ``prog_bar=True``, beside the bar of training.

        Args:
            trainer: The Trainer.
            style: How to write them.
            text_delimiter: What stands between two.
            metrics_format: How to format a number.
        """

        def __init__(self, trainer: Any, style: str | Style, text_delimiter: str, metrics_format: str) -> None:
            self._trainer = trainer
            self._style = style
            self._text_delimiter = text_delimiter
            self._metrics_format = metrics_format
            self._metrics: dict[str, Any] = {}
            super().__init__()

        def update(self, metrics: dict[str, Any]) -> None:
            """Takes new values to show from the next drawing on."""
            self._metrics = metrics

        def render(self, task: Task) -> Text:
            """Writes the values beside the bar of training, and nothing beside the others."""
            if not task.fields.get("metrics", False):
                return _styled("", self._style)
            shown = (f"{name}: {self._format(value)}" for name, value in self._metrics.items())
            return _styled(self._text_delimiter.join(shown), self._style)

        def lines(self) -> Text:
            """The values for lines of their own, of which none breaks in the midst of a value."""
            shown = (f"{name}:\u00a0{self._format(value)}" for name, value in self._metrics.items())
            return _styled(self._text_delimiter.join(shown), self._style)

        def _format(self, value: Any) -> str:
            return f"{value:{self._metrics_format}}" if isinstance(value, float) else str(value)

    return _public(MetricsTextColumn)


def _public(cls: Any) -> Any:
    """Gives a class the place where it is found, for pickle and for people."""
    cls.__module__, cls.__qualname__ = _PUBLIC, cls.__name__
    return cls


CLASSES = {
    "BatchesProcessedColumn": batches_column,
    "CustomBarColumn": bar_column,
    "CustomInfiniteTask": infinite_task,
    "CustomProgress": progress_class,
    "CustomTimeColumn": time_column,
    "MetricsTextColumn": metrics_column,
    "ProcessingSpeedColumn": speed_column,
}
