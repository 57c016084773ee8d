"""A setting such as a learning rate or a batch size, in all places where a module and its data module keep it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any


class Setting:
    """A named value of a module, its hyper-parameters, a data module, or its hyper-parameters.

    Args:
        name: The name; a path such as ``"data.batch_size"`` goes into attributes and mappings.
        *owners: The module and the data module; those that are None are passed over.
    """

    def __init__(self, name: str, *owners: Any) -> None:
        self.name = name
        *self._path, self._last = name.split(".")
        self._owners = [owner for owner in owners if owner is not None]

    @property
    def holders(self) -> list[Any]:
        """All objects and mappings that have the value."""
        starts = [start for owner in self._owners for start in (owner, getattr(owner, "hparams", None))]
        found = [holder for start in starts if (holder := self._reach(start)) is not None]
        return list({id(holder): holder for holder in found}.values())

    def _reach(self, start: Any) -> Any:
        for name in self._path:
            start = _get(start, name)
        has = self._last in start if isinstance(start, Mapping) else start is not None and hasattr(start, self._last)
        return start if has else None

    @property
    def exists(self) -> bool:
        """Whether anybody has it."""
        return bool(self.holders)

    def get(self) -> Any:
        """The value that the last holder has."""
        return _get(self.holders[-1], self._last)

    def set(self, value: Any) -> None:
        """Gives it to all holders; a property that only shows what another one holds follows by itself."""
        for holder in self.holders:
            if isinstance(holder, MutableMapping):
                holder[self._last] = value
            elif not _only_shows(holder, self._last):
                setattr(holder, self._last, value)


def first_setting(names: Iterable[str], *owners: Any) -> Setting | None:
    """The first of several names that somebody has; None if none.

    Args:
        names: The names.
        *owners: See :class:`Setting`.
    """
    return next((setting for name in names if (setting := Setting(name, *owners)).exists), None)


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _only_shows(holder: Any, name: str) -> bool:
    member = getattr(type(holder), name, None)
    return isinstance(member, property) and member.fset is None
