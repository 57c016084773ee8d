"""Names of 1.x that show something and give way to whatever a user sets under the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class view:
    """A property that an attribute of the instance hides.

    Args:
        show: What is shown of the instance.
    """

    def __init__(self, show: Callable[[Any], Any]) -> None:
        self.show = show
        self.__doc__ = show.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self.show(instance)
