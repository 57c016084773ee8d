"""What the command line is making, and of which settings, so that hyper-parameters can hold those."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from fulmen.utilities.registered import registered_name

INSTANTIATOR = "_instantiator"
CLASS_PATH = "_class_path"
MARK = "fulmen.cli.instantiate_module"
MARKS = frozenset({MARK, "pytorch_lightning.cli.instantiate_module", "lightning.pytorch.cli.instantiate_module"})


@dataclass(frozen=True)
class Given:
    """The settings of one object.

    Args:
        cls: Its class.
        settings: For each argument the plain data that it was made of.
        class_path: The path of the class, where it was chosen on the command line.
    """

    cls: type
    settings: Mapping[str, Any]
    class_path: str | None = None

    def marks(self) -> dict[str, str]:
        """The entries of a checkpoint that tell settings from values."""
        chosen = {} if self.class_path is None else {CLASS_PATH: self.class_path}
        return {**chosen, INSTANTIATOR: MARK}

    def stored(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments, with settings in place of objects that were made of them.

        Args:
            arguments: The arguments of ``__init__`` by name.

        Returns:
            The same names, each with its value or with the settings of it.
        """
        return {name: self._stored(name, value) for name, value in arguments.items()}

    def nameless(self, arguments: Mapping[str, Any]) -> set[str]:
        """The arguments whose value is a function that only the signature holds, as a lambda that is the default.

        Args:
            arguments: The arguments of ``__init__`` by name.

        Returns:
            Their names; a checkpoint leaves them out, since they are there again when the object is made.
        """
        parameters = inspect.signature(self.cls.__init__).parameters  # type: ignore[misc]
        return {
            name
            for name, value in arguments.items()
            if name in parameters and parameters[name].default is value and "<" in getattr(value, "__qualname__", "")
        }

    def _stored(self, name: str, value: Any) -> Any:
        setting = self.settings.get(name)
        if is_made(setting):
            return setting
        named = isinstance(setting, str) and setting.replace(".", "").replace("_", "").isalnum() and "." in setting
        return setting if named and callable(value) and registered_name(value) is None else value


def is_made(setting: Any) -> bool:
    """Whether a setting is, or holds, one that names a class to make an object of."""
    if isinstance(setting, Mapping):
        return "class_path" in setting or any(map(is_made, setting.values()))
    return isinstance(setting, (list, tuple)) and any(map(is_made, setting))


_making: ContextVar[tuple[Given, ...]] = ContextVar("_making", default=())


@contextmanager
def making(*given: Given) -> Iterator[None]:
    """Objects of these classes that are made inside the block are made of these settings."""
    token = _making.set(given)
    try:
        yield
    finally:
        _making.reset(token)


def given_for(obj: Any) -> Given | None:
    """The settings of an object under construction; None where it is not made by the command line."""
    return next((given for given in _making.get() if given.cls is type(obj)), None)
