"""Shows progress with rich."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.progress.clocked_bar import ClockedBar
from fulmen.callbacks.progress.progress_bar import not_yet
from fulmen.callbacks.progress.refresh import INTERVAL, RefreshClock
from fulmen.callbacks.progress.rich_columns import CLASSES
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.imports import require

if TYPE_CHECKING:
    from rich.style import Style

    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


def __getattr__(name: str) -> Any:
    if name in CLASSES:  # subclasses of rich's, which is imported when they are needed
        return CLASSES[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass
class RichProgressBarTheme:
    """How the parts of the bar look, each a style of rich's such as ``"green"`` or ``"bold #6206E0"``.

    Attributes:
        description: What stands before the bar.
        progress_bar: The bar.
        progress_bar_finished: The bar when all is done.
        progress_bar_pulse: The bar of which the end is not known.
        batch_progress: The number of batches.
        time: The time passed and left.
        processing_speed: The batches a second.
        metrics: The logged values.
        metrics_text_delimiter: What stands between two values.
        metrics_format: How to format numbers.
    """

    description: str | Style = ""
    progress_bar: str | Style = "#6206E0"
    progress_bar_finished: str | Style = "#6206E0"
    progress_bar_pulse: str | Style = "#6206E0"
    batch_progress: str | Style = ""
    time: str | Style = "dim"
    processing_speed: str | Style = "dim underline"
    metrics: str | Style = "italic"
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"


def _task(kind: str, text: str) -> property:
    def get(self: RichProgressBar) -> Any:
        if kind not in self._tasks:
            raise TypeError(not_yet(f"The bar of `{type(self).__name__}` for `{kind}`", "Use it while that runs."))
        return self._find(kind)

    return property(get, doc=text)


class RichProgressBar(ClockedBar):
    """Shows bars for training, validation, testing and prediction with the package `rich`.

    It is drawn by the wall clock: at most ten times a second, and always when an epoch's last batch is done, unless
    epochs fly by faster than that. Jupyter and Colab are terminals too. Where a line cannot be overwritten (a file, a
    pipe, the log of a build) there is a plain line at the end of each epoch, at most one a second in the long run,
    and one every 30 seconds in epochs that take longer.

    Args:
        refresh_rate: At most how many drawings a second; more than ten count as ten. 0 shows no bar.
        leave: Whether to leave the bar of each epoch on the screen, instead of one that starts again.
        theme: How the parts look.
        console_kwargs: Arguments of ``rich.console.Console``.

    Raises:
        MisconfigurationException: If `refresh_rate` is negative.
        ModuleNotFoundError: If `rich` is not installed.

    Example:
        >>> bar = RichProgressBar(theme=RichProgressBarTheme(progress_bar="green", metrics_format=".3e"))
    """

    val_sanity_check_bar = _task("sanity_check", "The bar of the sanity check.")
    train_progress_bar = _task("train", "The bar of training.")
    val_progress_bar = _task("validation", "The bar of validation.")
    test_progress_bar = _task("test", "The bar of testing.")
    predict_progress_bar = _task("predict", "The bar of prediction.")

    def __init__(
        self,
        refresh_rate: int = 100,
        leave: bool = False,
        theme: RichProgressBarTheme = RichProgressBarTheme(),  # noqa: B008
        console_kwargs: dict[str, Any] | None = None,
    ) -> None:
        require("rich", "rich", "RichProgressBar")
        require("rich.style", "rich", "RichProgressBar")  # draws a number on import, which `require` gives back
        if refresh_rate < 0:
            raise MisconfigurationException(
                "`refresh_rate` must be 0 or more.", got=refresh_rate, fix="Pass drawings a second, or 0 for no bar."
            )
        self.theme = theme
        self._console_kwargs = console_kwargs or {}
        super().__init__(refresh_rate, leave)

    def _begin_run(self) -> None:
        super()._begin_run()
        self.progress: Any = None
        self._console: Any = None
        self._metric_component: Any = None
        self._tasks: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        nothing = dict.fromkeys(("_trainer", "progress", "_console", "_metric_component"))
        return {**self.__dict__, **nothing, "_tasks": {}}

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """The columns of the display, but for the one with the logged values, which comes last. Override to change.

        Args:
            trainer: The Trainer.

        Returns:
            Columns: ``rich.progress.ProgressColumn`` or format strings.
        """
        from rich.progress import TextColumn

        theme = self.theme
        return [
            TextColumn("[progress.description]{task.description}"),
            CLASSES["CustomBarColumn"]()(
                complete_style=theme.progress_bar,
                finished_style=theme.progress_bar_finished,
                pulse_style=theme.progress_bar_pulse,
            ),
            CLASSES["BatchesProcessedColumn"]()(style=theme.batch_progress),
            CLASSES["CustomTimeColumn"]()(style=theme.time),
            CLASSES["ProcessingSpeedColumn"]()(style=theme.processing_speed),
        ]

    # The base takes whatever comes, these what Lightning's bar takes.

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_sanity_check_start(trainer, pl_module)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_sanity_check_end(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)

    def refresh(self, hard: bool = False) -> None:
        """Draws the bars.

        Args:
            hard: Whether to draw even if the last drawing was less than a tenth of a second ago.
        """
        if self.progress is not None and not self._lines:
            if hard:
                self.progress.refresh()
            else:
                self.progress.soft_refresh()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Prints above the bars.

        Args:
            *args: As for ``rich.console.Console.print``.
            **kwargs: As for ``rich.console.Console.print``.
        """
        if self._console is None:
            super().print(*args, **kwargs)
        else:
            self._console.print(*args, **kwargs)

    def _redraws(self) -> bool:
        from rich.console import Console

        self._console = Console(**self._console_kwargs)
        terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        return bool(terminal or self._console.is_jupyter)

    def _make_clock(self) -> RefreshClock:
        return RefreshClock(interval=max(INTERVAL, 1 / self._refresh_rate)) if self._refresh_rate else RefreshClock()

    def _describe_epoch(self, trainer: Trainer) -> str:
        return self._get_train_description(trainer.current_epoch)

    def _get_train_description(self, current_epoch: int) -> str:
        """What stands before the bar of an epoch; published bars replace it."""
        epochs = self.trainer.max_epochs
        of = f"/{epochs - 1}" if epochs is not None and epochs > 0 else ""
        return f"Epoch {current_epoch}{of} "

    def _describe_loader(self, description: str, dataloader_idx: int) -> str:
        return description

    def _open(self, kind: str) -> None:
        if self.progress is None:
            theme = self.theme
            self._metric_component = CLASSES["MetricsTextColumn"]()(
                self.trainer, theme.metrics, theme.metrics_text_delimiter, theme.metrics_format
            )
            self.progress = CLASSES["CustomProgress"]()(
                *self.configure_columns(self.trainer),
                self._metric_component,
                auto_refresh=False,
                disable=self.is_disabled or self._lines,
                console=self._console,
            )
            self.progress.start()
        self._restart(kind, float("inf"), self._description(kind))

    def _restart(self, kind: str, total: int | float, description: str) -> None:
        if kind in self._tasks:
            self.progress.remove_task(self._tasks[kind])
        if self.theme.description:
            description = f"[{self.theme.description}]{description}"
        self._tasks[kind] = self.progress.add_task(description, total=total, metrics=kind == "train")

    def _find(self, kind: str) -> Any:
        return next(task for task in self.progress.tasks if task.id == self._tasks[kind])

    def _set(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        self.progress.update(self._tasks[kind], completed=n)
        if metrics is not None:
            self._metric_component.update(metrics)

    def _draw(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        self._set(kind, n, metrics)
        self.progress.refresh()

    def _write(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        from rich.progress import ProgressColumn
        from rich.text import Text

        self._set(kind, n, metrics)
        task = self._find(kind)
        cells = [column(task) for column in self.progress.columns if isinstance(column, ProgressColumn)]
        line = Text(" ").join(cell for cell in cells if isinstance(cell, Text) and cell.plain)
        self._console.print(line, soft_wrap=True)

    def _close(self, kind: str, n: int, metrics: dict[str, Any] | None) -> None:
        self._set(kind, n, metrics)
        if kind == "sanity_check" or (kind == "validation" and self._training):
            self.progress.remove_task(self._tasks.pop(kind))
        else:
            self._stop()

    def _abandon(self) -> None:
        if self.progress is None:
            return
        try:
            self._stop()
        except Exception:
            # Ctrl-C may strike in the midst of a drawing; what rich then trips over must not hide it.
            self._console.show_cursor()
            self._end()

    def _stop(self) -> None:
        if self._console.is_jupyter:  # elsewhere the end of the display draws it once more
            self.progress.refresh()
        self.progress.stop()
        self._end()

    def _end(self) -> None:
        self.progress = None
        self._tasks = {}
