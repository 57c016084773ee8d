"""``self.log`` for numbers, checked once a key and then only appended to; ``log_image`` and its like for all else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from torch import Tensor

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    from torchmetrics import Metric


class LogOptions(NamedTuple):
    """What one call of ``self.log`` asked for, in the order of its arguments."""

    prog_bar: bool
    logger: bool | None
    on_step: bool | None
    on_epoch: bool | None
    reduce_fx: str | Callable[..., Any]
    enable_graph: bool
    sync_dist: bool
    sync_dist_group: Any
    add_dataloader_idx: bool
    metric_attribute: str | None
    rank_zero_only: bool


class Entry(Protocol):
    """Where the values of one key go."""

    asked: tuple[Any, ...]
    take: Callable[[Any, int | None], None]


class LogBook(Protocol):
    """What ``self.log`` needs of the loops: the entries of the hook that runs, and a way to open one."""

    entries: dict[str, Any]

    def admit(self, name: str, value: Any, asked: LogOptions) -> Any:
        """Checks a key's options, opens its entry, and returns it."""


class LoggingMixin:
    """Gives a module ``log`` and ``log_dict``."""

    _logbook: LogBook | None

    def log(
        self,
        name: str,
        value: Metric | Tensor | float,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Logs a scalar under a name.

        Args:
            name: The key. The same key may be logged once from each hook.
            value: A number, a tensor with one element, or a TorchMetrics metric.
            prog_bar: Show it in the progress bar.
            logger: Send it to the loggers (default: yes).
            on_step: Log the value of each step. Default: yes in the hooks of a training batch, no elsewhere.
            on_epoch: Log the value reduced over the epoch. Default: the opposite of `on_step`'s default.
            reduce_fx: How steps become the epoch's value: ``"mean"`` (weighted by batch size), ``"sum"``, ``"max"``
                or ``"min"``. A metric reduces itself.
            enable_graph: Keep the autograd graph of the value.
            sync_dist: Reduce values of single steps over processes when they are sent to loggers; else these get the
                first process's own. Values of epochs are always those of all processes.
            sync_dist_group: The process group to reduce over, in place of all processes.
            add_dataloader_idx: With several evaluation loaders, append ``/dataloader_idx_N`` to the key.
            batch_size: The weight of this batch in the mean. Default: read off the batch.
            metric_attribute: The name of the module's attribute that holds the metric, where it cannot be found.
            rank_zero_only: Log on rank 0 alone, the value of its own.

        Raises:
            MisconfigurationException: If the value is no scalar, the key is logged with other options in the same
                hook, or the hook allows no logging.
        """
        book = self._logbook
        if book is None:
            warn_once(
                "`self.log` was called on a module that no Trainer runs, so the value goes nowhere. Call it from a "
                "hook of a module that `Trainer.fit`, `validate` or `test` runs."
            )
            return
        asked = (
            prog_bar, logger, on_step, on_epoch, reduce_fx, enable_graph, sync_dist, sync_dist_group,
            add_dataloader_idx, metric_attribute, rank_zero_only,
        )  # fmt: skip
        try:
            entry = book.entries.get(name)
        except TypeError:  # a key that is no string, as `admit` will say
            entry = None
        if entry is None or entry.asked != asked:
            entry = book.admit(name, value, LogOptions(*asked))
        entry.take(value, batch_size)

    def log_dict(
        self,
        dictionary: Mapping[str, Metric | Tensor | float],
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Logs several scalars with the same options.

        Args:
            dictionary: The values by key; a ``MetricCollection`` is one.
            prog_bar: See :meth:`log`, also for the arguments that follow.
            logger: See :meth:`log`.
            on_step: See :meth:`log`.
            on_epoch: See :meth:`log`.
            reduce_fx: See :meth:`log`.
            enable_graph: See :meth:`log`.
            sync_dist: See :meth:`log`.
            sync_dist_group: See :meth:`log`.
            add_dataloader_idx: See :meth:`log`.
            batch_size: See :meth:`log`.
            rank_zero_only: See :meth:`log`.

        Raises:
            MisconfigurationException: As :meth:`log` does, or if `dictionary` is none.
        """
        if not isinstance(dictionary, Mapping) and not hasattr(dictionary, "items"):
            raise MisconfigurationException(
                "`self.log_dict` takes a mapping of names to values.",
                got=f"{type(dictionary).__name__}",
                fix='Write `self.log_dict({"loss": loss, "acc": acc})`, or `self.log("loss", loss)` for one value.',
            )
        kwargs: dict[str, Any] = {"keep_base": False} if _is_collection(dictionary) else {}
        for name, value in dictionary.items(**kwargs):
            self.log(
                name, value, prog_bar=prog_bar, logger=logger, on_step=on_step, on_epoch=on_epoch,
                reduce_fx=reduce_fx, enable_graph=enable_graph, sync_dist=sync_dist,
                sync_dist_group=sync_dist_group, add_dataloader_idx=add_dataloader_idx, batch_size=batch_size,
                rank_zero_only=rank_zero_only,
            )  # fmt: skip


def _is_collection(dictionary: object) -> bool:
    return any(
        base.__name__ == "MetricCollection" and base.__module__.startswith("torchmetrics")
        for base in type(dictionary).__mro__
    )


class MediaLogging:
    """Gives a Trainer, and every logger, one way to log pictures, figures, tables, text, sound, videos and histograms.

    What is given is copied, so training may go on with it at once. On ranks other than 0 nothing happens.
    """

    def _log_media(self, form: str, key: str, step: int | None, *given: Any) -> None:
        """Takes what was logged.

        Args:
            form: The function of ``loggers.media`` that brings it into the form which all loggers rely on.
            key: What it is logged as.
            step: The step it belongs to.
            *given: What that function takes.
        """
        raise NotImplementedError

    def log_image(self, key: str, images: Any, step: int | None = None, *, caption: Any = None, **kwargs: Any) -> None:
        """Logs a picture, or several.

        Args:
            key: What to log it as.
            images: A tensor, an array or a picture of Pillow; a list of them; or a batch of shape (batch, ...). The
                shape is (channels, height, width), (height, width, channels) or (height, width), with 1, 3 or 4
                channels. If it could be the first or the second, it is the first for a tensor, the second for an array.
                Floating point numbers go from 0 to 1, integers from 0 to 255; True is white.
            step: The step it belongs to; None for the present one.
            caption: What to write below it; a list for several.
            **kwargs: What some loggers take besides.

        Raises:
            MisconfigurationException: If it is no picture.

        Example:
            ``self.trainer.log_image("reconstructions", self.decode(z)[:8])``
        """
        self._log_media("images_of", key, step, images, caption)

    def log_figure(self, key: str, figure: Any, step: int | None = None, *, close: bool = False) -> None:
        """Logs a figure of matplotlib, as it looks now.

        Args:
            key: What to log it as.
            figure: The figure, or axes in it.
            step: The step it belongs to; None for the present one.
            close: Whether to close the figure afterwards, which matplotlib keeps otherwise.

        Raises:
            MisconfigurationException: If it is no figure.
        """
        self._log_media("figures_of", key, step, figure)
        if close and (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
            pyplot.close(figure if hasattr(figure, "canvas") else figure.get_figure())

    def log_table(
        self, key: str, columns: Any = None, data: Any = None, dataframe: Any = None, step: int | None = None
    ) -> None:
        """Logs a table.

        Args:
            key: What to log it as.
            columns: The names of the columns; or a dictionary of columns, or a data frame, without `data`.
            data: The rows: lists, an array or a tensor.
            dataframe: A data frame of pandas or its like, instead of both.
            step: The step it belongs to; None for the present one.

        Raises:
            MisconfigurationException: If there is no table in it.

        Example:
            ``self.trainer.log_table("errors", columns=["digit", "taken for"], data=[[3, 8], [4, 9]])``
        """
        self._log_media("tables_of", key, step, columns, data, dataframe)

    def log_text(self, key: str, text: Any, *, step: int | None = None) -> None:
        """Logs text.

        Args:
            key: What to log it as.
            text: The text, in which Markdown may be used; a list for several.
            step: The step it belongs to; None for the present one.
        """
        self._log_media("texts_of", key, step, text)

    def log_audio(
        self,
        key: str,
        audios: Any,
        step: int | None = None,
        *,
        sample_rate: Any = None,
        caption: Any = None,
        **kwargs: Any,
    ) -> None:
        """Logs sound.

        Args:
            key: What to log it as.
            audios: A tensor or an array of shape (samples,), (channels, samples) or (samples, channels), or a list of
                them. Floating point numbers go from -1 to 1, integers over the range of their type.
            step: The step it belongs to; None for the present one.
            sample_rate: Samples a second; None for 44,100. A list for several.
            caption: What to write below it; a list for several.
            **kwargs: What some loggers take besides.

        Raises:
            MisconfigurationException: If it is no sound.
        """
        self._log_media("audios_of", key, step, audios, sample_rate, caption)

    def log_video(
        self, key: str, videos: Any, step: int | None = None, *, fps: Any = None, caption: Any = None, **kwargs: Any
    ) -> None:
        """Logs a video.

        Args:
            key: What to log it as.
            videos: A tensor or an array of shape (frames, channels, height, width), with a batch before that for
                several, or a list of them. 1 or 3 channels, numbers as for `log_image`.
            step: The step it belongs to; None for the present one.
            fps: Frames a second; None for 4. A list for several.
            caption: What to write below it; a list for several.
            **kwargs: What some loggers take besides.

        Raises:
            MisconfigurationException: If it is no video.
        """
        self._log_media("videos_of", key, step, videos, fps, caption)

    def log_histogram(self, key: str, values: Any, step: int | None = None, *, bins: int = 64) -> None:
        """Logs how values are distributed.

        Args:
            key: What to log it as.
            values: A tensor, an array or a list of numbers of any shape. Those that are not finite are left out.
            step: The step it belongs to; None for the present one.
            bins: How many classes to show them in.

        Raises:
            MisconfigurationException: If there are other things than numbers in it.
        """
        self._log_media("histograms_of", key, step, values, bins)
