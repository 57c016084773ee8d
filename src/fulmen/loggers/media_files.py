"""Pictures, tables, text and sound as files, for loggers that have no better way."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import wave
from collections.abc import Sequence

from fulmen.loggers.background import Background
from fulmen.loggers.media import Audio, Histogram, Image, Media, Table, Text, Video
from fulmen.loggers.places import write_file

FOLDER = "media"
# Of a part of a path, in bytes; systems take 255. And of all that a key makes of it.
_LONGEST_NAME, _LONGEST_KEY = 200, 1000


class MediaFiles:
    """Writes what is logged to ``media/<key>/step_<step>.<ending>``, in the background of a run.

    Pictures become PNG, tables CSV, text Markdown, sound WAV, videos animated PNG files, and histograms JSON.

    Args:
        background: What it writes in.
    """

    def __init__(self, background: Background) -> None:
        self.background = background

    def write(self, folder: str | None, key: str, items: Sequence[Media], step: float | None) -> None:
        """Writes items to files.

        Args:
            folder: The logger's; None for the working folder.
            key: What they are logged as; a slash makes a folder.
            items: What to write.
            step: The step they belong to; None for the next number that is free.
        """
        root = os.fspath(folder or os.getcwd())
        self.background.place = self.background.place or f"{root}/{FOLDER}"
        place = "/".join([root, FOLDER, _place_of(key)])
        self.background.submit(self._write, place, key, list(items), step)

    def _write(self, place: str, key: str, items: list[Media], step: float | None) -> None:
        for number, item in enumerate(items):
            file = self.background.encoded(key, item.kind, content_of, item)
            if file is not None:
                suffix = f"_{number}{file[1]}" if len(items) > 1 else file[1]
                write_file(place, _step_name(step), suffix, file[0])


def content_of(item: Media) -> tuple[bytes, str]:
    """An item as a file.

    Args:
        item: What was logged.

    Returns:
        The content, and the ending of the file's name.
    """
    if isinstance(item, Image):
        return item.png(), ".png"
    if isinstance(item, Text):
        return item.text.encode("utf-8", "replace"), ".md"
    if isinstance(item, Table):
        text = io.StringIO(newline="")
        csv.writer(text).writerows([item.columns, *item.rows])
        return text.getvalue().encode("utf-8", "replace"), ".csv"
    if isinstance(item, Audio):
        return wav_bytes(item), ".wav"
    if isinstance(item, Video):
        return item.apng(), ".png"
    assert isinstance(item, Histogram)
    counts, edges = item.counts()
    return json.dumps({"counts": counts.tolist(), "edges": edges.tolist()}).encode(), ".json"


def wav_bytes(audio: Audio) -> bytes:
    """Sound as a WAV file of 16 bits."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(audio.samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(audio.sample_rate)
        file.writeframes((audio.samples * 32767).round().astype("<i2").tobytes())
    return target.getvalue()


def _step_name(step: float | None) -> str | None:
    if step is None:
        return None
    return f"step_{step:08d}" if isinstance(step, int) else f"step_{step:012.3f}"


def _place_of(key: str) -> str:
    """A key as a path that every system takes."""
    path = "/".join(map(_file_name, filter(None, key.split("/"))))
    return path if len(path.encode()) <= _LONGEST_KEY else _file_name(key.replace("/", "_"))


def _file_name(part: str) -> str:
    name = re.sub(r'[\x00-\x1f<>:"\\|?*\ud800-\udfff]', "_", part).rstrip(". ") or "_"
    if len(content := name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{content[: _LONGEST_NAME - 13].decode('utf-8', 'ignore')}-{digest}"
