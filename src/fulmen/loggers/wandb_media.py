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


def native(key: str, items: list[Media], folder: str) -> dict[str, Any]:
    """Items of one kind as W&B shows them.

    Args:
        key: What they are logged as.
        items: What was logged.
        folder: A folder for files, which has to stay until the objects are logged.

    Returns:
        What ``run.log`` takes, by name: all in one, or each under a name of its own where W&B shows no lists of them.
    """
    wandb = require("wandb", "wandb", "WandbLogger")
    if isinstance(items[0], Text):
        return {key: wandb.Table(columns=["text"], data=[[item.text] for item in items if isinstance(item, Text)])}
    if isinstance(items[0], (Table, Histogram)):
        names = [key] if len(items) == 1 else [f"{key}_{number}" for number in range(len(items))]
        return {name: _alone(wandb, item) for name, item in zip(names, items)}
    return {key: [_in_a_list(wandb, item, folder) for item in items]}


def _alone(wandb: Any, item: Media) -> Any:
    if isinstance(item, Table):
        return wandb.Table(columns=item.columns, data=item.rows, allow_mixed_types=True)
    assert isinstance(item, Histogram)
    return wandb.Histogram(np_histogram=item.counts())


def _in_a_list(wandb: Any, item: Media, folder: str) -> Any:
    if isinstance(item, Image):
        return wandb.Image(item.pixels, caption=item.caption)
    if isinstance(item, Video):
        return wandb.Video(_as_gif(folder, item), caption=item.caption, format="gif")
    assert isinstance(item, Audio)
    content, ending = content_of(item)
    if available("soundfile"):
        return wandb.Audio(_written(folder, content, ending), caption=item.caption)
    return wandb.Html(_player(content, item.caption))


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
