"""Classes under a name, with the arguments to make them with."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from fulmen.utilities.exceptions import MisconfigurationException

T = TypeVar("T")


class Registry(dict[str, dict[str, Any]], Generic[T]):
    """A dict from a name to a class and the arguments it is made with.

    A class may be given as ``"module:Class"``; it is imported when its entry is first read.

    Args:
        kind: What is registered, for example ``"accelerator"``; the key under which an entry holds its class.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def add(
        self,
        name: str,
        cls: type[T] | str | None,
        description: str | None = None,
        override: bool = False,
        init_params: dict[str, Any] | None = None,
    ) -> Any:
        """Registers a class; without one, gives back a decorator that does.

        Args:
            name: The name that users will pass.
            cls: The class, or ``"module:Class"``.
            description: What it is; None takes the class's name.
            override: Whether an entry of that name may be replaced.
            init_params: Arguments to make it with.

        Returns:
            The class, or the decorator.

        Raises:
            MisconfigurationException: If the name is no string, or taken.
        """
        if not isinstance(name, str):
            raise MisconfigurationException(
                f"A registered {self.kind} needs a string as its name.",
                got=name,
                fix=f'`register("my_{self.kind}", MyClass)`.',
            )
        if name in self and not override:
            raise MisconfigurationException(
                f"There is a registered {self.kind} of the name {name!r} already.",
                fix="Choose another name, or pass `override=True`.",
            )

        def enter(one: Any) -> Any:
            called = one.rpartition(":")[2] if isinstance(one, str) else one.__name__
            self[name] = {
                "description": called if description is None else description,
                "init_params": init_params or {},
                self.kind: one,
                f"{self.kind}_name": name,
            }
            return one

        return enter if cls is None else enter(cls)

    def __getitem__(self, name: str) -> dict[str, Any]:
        entry = super().__getitem__(name)
        if isinstance(entry[self.kind], str):
            module, _, cls = entry[self.kind].partition(":")
            entry[self.kind] = getattr(importlib.import_module(module), cls)
        return entry

    def make(self, name: str) -> T:
        """An instance of the class of that name.

        Raises:
            KeyError: If there is none.
        """
        entry = self[name]
        cls: type[T] = entry[self.kind]
        return cls(**entry["init_params"])

    def remove(self, name: str) -> None:
        """Removes the entry of that name."""
        self.pop(name)

    def __str__(self) -> str:
        return f"Registered {self.kind} names: {', '.join(self)}"


def closest(name: object, names: Iterable[str]) -> str:
    """A sentence part that offers the name most like a misspelled one: ``"Did you mean 'cuda'? "``, or nothing."""
    found = difflib.get_close_matches(str(name).lower(), list(names), n=1)
    return f"Did you mean {found[0]!r}? " if found else ""
