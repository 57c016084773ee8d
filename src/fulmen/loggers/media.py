"""What can be logged besides numbers, each in one form that every logger can rely on."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.loggers.pixels import as_frames, as_pixels, split_images
from fulmen.loggers.png import png_bytes
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType, MisconfiguredValue
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    import numpy

SAMPLE_RATE = 44_100


@dataclass(frozen=True, eq=False)
class Media:
    """Something that is logged under a key."""

    kind = "media"

    def is_empty(self) -> bool:
        """Whether there is nothing in it that a file could hold."""
        return False


@dataclass(frozen=True, eq=False)
class Image(Media):
    """A picture.

    Attributes:
        pixels: Bytes of shape (height, width, channels), with 1, 3 or 4 channels: gray, RGB, RGBA.
        caption: What is written below it.
    """

    pixels: numpy.ndarray[Any, Any]
    caption: str | None = None
    kind = "image"

    def is_empty(self) -> bool:
        """Whether there is no pixel in it."""
        return not self.pixels.size

    def png(self) -> bytes:
        """The picture as a PNG file."""
        return png_bytes(self.pixels)


@dataclass(frozen=True, eq=False)
class Figure(Image):
    """A picture that matplotlib has drawn, as it was when it was logged."""

    kind = "figure"


@dataclass(frozen=True, eq=False)
class Table(Media):
    """Rows under names.

    Attributes:
        columns: The names.
        rows: As many values in each as there are names.
    """

    columns: list[str]
    rows: list[list[Any]]
    kind = "table"


@dataclass(frozen=True, eq=False)
class Text(Media):
    """Text, in which Markdown may be used.

    Attributes:
        text: The text.
    """

    text: str
    kind = "text"


@dataclass(frozen=True, eq=False)
class Audio(Media):
    """Sound.

    Attributes:
        samples: Single precision numbers from -1 to 1 of shape (samples, channels).
        sample_rate: Samples a second.
        caption: What is written below it.
    """

    samples: numpy.ndarray[Any, Any]
    sample_rate: int
    caption: str | None = None
    kind = "audio"

    def is_empty(self) -> bool:
        """Whether there is no sample in it."""
        return not self.samples.size


@dataclass(frozen=True, eq=False)
class Video(Media):
    """Pictures that follow on each other.

    Attributes:
        frames: Bytes of shape (frames, height, width, channels), with 1 or 3 channels.
        fps: Frames a second.
        caption: What is written below it.
    """

    frames: numpy.ndarray[Any, Any]
    fps: float
    caption: str | None = None
    kind = "video"

    def is_empty(self) -> bool:
        """Whether there is no frame in it, or no pixel in the frames."""
        return not self.frames.size

    def apng(self) -> bytes:
        """The video as an animated PNG file, which browsers play."""
        return png_bytes(*self.frames, fps=self.fps)


@dataclass(frozen=True, eq=False)
class Histogram(Media):
    """How values are distributed.

    Attributes:
        values: All of them, in double precision and one dimension, without those that are not finite.
        bins: How many classes to show them in.
    """

    values: numpy.ndarray[Any, Any]
    bins: int = 64
    kind = "histogram"

    def counts(self) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
        """How many values are in each class, and the classes' edges, one more than there are classes."""
        numpy = _numpy()
        if not self.values.size:
            counts, edges = numpy.histogram(self.values, bins=self.bins)
            return counts, edges
        # Halves of halves: the width of the largest doubles is not a double.
        scale = 4.0 if numpy.abs(self.values).max() > 1e307 else 1.0
        values = self.values / scale
        low, high = float(values.min()), float(values.max())
        if low == high:
            low, high = low - 0.5, high + 0.5
        # Large values that lie close together leave no room between them for as many edges.
        room = max(abs(low), abs(high)) * 2.0**-50 * self.bins
        if high - low < room:
            low, high = low - room, high + room
        counts, edges = numpy.histogram(values, bins=self.bins, range=(low, high))
        limit = numpy.finfo("float64").max / scale
        return counts, numpy.clip(edges, -limit, limit) * scale


def items_of(form: str, key: str, *given: Any) -> list[Media]:
    """What was logged, in the one form, without what is empty.

    Args:
        form: The function of this file that makes it.
        key: What it is logged as.
        *given: What that function takes.

    Returns:
        The items; none where there is nothing to show, which one warning says.

    Raises:
        MisconfigurationException: If the form cannot be made, with the key in the message.
    """
    if not isinstance(key, str):
        raise MisconfiguredType("What is logged has a name.", got=key, fix=f"Pass a string: `{str(key)!r}`.")
    try:
        items: list[Media] = globals()[form](*given)
    except MisconfigurationException as error:
        error.args = (f"Logged as {key!r:.100}: {error}",)
        raise
    found = [item for item in items if not item.is_empty()]
    if len(found) < max(len(items), 1):
        what = items[0].kind if items else form.removesuffix("s_of")
        warn_once(f"There is nothing in the {what} that was logged as {key!r:.100}, so it is left out of the logs.")
    return found


def images_of(images: Any, caption: Any = None) -> list[Image]:
    """Pictures in the one form, of whatever shows some; see `MediaLogging.log_image`."""
    given = split_images(images)
    return [Image(as_pixels(one), text) for one, text in zip(given, _for_each(caption, len(given)), strict=True)]


def figures_of(figure: Any) -> list[Figure]:
    """A figure of matplotlib, drawn.

    Raises:
        MisconfigurationException: If it is something else.
    """
    inner = figure if hasattr(figure, "canvas") or not hasattr(figure, "get_figure") else figure.get_figure()  # of axes
    canvas = getattr(inner, "canvas", None)
    if canvas is None or not hasattr(inner, "set_canvas"):
        raise MisconfiguredType(
            "`log_figure` takes a figure of matplotlib.",
            got=f"{type(figure).__module__}.{type(figure).__qualname__}",
            fix="Pass `plt.gcf()` or `axes.figure`, or a picture of it to `log_image`.",
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    numpy = _numpy()
    agg: Any = FigureCanvasAgg(inner)
    try:
        agg.draw()
        pixels = numpy.array(agg.buffer_rgba())
    finally:
        inner.set_canvas(canvas)
    return [Figure(pixels)]


def tables_of(columns: Any = None, data: Any = None, dataframe: Any = None) -> list[Table]:
    """A table in the one form, of a data frame, of columns by name, or of names and rows.

    Raises:
        MisconfigurationException: If there is no table in it, or a row has more or fewer values than there are names.
    """
    return [_table_of(columns, data, dataframe)]


def _table_of(columns: Any = None, data: Any = None, dataframe: Any = None) -> Table:
    if dataframe is None and hasattr(columns, "columns") and hasattr(columns, "itertuples"):
        columns, dataframe = None, columns
    if dataframe is not None:
        return Table(
            [str(name) for name in dataframe.columns], [list(row) for row in dataframe.itertuples(index=False)]
        )
    if isinstance(columns, Mapping) and data is None:
        lists = [_plain(values) for values in columns.values()]
        lengths = {len(values) for values in lists}
        if len(lengths) > 1:
            raise MisconfiguredValue(
                "The columns of a table must have one length.",
                got=dict(zip(columns, map(len, lists), strict=True)),
                fix="Fill up the short ones with None.",
            )
        return Table([str(name) for name in columns], [list(row) for row in zip(*lists, strict=True)])
    if data is None:
        raise MisconfiguredType(
            "`log_table` takes a data frame, columns by name, or names and rows.",
            got=columns,
            fix='`log_table("key", columns=["x", "y"], data=[[1, 2], [3, 4]])`.',
        )
    names_are_rows = isinstance(columns, (list, tuple)) and any(isinstance(one, (list, tuple)) for one in columns)
    given = _plain(data)
    if names_are_rows or not all(_is_row(row) for row in given):
        raise MisconfiguredType(
            "`log_table` takes the names of the columns first, and then rows, each of them a list of values.",
            got=f"columns={columns!r:.100}, data={data!r:.100}",
            fix='`log_table("key", columns=["x", "y"], data=[[1, 2], [3, 4]])`.',
        )
    rows = [_plain(row) for row in given]
    width = len(rows[0]) if rows else 0
    names = [str(name) for name in (range(width) if columns is None else columns)]
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise MisconfiguredValue(
                f"Each row of a table needs a value for each of its columns {names}.",
                got=f"row {number} with {len(row)} values",
                fix="Fill up short rows with None, or name all columns.",
            )
    return Table(names, rows)


def texts_of(text: Any) -> list[Text]:
    """Text in the one form."""
    # Half of a surrogate pair, as names of files may have, is in no file of text.
    return [
        Text(str(one).encode("utf-8", "replace").decode())
        for one in (text if isinstance(text, (list, tuple)) else [text])
    ]


def audios_of(audios: Any, sample_rate: Any = None, caption: Any = None) -> list[Audio]:
    """Sounds in the one form; see `MediaLogging.log_audio`."""
    given = list(audios) if isinstance(audios, (list, tuple)) and not _is_number(next(iter(audios), 0)) else [audios]
    rates, captions = _for_each(sample_rate, len(given)), _for_each(caption, len(given))
    return [
        Audio(_samples(one), SAMPLE_RATE if rate is None else _checked_rate(rate), text)
        for one, rate, text in zip(given, rates, captions, strict=True)
    ]


def videos_of(videos: Any, fps: Any = None, caption: Any = None) -> list[Video]:
    """Videos in the one form; see `MediaLogging.log_video`."""
    given = list(videos) if isinstance(videos, (list, tuple)) else [videos]
    found = [(frames, index) for index, one in enumerate(given) for frames in as_frames(one)]
    rates, captions = _for_each(fps, len(given)), _for_each(caption, len(given))
    return [Video(frames, 4 if rates[i] is None else _checked_fps(rates[i]), captions[i]) for frames, i in found]


def histograms_of(values: Any, bins: int = 64) -> list[Histogram]:
    """A histogram in the one form; see `MediaLogging.log_histogram`."""
    numpy = _numpy()
    try:
        classes = operator.index(bins)
    except TypeError:
        classes = 0
    if classes < 1:
        raise MisconfiguredValue(
            "`bins` is the number of classes of a histogram, 1 or more.",
            got=bins,
            fix="Leave it out for 64, or pass `bins=100`.",
        )
    numbers = _array(values, "log_histogram").astype("float64").reshape(-1)
    return [Histogram(numbers[numpy.isfinite(numbers)], classes)]


def _numpy() -> Any:
    import numpy

    return numpy


def _array(values: Any, method: str) -> Any:
    """A copy as an array, so that training may go on with the original."""
    numpy = _numpy()
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    array = numpy.array(values)
    if array.dtype.kind not in "buif":
        raise MisconfiguredType(
            f"`{method}` takes numbers: a tensor, an array or a list of them.",
            got=f"{type(values).__name__} of {array.dtype}",
            fix="Convert it: `torch.as_tensor(values)`.",
        )
    return array


def _samples(audio: Any) -> Any:
    numpy = _numpy()
    array = _array(audio, "log_audio")
    if array.dtype.kind in "iu":
        limits = numpy.iinfo(array.dtype)
        middle = (limits.max + 1) / 2 if array.dtype.kind == "u" else 0
        array = (array - middle) / (limits.max - middle)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or min(array.shape) > 16:
        raise MisconfiguredValue(
            "Sound is an array of samples, or one of channels and samples.",
            got=f"shape {array.shape}",
            fix="Pass one sound of shape (samples,) or (channels, samples), or a list of them.",
        )
    if array.shape[0] < array.shape[1]:  # torchaudio's order
        array = array.T
    return numpy.clip(numpy.nan_to_num(array), -1, 1).astype("float32")


def _checked_rate(given: Any) -> int:
    try:
        rate = int(given)
    except (TypeError, ValueError, OverflowError):
        rate = 0
    if not 1 <= rate <= 100_000_000:
        raise MisconfiguredValue(
            "`sample_rate` is the number of samples a second, 1 or more.",
            got=given,
            fix=f"Pass the one of the sound: `sample_rate=16_000`. Leave it out for {SAMPLE_RATE:,}.",
        )
    return rate


def _checked_fps(given: Any) -> float:
    try:
        rate = float(given)
    except (TypeError, ValueError, OverflowError):
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise MisconfiguredValue(
            "`fps` is the number of frames a second, more than 0.",
            got=given,
            fix="Pass the one of the video: `fps=25`. Leave it out for 4.",
        )
    return rate


def _is_row(row: Any) -> bool:
    if isinstance(row, (str, bytes, Mapping)):
        return False
    return bool(row.ndim) if hasattr(row, "ndim") else hasattr(row, "__iter__")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _for_each(value: Any, count: int) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * count
    if len(value) != count:
        raise MisconfiguredValue(
            "A list of captions, rates or the like must be as long as that of what it describes.",
            got=f"{len(value)} for {count}",
            fix="Pass one for each, or a single one for all.",
        )
    return list(value)


def _plain(values: Any) -> list[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    found: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return [value.item() if isinstance(value, Tensor) and value.numel() == 1 else value for value in found]
