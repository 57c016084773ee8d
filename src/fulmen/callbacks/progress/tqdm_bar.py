"""Our own kind of tqdm, made when the first bar is."""

from __future__ import annotations

import functools
import sys
from typing import Any

from fulmen.callbacks.progress.refresh import in_notebook
from fulmen.callbacks.progress.tqdm_layout import fitting
from fulmen.utilities.imports import available, require


@functools.cache
def tqdm_class(notebook: bool) -> Any:
    """The class of the bars.

    Args:
        notebook: Whether to take tqdm's bar for notebooks.

    Returns:
        A subclass of tqdm's that shows numbers with equal widths, starts no thread, and draws when it is told to.
    """
    module = require("tqdm.notebook" if notebook else "tqdm.std", "all", "TQDMProgressBar")
    base: Any = module.tqdm_notebook if notebook else module.tqdm

    def refresh(self: Any, *args: Any, **kwargs: Any) -> Any:
        return None if self.held else base.refresh(self, *args, **kwargs)

    def format_meter(n: float, total: float | None, elapsed: float, *args: Any, **options: Any) -> str:
        if args or notebook:  # a notebook lays its widgets out itself
            return str(base.format_meter(n, total, elapsed, *args, **options))
        width_of = require("tqdm.utils", "all", "TQDMProgressBar").disp_len
        return fitting(base.format_meter, width_of, {"n": n, "total": total, "elapsed": elapsed, **options})

    members = {
        "__doc__": "A tqdm that shows numbers with equal widths, and draws when it is told to.",
        "__module__": "fulmen.callbacks.progress.tqdm_progress",
        "held": False,
        # The thread would only make up for a loop that forgets to draw.
        "monitor_interval": 0,
        "format_meter": staticmethod(format_meter),
        "format_num": staticmethod(lambda n: format_num(n, base.format_num)),
        "refresh": refresh,
    }
    return type("Tqdm", (base,), members)


def current_class() -> Any:
    """The class of bars for where this runs."""
    return tqdm_class(in_notebook() and available("ipywidgets"))


def format_num(n: int | float | str, shorten: Any) -> str:
    """Writes a number with three significant digits, and fills it up to five characters, so that the bar stays still.

    Args:
        n: The number; text is kept as it is.
        shorten: tqdm's own function for the purpose.
    """
    if isinstance(n, str):
        return n
    text = str(shorten(n))
    if not isinstance(n, float) or "e" in text or not text[-1].isdigit():
        return text
    missing = 5 - len(text) - ("." not in text)
    if missing <= 0:
        return text
    return f"{text}{'' if '.' in text else '.'}{'0' * missing}"


class Nowhere:
    """A file that keeps nothing, for bars of which single lines are printed instead."""

    def __init__(self) -> None:
        # tqdm reads from it which characters it may use.
        self.encoding = getattr(sys.stdout, "encoding", None) or "ascii"

    def write(self, text: str) -> int:
        """Takes the text, and forgets it."""
        return len(text)

    def flush(self) -> None:
        """Does nothing."""


def convert_inf(x: int | float | None) -> int | float | None:
    """What tqdm takes as a total: None for one that is not known, infinite or not a number."""
    return None if x is None or x == float("inf") or x != x else x


def restart(bar: Any, total: int | float | None, description: str) -> None:
    """Sets a bar back to its beginning, without drawing it.

    Args:
        bar: The bar.
        total: The new total, None where it is not known.
        description: What to write before the bar.
    """
    bar.held = True
    bar.reset(total)
    bar.held = False
    # tqdm reads None as "as before".
    bar.total = total
    bar.initial = 0
    bar.set_description(description, refresh=False)
