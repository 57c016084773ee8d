"""What ``torch.load`` gives of checkpoints, where Lightning's import names mean Fulmen.

Libraries read checkpoints themselves and expect the objects in them that Lightning pickles. Fulmen's files hold forms
in their place; here they become values. Nothing is decoded for callers of Fulmen's own.
"""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

_OWN = "fulmen"  # the entry that only Fulmen reads, and the package that reads it


def install() -> None:
    """Puts readers in the place of torch's."""
    import torch

    if not hasattr(torch.load, "_plain"):
        found = torch.serialization.get_unsafe_globals_in_checkpoint
        torch.serialization.get_unsafe_globals_in_checkpoint = lister_of(found, torch.load)
        torch.load = torch.serialization.load = reader_of(torch.load)


def uninstall() -> None:
    """Puts torch's own functions back."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and hasattr(torch.load, "_plain"):
        torch.load = torch.serialization.load = torch.load._plain
        found = torch.serialization.get_unsafe_globals_in_checkpoint
        torch.serialization.get_unsafe_globals_in_checkpoint = getattr(found, "_plain", found)


def reader_of(plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function that loads as another one does, and makes values of the forms in a checkpoint.

    Args:
        plain: The function that loads.

    Returns:
        The other one.
    """

    @functools.wraps(plain)
    def load(*args: Any, **kwargs: Any) -> Any:
        loaded = plain(*args, **kwargs)
        caller = sys._getframe(1).f_globals.get("__name__") or ""
        if type(loaded) is not dict or _OWN not in loaded or caller.partition(".")[0] == _OWN:
            return loaded
        from fulmen.utilities.codec import decode_checkpoint, is_trusted

        parts = {key: value for key, value in loaded.items() if key != _OWN}
        loaded.update(decode_checkpoint(parts, is_trusted(kwargs.get("weights_only"))))
        return loaded

    load._plain = plain  # type: ignore[attr-defined]
    return load


def lister_of(plain: Callable[..., list[str]], load: Callable[..., Any]) -> Callable[..., list[str]]:
    """A function that lists what a safe load of a file refuses, and of the pickles in its forms.

    Args:
        plain: The function that lists what it refuses of the file alone.
        load: The function that loads files.

    Returns:
        The other one, for those who then allow what they know.
    """

    @functools.wraps(plain)
    def names(f: Any) -> list[str]:
        found = plain(f)
        if found:  # forms are in files that can be read
            return found
        if hasattr(f, "seek"):
            f.seek(0)
        pickles = pickles_in(load(f, map_location="cpu", weights_only=True))
        return sorted({name for content in pickles for name in plain(io.BytesIO(content))})

    names._plain = plain  # type: ignore[attr-defined]
    return names


def pickles_in(stored: Any) -> Iterator[bytes]:
    """The pickles among the forms of a checkpoint.

    Args:
        stored: What was loaded.

    Yields:
        Their bytes.
    """
    from fulmen.utilities.encoding import TAG  # a process that reads no checkpoint does without

    if isinstance(stored, dict):
        if stored.get(TAG) == "pickled":
            yield stored["value"].numpy().tobytes()
            return
        stored = stored.values()
    elif not isinstance(stored, (list, tuple)):
        return
    for part in stored:
        yield from pickles_in(part)
