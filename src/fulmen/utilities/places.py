"""Where a part of a nest lies, in words: ``callbacks['EMA'].fn[0]``."""

from __future__ import annotations

from typing import Any, TypeAlias

# Around which it lies, and its key there; None is the nest as a whole.
Place: TypeAlias = "tuple[Place, Any] | None"


class Text(str):
    """A step that is no key: shown as it is."""


class Section(str):
    """A key of a checkpoint: what lies in it goes by names of its own, shown as such."""


KEY, MEMBER, ATTRIBUTES = Text(" (a key)"), Text("{...}"), Text(" (attributes)")


def render(place: Place) -> str:
    """Says where a part lies.

    Args:
        place: The place, made pair by pair on the way down, so that nothing is put into words unless somebody asks.

    Returns:
        The words.
    """
    steps: list[Any] = []
    while place is not None:
        place, step = place
        steps.append(step)
    text, quoted = "", False
    for step in reversed(steps):
        if type(step) in (Text, Section):
            text += step
        elif type(step) is str and step.isidentifier() and not quoted:
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
        quoted = type(step) is Section
    return text
