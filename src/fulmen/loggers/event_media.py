"""Pictures, tables, text, sound and the like as what TensorBoard shows."""

from __future__ import annotations

from typing import Any

from fulmen.loggers import event_package
from fulmen.loggers.media import Audio, Histogram, Image, Media, Table, Text, Video
from fulmen.loggers.media_files import wav_bytes


def summary_of(key: str, item: Media) -> Any:
    """What TensorBoard's file holds of an item.

    Args:
        key: What it is logged as.
        item: What was logged.

    Returns:
        A ``Summary``.
    """
    Summary = event_package.protocol_module().Summary
    if isinstance(item, (Image, Video)):
        # Browsers play PNG files of several pictures, and TensorBoard hands them on as they are.
        height, width, channels = item.frames.shape[1:] if isinstance(item, Video) else item.pixels.shape
        content = item.apng() if isinstance(item, Video) else item.png()
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=content)
        return Summary(value=[Summary.Value(tag=key, image=image)])
    if isinstance(item, Audio):
        length, channels = item.samples.shape
        audio = Summary.Audio(
            sample_rate=item.sample_rate,
            num_channels=channels,
            length_frames=length,
            encoded_audio_string=wav_bytes(item),
            content_type="audio/wav",
        )
        return Summary(value=[Summary.Value(tag=key, audio=audio)])
    summary = event_package.summary_module()
    if isinstance(item, Histogram):
        if not item.values.size:
            return Summary()
        return summary.histogram(key, item.values, item.counts()[1])
    assert isinstance(item, (Table, Text))
    text = item.text if isinstance(item, Text) else _markdown(item)
    return summary.text(key, text.encode("utf-8", "replace").decode())


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
