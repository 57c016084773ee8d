"""Pictures, tables, text, sound and the like as objects of W&B."""

from __future__ import annotations

import base64
import html
import os
import uuid
from typing import Any

from fulmen.loggers.media import Audio, Histogram, Image, Media, Table, Text, Video
from fulmen.loggers.media_files import content_of
from fulmen.utilities.imports import available, require


def is_for_wandb(given: Any) -> bool:
    """Whether W&B makes its object of something itself: of a file, a figure, an object of its own."""
    return isinstance(given, (str, os.PathLike)) or type(given).__module__.split(".")[0] in ("wandb", "matplotlib")


def native(item: Media, folder: str) -> Any:
    """An item as an object of W&B.

    Args:
        item: What was logged.
        folder: A folder for files, which has to stay until the object is logged.

    Returns:
        What ``run.log`` takes.
    """
    wandb = require("wandb", "wandb", "WandbLogger")
    if isinstance(item, Image):
        return wandb.Image(item.pixels, caption=item.caption)
    if isinstance(item, Table):
        return wandb.Table(columns=item.columns, data=item.rows, allow_mixed_types=True)
    if isinstance(item, Text):
        return wandb.Table(columns=["text"], data=[[item.text]])
    if isinstance(item, Histogram):
        return wandb.Histogram(np_histogram=item.counts())
    if isinstance(item, Audio):
        content, ending = content_of(item)
        if available("soundfile"):
            return wandb.Audio(_written(folder, content, ending), caption=item.caption)
        return wandb.Html(_player(content, item.caption))
    assert isinstance(item, Video)
    return wandb.Video(_as_gif(folder, item), caption=item.caption, format="gif")


def _written(folder: str, content: bytes, ending: str) -> str:
    path = os.path.join(folder, f"{uuid.uuid4().hex}{ending}")
    with open(path, "wb") as file:
        file.write(content)
    return path


def _player(wave: bytes, caption: str | None) -> str:
    """A page that plays a sound, since W&B's own object for it needs a further package."""
    source = f"data:audio/wav;base64,{base64.b64encode(wave).decode()}"
    return f'<audio controls src="{source}"></audio><p>{html.escape(caption or "")}</p>'


def _as_gif(folder: str, video: Video) -> str:
    from PIL import Image as pillow

    gray = video.frames.shape[-1] == 1
    frames = [pillow.fromarray(frame[..., 0] if gray else frame) for frame in video.frames]
    path = os.path.join(folder, f"{uuid.uuid4().hex}.gif")
    # Browsers show what is faster than 50 frames a second at 10.
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=max(20, round(1000 / video.fps)), loop=0)
    return path
