"""Prints what `validate` and `test` found."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

Results = list[dict[str, float]]


def report(trainer: Trainer, results: Results, stage: str) -> Results:
    """Prints a table of results, on rank 0.

    Args:
        trainer: Who prints.
        results: For each loader the values by key.
        stage: What was done, for the heading.

    Returns:
        The results, unchanged.
    """
    if any(results) and trainer.is_global_zero:
        print(table(results, stage))
    return results


def table(results: Results, stage: str) -> str:
    """Results as text, a line a key and a column a loader.

    Args:
        results: For each loader the values by key.
        stage: What was done, for the heading.

    Returns:
        The text.

    Example:
        >>> print(table([{"acc": 0.5}], "Test"))
        ────────────────────────────────
          Test metric  |  DataLoader 0
        ────────────────────────────────
          acc          |  0.5
        ────────────────────────────────
    """
    names: dict[str, dict[int, float]] = {}
    for index, values in enumerate(results):
        for key, value in values.items():
            names.setdefault(key.removesuffix(f"/dataloader_idx_{index}"), {})[index] = value
    heads = [f"{stage} metric", *(f"DataLoader {index}" for index in range(len(results)))]
    rows = [
        [name, *(f"{values[index]:.6g}" if index in values else "" for index in range(len(results)))]
        for name, values in names.items()
    ]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [
        "  " + "  |  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in [heads, *rows]
    ]
    rule = "─" * min(max(map(len, lines)) + 2, shutil.get_terminal_size().columns if os.isatty(1) else 200)
    return "\n".join([rule, lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:]), rule])
