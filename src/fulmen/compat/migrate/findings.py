"""What was found in a code base."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """Something old at a place.

    Attributes:
        path: The file.
        line: Its line, from 1; of a notebook, the line in the cell.
        column: The column, from 0.
        what: The old name.
        remedy: What to write today.
        safe: Whether it can be rewritten without a change of meaning.
        cell: The number of the cell of a notebook, from 1; 0 elsewhere.
    """

    path: str
    line: int
    column: int
    what: str
    remedy: str
    safe: bool = False
    cell: int = 0

    def __str__(self) -> str:
        place = f"{self.path}:cell {self.cell}:{self.line}" if self.cell else f"{self.path}:{self.line}"
        return f"{place}: {self.what}: {self.remedy}{' [--write]' if self.safe else ''}"
