"""The numbers of an evaluation and a prediction are those of one process, on any number of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from .exact_runs import CHECKS, Case, everything, run_cases
from .groups import group

SAMPLES = range(1, 18)
KINDS = ("map", "single", "iterable", "bare")
SIZES = (1, 3, 0)
GRID = [Case(samples, kind, size) for samples in SAMPLES for kind in KINDS for size in SIZES]
FEW = [Case(1, "map", 1), Case(2, "iterable", 1), Case(7, "map", 0), *random.Random(6).sample(GRID, 4)]
ON_THREE = ("shuffled", "limited", "keys", "gathering_in_steps")
ERROR = 1e-9


@pytest.fixture(scope="module")
def ranks() -> Iterator[dict[int, list[dict[str, Any]]]]:
    """What every rank of two and of three processes found, by their number."""
    found = {}
    for world in (2, 3):
        names = [check.__name__ for check in CHECKS if world == 2 or check.__name__ in ON_THREE]
        with group(world) as made:
            found[world] = made.run(everything, world, FEW, names)
    yield found


@pytest.fixture(scope="module")
def alone() -> list[Any]:
    """What one process finds."""
    return run_cases(FEW)


def _differ(key: str, one: float, other: float) -> bool:
    if math.isnan(one) and (math.isnan(other) or key == "pearson"):
        # torchmetrics puts several of these together without the largest deviation between them, and where labels or
        # numbers are equal in each of them it gives up
        return False
    return not abs(one - other) <= ERROR


def _by_hand(case: Case) -> dict[str, float]:
    """The values, calculated from all samples at once."""
    numbers, labels = case.values.numpy().T
    batches = [numbers[batch] for batch in case.batches]
    scores = (numbers + 1) / 2
    guessed, true = scores > 0.5, labels == 1
    hits = float((guessed & true).sum())
    above = [(one > other) + (one == other) / 2 for one in scores[true] for other in scores[~true]]
    with np.errstate(all="ignore"):
        together = numbers - numbers.mean(), labels - labels.mean()
        norms = [np.sqrt((one**2).sum()) for one in together]
        return {
            "mean": numbers.mean(), "sum": sum(batch.sum() for batch in batches), "max": numbers.max(),
            "min": numbers.min(), "ordered": (numbers * np.arange(1, len(numbers) + 1)).sum(),
            "average": sum(batch.sum() for batch in batches) / len(numbers),
            "curve": float(np.mean(above)) if above else 0.0,
            "pearson": (together[0] * together[1]).sum() / (norms[0] * norms[1]),
            "BinaryPrecision": hits / guessed.sum() if guessed.any() else 0.0,
            "BinaryRecall": hits / true.sum() if true.any() else 0.0,
            "BinaryAccuracy": float((guessed == true).mean()),
        }  # fmt: skip


def _check(cases: list[Case], alone: list[Any], ranks: list[Any], world: int) -> None:
    wrong = []
    for case, one, *several in zip(cases, alone, *ranks, strict=True):
        by_hand, expected = _by_hand(case), one[0]
        assert expected.keys() == by_hand.keys()
        for rank, (values, seen, predictions) in enumerate(several):
            assert values.keys() == by_hand.keys()
            assert seen == list(range(len(case.batches)))[rank::world]
            assert predictions == one[2] == [(2 * case.values[batch, 0]).tolist() for batch in case.batches]
            wrong += [(case, key) for key, value in values.items() if _differ(key, value, expected[key])]
        for key, value in by_hand.items():
            limit = 1e-6 if key == "curve" else ERROR  # torchmetrics goes on in single precision there
            if not math.isnan(expected[key]) and not abs(expected[key] - value) <= limit:  # nan: of too few samples
                wrong.append((case, key))
    assert not wrong


@pytest.mark.parametrize("world", [2, 3])
def test_values_and_predictions_are_those_of_one_process(
    world: int, ranks: dict[int, list[dict[str, Any]]], alone: list[Any]
) -> None:
    _check(FEW, alone, [found["cases"] for found in ranks[world]], world)


@pytest.mark.soak
@pytest.mark.parametrize("world", [2, 3])
def test_values_and_predictions_on_the_whole_grid(world: int) -> None:
    with group(world) as made:
        found = made.run(everything, world, GRID, [], timeout=600)
    _check(GRID, run_cases(GRID), [one["cases"] for one in found], world)


def _dealt(parts: list[list[Any]]) -> list[Any]:
    """All batches in their order; fails where one is there twice or none is there."""
    found = sorted((one for part in parts for one in part), key=lambda one: one[0])
    assert [number for number, _ in found] == list(range(len(found)))
    world = len(parts)
    assert all(number % world == rank for rank, part in enumerate(parts) for number, _ in part)
    return [batch for _, batch in found]


@pytest.mark.parametrize("world", [2, 3])
def test_a_shuffled_loader_has_one_order(world: int, ranks: dict[int, list[dict[str, Any]]]) -> None:
    for turn, samples in enumerate((8, 6, 8)):
        first, second, states = zip(*(found["shuffled"][turn] for found in ranks[world]), strict=True)
        orders = [[one for batch in _dealt(list(parts)) for one in batch[0]] for parts in (first, second)]
        assert all(len(set(order)) == samples for order in orders)
        assert orders[0] != orders[1]
        assert all(states), "a rank's random state is not what it would be had it read the loader itself"


def test_a_sampler_that_draws_as_it_goes_has_one_order(ranks: dict[int, list[dict[str, Any]]]) -> None:
    batches = _dealt([found["drawn_as_it_goes"] for found in ranks[2]])
    assert sorted(batch[0] for batch in batches) == [0, 1, 2, 3, 4, 5]


def test_data_that_shard_themselves_are_read_as_they_are(ranks: dict[int, list[dict[str, Any]]]) -> None:
    first, second = (found["sharding_themselves"] for found in ranks[2])
    for name in ("by its first batch", "nothing for one", "a list, nothing for one"):
        assert second[name] == [(number, [[10.0 + number]]) for number in range(4)]
    assert first["by its first batch"] == [(number, [[float(number)]]) for number in range(3)]
    assert first["nothing for one"] == first["a list, nothing for one"] == []
    assert first["declared"] == second["declared"] == [(0, [[1.0]]), (1, [[1.0]])]
    assert first["its sampler"] == [(0, [[0.0]]), (1, [[2.0]]), (2, [[4.0]])]
    assert second["its sampler"] == [(0, [[1.0]]), (1, [[3.0]]), (2, [[5.0]])]
    assert first["the user's wish"] == second["the user's wish"] == [(n, [[float(n)]]) for n in range(3)]
    assert [len(one["another length"]) for one in (first, second)] == [2, 3]
    assert len(first["a limit"]) + len(second["a limit"]) == 3


def test_combined_loaders_give_the_rows_of_one_process(ranks: dict[int, list[dict[str, Any]]]) -> None:
    parts = [found["combined"] for found in ranks[2]]
    for mode, (rows, _) in parts[0].items():
        batches = _dealt([part[mode][1] for part in parts])
        if mode != "shuffled":
            assert batches == rows
        else:  # the shorter one begins anew, in one order for all
            assert sorted(batch["a"][0][0] for batch in batches) == [0, 1, 2, 3, 4]
            short = [batch["b"][0][0] for batch in batches]
            assert set(short[:2]) == set(short[2:4]) == {0.0, 1.0}


@pytest.mark.parametrize("world", [2, 3])
def test_limits_count_batches_of_the_whole_pass(world: int, ranks: dict[int, list[dict[str, Any]]]) -> None:
    for (kind, limit), _ in ranks[world][0]["limited"].items():
        numbers = sorted(number for found in ranks[world] for number in found["limited"][kind, limit])
        assert numbers == list(range(4 if limit == 0.5 else limit))


def test_workers_read_what_is_dealt_out(ranks: dict[int, list[dict[str, Any]]]) -> None:
    for turn in range(3):
        batches = _dealt([found["with_workers"][turn] for found in ranks[2]])
        assert [np.ravel(batch[0]).item() for batch in batches] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("world", [2, 3])
def test_keys_are_reduced_as_they_ask(world: int, ranks: dict[int, list[dict[str, Any]]]) -> None:
    found = [one["keys"] for one in ranks[world]]
    parts = [list(range(5))[rank::world] for rank in range(world)]
    rest = [number for part in parts[1:] for number in part]
    for rank, one in enumerate(found):
        values = one["values"]
        assert values["everywhere"] == values["twice_epoch"] == values["first_epoch"] == 2.0
        assert values["whole"] == 10 + 5 * 2**20
        assert values["some"] == np.mean(parts[1])
        assert values["at the end"] == np.mean(range(world))
        assert values["grouped"] == pytest.approx(np.mean(rest if rank else parts[0]))
        assert ("own" in values) == (rank == 0)
        assert one["collectives"] == found[0]["collectives"] <= 5
    assert found[0]["values"]["own"] == np.mean(parts[0])
    (told,) = found[0]["warnings"]
    assert "'some'" in told and "on the ranks [1]" in told and f"not on the ranks {[0, *range(2, world)]}" in told


@pytest.mark.parametrize("world", [2, 3])
def test_nobody_who_reads_a_value_waits(world: int, ranks: dict[int, list[dict[str, Any]]]) -> None:
    """Rank 0 reads `callback_metrics` alone, in steps and after them, when it sees the value of all."""
    mine = list(range(5))[::world]
    assert ranks[world][0]["keys"]["reads"] == [*[-1.0] * len(mine), np.mean(range(5))]


@pytest.mark.parametrize("world", [2, 3])
def test_values_of_steps_are_reduced_where_that_is_asked_for(
    world: int, ranks: dict[int, list[dict[str, Any]]]
) -> None:
    lines = ranks[world][0]["keys"]["lines"]
    rounds = [list(range(5))[start : start + world] for start in range(0, 5, world)]
    assert [line for line in lines if "twice_step" in line[1]] == [
        (index, {"twice_step": np.mean(numbers)}) for index, numbers in enumerate(rounds)
    ]
    assert [line for line in lines if "first_step" in line[1]] == [
        (index, {"first_step": numbers[0]}) for index, numbers in enumerate(rounds)
    ]


@pytest.mark.parametrize("world", [2, 3])
def test_steps_that_wait_for_each_other_meet(world: int, ranks: dict[int, list[dict[str, Any]]]) -> None:
    for found in ranks[world]:
        for batches, values in found["gathering_in_steps"]:
            assert values == {"count": (batches - 1) / 2, "sum": sum(range(batches))}


def test_a_writer_gets_its_own_and_who_asks_gets_all(ranks: dict[int, list[dict[str, Any]]]) -> None:
    (first, first_epoch, all_of_it, _), (second, second_epoch, again, collectives) = (
        found["written"] for found in ranks[2]
    )
    assert first == [(0, [0, 1], [[0.0, 1.0]]), (2, [4], [[4.0]])]
    assert second[:1] == [(1, [2, 3], [[2.0, 3.0]])]
    assert first_epoch == ([[[0.0, 1.0]], [[4.0]]], [[[0, 1], [4]]])
    assert second_epoch == ([[[2.0, 3.0]]], [[[2, 3]]])
    assert all_of_it == again == [[[0.0, 1.0]], [[2.0, 3.0]], [[4.0]]]
    assert collectives <= 3, "nothing is gathered where nobody asks for it"


def test_training_is_judged_by_the_values_of_all(ranks: dict[int, list[dict[str, Any]]]) -> None:
    for saw, _ in (found["fitted"] for found in ranks[2]):
        assert saw["train"] == saw["train_epoch"] == 6.5
        assert saw["epoch"] == 0.5
    _, lines = ranks[2][0]["fitted"]
    steps = [(step, values["train_step"]) for step, values in lines if "train_step" in values]
    assert steps == [(1, 6.0), (3, 8.0)]
    assert [values["train_epoch"] for _, values in lines if "train_epoch" in values] == [6.5]
