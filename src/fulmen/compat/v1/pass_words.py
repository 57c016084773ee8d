"""What Lightning 1.x's loops of validation, test and prediction have beyond today's."""

from __future__ import annotations

from typing import Any

from fulmen.compat.v1.views import view


class WORDS:
    """Names that today's classes do not have."""

    @view
    def dataloaders(self: Any) -> list[Any]:
        """The loaders."""
        return list(self.data.loaders)


class SIGNATURES:
    """Methods of today's classes that take more than they do: none."""
