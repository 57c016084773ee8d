"""Progress bars."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ProgressBar": "fulmen.callbacks.progress.progress_bar",
        "RichProgressBar": "fulmen.callbacks.progress.rich_progress",
        "TQDMProgressBar": "fulmen.callbacks.progress.tqdm_progress",
        "progress_bar": "fulmen.callbacks.progress.progress_bar",
        "rich_progress": "fulmen.callbacks.progress.rich_progress",
        "tqdm_progress": "fulmen.callbacks.progress.tqdm_progress",
    },
)
