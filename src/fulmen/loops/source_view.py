"""Where a stage's loaders come from, as other code knows it: one object, the loader or who makes it."""

from __future__ import annotations

from typing import Any

from fulmen.core.hooks import DataHooks
from fulmen.core.module import overridden


class SourceView:
    """A view of a `LoaderSource`.

    Args:
        data: What holds the source and its loaders.

    Attributes:
        name: The name of the hook that makes the loaders.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self.name: str = data.source.hook

    @property
    def instance(self) -> Any:
        """The loaders that were given, or the module or data module that makes them; None before any is known."""
        source = self._data.source
        if source.given is not None:
            return source.given
        return source.owner if source.owner is not None else self._data.trainer.lightning_module

    @instance.setter
    def instance(self, instance: Any) -> None:
        source = self._data.source
        makes = instance is not None and hasattr(instance, source.hook)
        source.given, source.owner = (None, instance) if makes else (instance, None)
        self._data.loaded_at = None

    def dataloader(self) -> Any:
        """The loaders, made anew where a hook makes them."""
        return self._data.source.request(self._data.trainer)

    def is_defined(self) -> bool:
        """Whether there is anything to get loaders from."""
        source, owner = self._data.source, self._data.source.owner
        return source.given is not None or (owner is not None and overridden(owner, source.hook, DataHooks) is not None)

    def is_module(self) -> bool:
        """Whether a module or a data module makes the loaders."""
        return self._data.source.given is None and self.instance is not None
