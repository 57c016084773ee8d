"""Pictures of all kinds as bytes of shape (height, width, channels)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fulmen.utilities.exceptions import MisconfiguredType, MisconfiguredValue
from fulmen.utilities.rank_zero import warn_once

_CHANNELS = (1, 3, 4)


def split_images(images: Any) -> list[Any]:
    """Pictures one by one, from one, a list of them, or a batch of shape (batch, ...)."""
    given = list(images) if isinstance(images, (list, tuple)) else [images]
    return [
        one
        for image in given
        for one in (image if getattr(image, "ndim", 0) == 4 and hasattr(image, "shape") else [image])
    ]


def as_pixels(image: Any) -> Any:
    """A picture as an array of bytes of shape (height, width, channels), with 1, 3 or 4 channels.

    Args:
        image: A tensor, an array or a picture of Pillow. The channels come first or last, or there are none. Numbers
            from 0 to 1, or integers from 0 to 255.

    Returns:
        A copy.

    Raises:
        MisconfigurationException: If it is no picture.
    """
    if type(image).__module__.startswith("PIL.") and hasattr(image, "convert"):
        image = _of_pillow(image)
    array = _as_array(image)
    if array.ndim == 2:
        return _as_bytes(array[..., None])
    first = array.ndim == 3 and array.shape[0] in _CHANNELS
    last = array.ndim == 3 and array.shape[2] in _CHANNELS
    if not first and not last:
        raise MisconfiguredValue(
            "A picture has shape (channels, height, width), (height, width, channels) or (height, width), and 1, 3 or"
            " 4 channels.",
            got=f"{type(image).__name__} of shape {tuple(array.shape)}",
            fix="Log some of the channels, `image[:3]`, or each as a picture of its own.",
        )
    # Where both could be, tensors have the channels first, as torch does, and arrays last, as NumPy's users do.
    if first and not (last and not isinstance(image, Tensor)):
        array = array.transpose(1, 2, 0)
    return _as_bytes(array)


def as_frames(video: Any) -> list[Any]:
    """Videos as arrays of bytes of shape (frames, height, width, channels).

    Args:
        video: Shape (frames, channels, height, width) or (frames, height, width, channels), or with a batch before.

    Returns:
        One array a video.

    Raises:
        MisconfigurationException: If it is no video.
    """
    import numpy

    array = _as_array(video)
    if array.ndim == 5:
        return [frames for one in array for frames in as_frames(one)]
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or not (array.shape[1] in (1, 3) or array.shape[3] in (1, 3)):
        raise MisconfiguredValue(
            "A video has shape (frames, channels, height, width), and 1 or 3 channels.",
            got=f"shape {tuple(array.shape)}",
            fix="Bring it to that shape with `permute`.",
        )
    if array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    return [numpy.ascontiguousarray(_as_bytes(array))]


def _of_pillow(image: Any) -> Any:
    import numpy

    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGBA" if "A" in image.mode or "transparency" in image.info else "RGB")
    return numpy.array(image)


def _as_array(image: Any) -> Any:
    import numpy

    if isinstance(image, Tensor):
        image = image.detach().cpu()
        return (image.float() if image.is_floating_point() else image).numpy()
    if isinstance(image, (str, bytes)) or not hasattr(image, "__array__"):
        raise MisconfiguredType(
            "A picture is a tensor, an array or a picture of Pillow.",
            got=f"{type(image).__name__} {image!r:.100}",
            fix='Open a file with `PIL.Image.open("cat.png")`; pass a figure to `log_figure`.',
        )
    return numpy.asarray(image)


def _as_bytes(array: Any) -> Any:
    import numpy

    if array.dtype == numpy.uint8:
        return numpy.array(array, order="C")
    if array.dtype == numpy.bool_:
        return numpy.array(array * numpy.uint8(255), order="C")
    whole = array.dtype.kind in "iu"
    if not whole and array.dtype.kind != "f":
        raise MisconfiguredType(
            "A picture is made of numbers.", got=f"numbers of {array.dtype}", fix="Convert it: `image.float()`."
        )
    array = numpy.nan_to_num(array)
    top = 255 if whole else 1
    if array.size and (array.min() < -1e-3 * top or array.max() > 1.001 * top):
        warn_once(
            "A logged picture holds values outside of 0 to 1 (0 to 255 for integers), which were cut off. Bring it to"
            " that range, as in `(image - image.min()) / (image.max() - image.min())`."
        )
    scaled = numpy.clip(array, 0, top) * (255 / top)
    return numpy.array(numpy.round(scaled), dtype=numpy.uint8, order="C")
