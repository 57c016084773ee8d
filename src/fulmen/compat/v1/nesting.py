"""How 1.x nests what training steps gave, by batch, split (truncated backpropagation) and optimizer.

1.9 has the shape (batches, splits, optimizers), and leaves out each dimension of length 1; so does a single batch. 1.5
has (optimizers, batches, splits), and leaves out optimizers where there is one, and splits where a batch has one. A
batch alone is (splits, optimizers) in 1.9 and (optimizers, splits) in 1.5. Steps that were skipped are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.compat import v1

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

Rows = list[list[Any]]
"""What the steps of a batch gave, by split and optimizer; None where one was skipped or did not run."""


def rows_of(trainer: Trainer, outputs: Any) -> Rows:
    """What the steps of the running batch gave, for :func:`nest`.

    Args:
        trainer: The Trainer.
        outputs: What ``on_train_batch_end`` gets.
    """
    rows: Rows | None = getattr(trainer.fit_loop.optimization, "rows", None)
    return [[outputs or None]] if rows is None else rows


def nest(batches: list[Rows], *, version: str | None = None) -> list[Any]:
    """The ``outputs`` of an epoch's end.

    Args:
        batches: For each batch what its steps gave.
        version: ``"1.9"`` or ``"1.5"``; None for the one that is spoken.

    Returns:
        A list; of what, depends on the version.
    """
    if (version or v1.version()) == "1.5":
        return _one_or_all([[_of_optimizer(rows, i) for rows in batches] for i in range(_optimizers(batches))])
    nested = _squeezed(batches, [len(batches), max(map(len, batches), default=0), _optimizers(batches)])
    found = nested if isinstance(nested, list) else [nested]
    return [item for item in found if item is not None and item != []]


def nest_batch(rows: Rows, *, version: str | None = None) -> Any:
    """The ``outputs`` of ``on_train_batch_end``.

    Args:
        rows: What the steps of the batch gave.
        version: ``"1.9"`` or ``"1.5"``; None for the one that is spoken.

    Returns:
        A dict where there is one step, else a list; an empty list where all were skipped.
    """
    count = _optimizers([rows])
    if (version or v1.version()) == "1.5":
        by_optimizer = [_of_optimizer(rows, i) for i in range(count)]
        return _one_or_all([one for one in by_optimizer if one != []])
    nested = _squeezed(rows, [len(rows), count])
    return [] if nested is None else nested


def _optimizers(batches: list[Rows]) -> int:
    return max((len(row) for rows in batches for row in rows), default=0)


def _of_optimizer(rows: Rows, index: int) -> Any:
    splits = [row[index] for row in rows if row[index] is not None]
    return splits[0] if len(splits) == 1 else splits


def _one_or_all(by_optimizer: list[Any]) -> list[Any]:
    kept = [[item for item in one if item != []] if isinstance(one, list) else one for one in by_optimizer if one != []]
    filled = [one for one in kept if one != []]
    return filled[0] if len(filled) == 1 else filled


def _squeezed(nested: Any, shape: list[int]) -> Any:
    """Leaves out dimensions of length 1, and what is None."""
    if not shape:
        return nested
    if shape[0] == 1:
        return _squeezed(nested[0] if nested else None, shape[1:])
    inner = [_squeezed(item, shape[1:]) for item in nested or ()]
    return [item for item in inner if item is not None]
