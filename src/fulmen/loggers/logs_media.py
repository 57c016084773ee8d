"""One way to log pictures, figures, tables, text, sound, videos and histograms, for a Trainer and for every logger."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from fulmen.loggers import media
from fulmen.utilities.rank_zero import rank_zero_only


class LogsMedia:
    """Brings what is logged into one form, and hands it to `log_media`.

    What is given is copied, so training may go on with it at once. On ranks other than 0 nothing happens.
    """

    @abstractmethod
    def log_media(self, key: str, items: Sequence[media.Media], step: float | None = None) -> None:
        """Takes what was logged.

        Args:
            key: What it is logged as.
            items: One or several, all of one kind.
            step: The step it belongs to.
        """

    def takes_media(self) -> bool:
        """Whether somebody wants what would be logged; if not, it is not even looked at."""
        return True

    @rank_zero_only
    def log_image(self, key: str, images: Any, step: int | None = None, *, caption: Any = None, **kwargs: Any) -> None:
        """Logs a picture, or several.

        Args:
            key: What to log it as.
            images: A tensor, an array or a picture of Pillow; a list of them; or a batch of shape (batch, ...). The
                shape is (channels, height, width), (height, width, channels) or (height, width), with 1, 3 or 4
                channels. If it could be the first or the second, it is the first for a tensor, the second for an array.
                Floating point numbers go from 0 to 1, integers from 0 to 255; True is white.
            step: The step it belongs to.
            caption: What to write below it; a list for several.
            **kwargs: What some loggers take besides.

        Raises:
            MisconfigurationException: If it is no picture.

        Example:
            ``self.trainer.log_image("reconstructions", self.decode(z)[:8])``
        """
        if self.takes_media():
            self.log_media(key, media.images_of(images, caption), step)

    @rank_zero_only
    def log_figure(self, key: str, figure: Any, step: int | None = None, *, close: bool = False) -> None:
        """Logs a figure of matplotlib, as it looks now.

        Args:
            key: What to log it as.
            figure: The figure, or axes in it.
            step: The step it belongs to.
            close: Whether to close the figure afterwards, which matplotlib keeps otherwise.

        Raises:
            MisconfigurationException: If it is no figure.
        """
        if self.takes_media():
            self.log_media(key, [media.figure_of(figure)], step)
        if close:
            media.close_figure(figure)

    @rank_zero_only
    def log_table(
        self, key: str, columns: Any = None, data: Any = None, dataframe: Any = None, step: int | None = None
    ) -> None:
        """Logs a table.

        Args:
            key: What to log it as.
            columns: The names of the columns; or a dictionary of columns, or a data frame, without `data`.
            data: The rows: lists, an array or a tensor.
            dataframe: A data frame of pandas or its like, instead of both.
            step: The step it belongs to.

        Raises:
            MisconfigurationException: If there is no table in it.

        Example:
            ``self.trainer.log_table("errors", columns=["digit", "taken for"], data=[[3, 8], [4, 9]])``
        """
        if self.takes_media():
            self.log_media(key, [media.table_of(columns, data, dataframe)], step)

    @rank_zero_only
    def log_text(self, key: str, text: Any, *, step: int | None = None) -> None:
        """Logs text.

        Args:
            key: What to log it as.
            text: The text, in which Markdown may be used.
            step: The step it belongs to.
        """
        if self.takes_media():
            self.log_media(key, [media.text_of(text)], step)

    @rank_zero_only
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
            step: The step it belongs to.
            sample_rate: Samples a second; None for 44,100. A list for several.
            caption: What to write below it; a list for several.
            **kwargs: What some loggers take besides.

        Raises:
            MisconfigurationException: If it is no sound.
        """
        if self.takes_media():
            self.log_media(key, media.audios_of(audios, sample_rate, caption), step)

    @rank_zero_only
    def log_video(
        self, key: str, videos: Any, step: int | None = None, *, fps: Any = None, caption: Any = None, **kwargs: Any
    ) -> None:
        """Logs a video.

        Args:
            key: What to log it as.
            videos: A tensor or an array of shape (frames, channels, height, width), with a batch before that for
                several, or a list of them. 1 or 3 channels, numbers as for `log_image`.
            step: The step it belongs to.
            fps: Frames a second; None for 4. A list for several.
            caption: What to write below it; a list for several.
            **kwargs: What some loggers take besides.

        Raises:
            MisconfigurationException: If it is no video.
        """
        if self.takes_media():
            self.log_media(key, media.videos_of(videos, fps, caption), step)

    @rank_zero_only
    def log_histogram(self, key: str, values: Any, step: int | None = None, *, bins: int = 64) -> None:
        """Logs how values are distributed.

        Args:
            key: What to log it as.
            values: A tensor, an array or a list of numbers of any shape. Those that are not finite are left out.
            step: The step it belongs to.
            bins: How many classes to show them in.

        Raises:
            MisconfigurationException: If there are other things than numbers in it.
        """
        if self.takes_media():
            self.log_media(key, [media.histogram_of(values, bins)], step)
