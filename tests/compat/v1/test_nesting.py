"""How outputs are nested: 1.9 by batch, split and optimizer, 1.5 by optimizer, batch and split."""

from __future__ import annotations

from typing import Any

import pytest

from fulmen.compat.v1.nesting import nest, nest_batch


def made(batches: int, splits: int, optimizers: int) -> list[list[list[Any]]]:
    """Outputs that say where they are from."""
    return [[[{"at": (b, t, o)} for o in range(optimizers)] for t in range(splits)] for b in range(batches)]


def at(nested: Any) -> Any:
    """The places in a nest of outputs, without the dicts around them."""
    return [at(one) for one in nested] if isinstance(nested, list) else nested["at"]


@pytest.mark.parametrize("batches", [2, 3])
@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize("optimizers", [1, 2])
def test_shapes(batches: int, splits: int, optimizers: int) -> None:
    """Dimensions of length 1 are left out: of splits and optimizers in both versions."""
    rows = made(batches, splits, optimizers)

    def of_9(batch: list[Any]) -> Any:
        found: Any = [at(row if optimizers > 1 else row[0]) for row in batch]
        return found if splits > 1 else found[0]

    def of_5(batch: list[Any], o: int) -> Any:
        found = [row[o]["at"] for row in batch]
        return found if splits > 1 else found[0]

    assert at(nest(rows, version="1.9")) == [of_9(batch) for batch in rows]
    assert at(nest_batch(rows[0], version="1.9")) == of_9(rows[0])
    by_optimizer = [[of_5(batch, o) for batch in rows] for o in range(optimizers)]
    assert at(nest(rows, version="1.5")) == (by_optimizer if optimizers > 1 else by_optimizer[0])
    batch = [of_5(rows[0], o) for o in range(optimizers)]
    assert at(nest_batch(rows[0], version="1.5")) == (batch if optimizers > 1 else batch[0])


def test_a_single_batch() -> None:
    """1.9 leaves that dimension out as well; a list it is in any case. 1.5 keeps it."""
    assert at(nest(made(1, 1, 1), version="1.9")) == [(0, 0, 0)] == at(nest(made(1, 1, 1), version="1.5"))
    assert at(nest(made(1, 1, 2), version="1.9")) == [(0, 0, 0), (0, 0, 1)]
    assert at(nest(made(1, 1, 2), version="1.5")) == [[(0, 0, 0)], [(0, 0, 1)]]


def test_what_was_skipped_is_left_out() -> None:
    rows = made(3, 1, 2)
    rows[0][0][1] = rows[1][0][0] = rows[2][0][0] = rows[2][0][1] = None
    assert at(nest(rows, version="1.9")) == [[(0, 0, 0)], [(1, 0, 1)]]
    assert at(nest(rows, version="1.5")) == [[(0, 0, 0)], [(1, 0, 1)]]
    assert at(nest_batch(rows[0], version="1.9")) == [(0, 0, 0)]
    assert nest_batch(rows[2], version="1.9") == [] == nest_batch(rows[2], version="1.5")
    one = made(3, 1, 1)
    one[1][0][0] = None
    for version in ("1.9", "1.5"):
        assert at(nest(one, version=version)) == [(0, 0, 0), (2, 0, 0)]
        assert nest([], version=version) == [] == nest([[[None]]], version=version)


def test_batches_of_different_length() -> None:
    """The last batch may have fewer splits."""
    rows = [*made(1, 3, 1), *made(1, 2, 1)]
    for version in ("1.9", "1.5"):
        assert at(nest(rows, version=version)) == [[(0, 0, 0), (0, 1, 0), (0, 2, 0)], [(0, 0, 0), (0, 1, 0)]]


def test_the_version_that_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made(2, 1, 2)
    assert nest(rows) == nest(rows, version="1.9")
    monkeypatch.setenv("FULMEN_DIALECT", "1.5")
    assert nest(rows) == nest(rows, version="1.5") != nest(rows, version="1.9")
