"""What a process gets in place of a batch while only others have one."""

from __future__ import annotations

from typing import Any


class Ghost:
    """The one object :data:`GHOST`."""

    def __repr__(self) -> str:
        return "GHOST"

    def __reduce__(self) -> str:
        return "GHOST"

    def __deepcopy__(self, memo: Any) -> Ghost:
        return self


GHOST = Ghost()
