"""What Lightning 1.x's profilers have beyond today's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fulmen.compat.v1.hints import hint


class WORDS:
    """Names that today's class does not have."""

    def profile_iterable(self: Any, iterable: Iterable[Any], action_name: str) -> Iterator[Any]:
        """Goes over something, with each step of it as an action.

        Args:
            self: The profiler.
            iterable: What to go over.
            action_name: The action's name.

        Yields:
            What it gives.
        """
        hint("`Profiler.profile_iterable`", "`with profiler.profile(name): item = next(iterator)`.")
        iterator = iter(iterable)
        while True:
            try:
                with self.profile(action_name):
                    item = next(iterator)
            except StopIteration:
                return
            yield item


class SIGNATURES:
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""
