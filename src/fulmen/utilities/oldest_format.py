"""Reads files of torch's oldest format that hold modules, as a safe load does."""

from __future__ import annotations

import pickle
from types import ModuleType
from typing import IO, Any

import torch
from torch import _weights_only_unpickler as safe

_TUPLE = b"t"
_REFUSAL = "Only persistent_load of storage is allowed"


def holds_modules(error: pickle.UnpicklingError) -> bool:
    """Whether a safe load refused a file for the source code of modules, which the oldest format keeps."""
    return _REFUSAL in str(error)


def load_without_sources(file: IO[bytes], map_location: Any) -> Any:
    """Reads a file as ``torch.load(weights_only=True)`` does, and passes over the source code in it.

    Args:
        file: An open file, at its beginning, that such a load refused for its modules (see :func:`holds_modules`); so
            it is no archive, of which torch would read more than what this reader sees.
        map_location: As for ``torch.load``.

    Returns:
        What was saved.

    Raises:
        UnpicklingError: If something is left that a safe load does not read.
    """
    pickles: Any = ModuleType("fulmen_safe_pickles")
    pickles.Unpickler = _Unpickler
    pickles.load = lambda source, **options: _Unpickler(source, **options).read_all()
    # The switch chooses who reads, and what reads here is torch's own safe reader.
    return torch.load(file, map_location=map_location, weights_only=False, pickle_module=pickles)


class _Module(str):
    """The kind of a reference to a module's class, which torch's reader lets pass for one to a storage."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        return other != "storage" and str.__ne__(self, str(other))


class _Unpickler(safe.Unpickler):  # type: ignore[misc, unused-ignore]
    """The reader of a safe load, which takes for a class with its source code the class alone.

    The class is one that the reader has let through, as it has everything else. The source code is not looked at: torch
    compares it with that of the class, and may write the difference to a file.
    """

    def __init__(self, file: Any, **options: Any) -> None:
        super().__init__(file, **options)
        self._last = b""
        read = file.read

        def remember(count: int) -> Any:
            self._last = read(count)
            return self._last

        self.read = remember

    def read_all(self) -> Any:
        """What the next pickle of the file holds."""
        return self.load()  # type: ignore[no-untyped-call]

    def pop_mark(self) -> Any:
        """The items of a tuple; those of a reference to a module's class are marked."""
        items = super().pop_mark()  # type: ignore[no-untyped-call]
        if self._last == _TUPLE and len(items) == 4 and items[0] == "module" and isinstance(items[1], type):
            items[0] = _Module(items[0])
        return items

    @property
    def persistent_load(self) -> Any:
        """What a reference stands for; torch sets what knows those to storages."""
        return self._refer

    @persistent_load.setter
    def persistent_load(self, storages: Any) -> None:
        self._storages = storages

    def _refer(self, reference: Any) -> Any:
        if type(reference) is tuple and reference and type(reference[0]) is _Module:
            return reference[1]
        return self._storages(reference)
