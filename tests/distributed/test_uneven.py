"""Processes with different numbers of batches: the numbers of one process, and the same bits on all."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore

from fulmen.callbacks import LearningRateMonitor, ModelCheckpoint
from fulmen.data.division import kind_of
from fulmen.loggers import CSVLogger
from fulmen.strategies.ddp import DDPStrategy
from fulmen.strategies.turns import Turns
from fulmen.utilities.exceptions import MisconfigurationException

from .groups import Group, GroupFailed
from .uneven_runs import (
    DEALT,
    OWN,
    Ending,
    Net,
    Saving,
    alone,
    close,
    fit,
    fit_table,
    loader_of,
    rounds_of,
    rounds_of_table,
    same_everywhere,
)

SOAK = bool(os.environ.get("FULMEN_SOAK"))
Groups = dict[int, Group]


@pytest.fixture(scope="module")
def groups() -> Iterator[Groups]:
    made: Groups = {}
    yield made
    for one in reversed(made.values()):  # later ones hold the pipes of earlier ones
        one.close()


def run(groups: Groups, kind: str, sizes: list[list[int]], *args: Any, **options: Any) -> list[dict[str, Any]]:
    """What each rank has after training on batches of these sizes."""
    group = groups.get(len(sizes))
    if group is None:
        group = groups[len(sizes)] = Group(len(sizes))
    try:
        return group.run(call, kind, sizes, args, options, timeout=60.0)
    except GroupFailed:
        del groups[len(sizes)]
        raise


def call(kind: str, sizes: list[list[int]], args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    return fit(kind, sizes, *args, **options)


def sizes(*counts: int) -> list[list[int]]:
    """Batches of two samples, so many by rank."""
    return [[2] * count for count in counts]


GRID = [
    ("stream", (3, 2), 1),
    ("sized", (2, 1, 2), 2),
    ("own", (3, 1), 2),
    ("own", (0, 3, 1), 1),
    ("different", (2, 4), 1),
    ("known", (1, 3), 1),
    ("known", (3, 0, 2), 2),
    ("workers", (2, 3), 1),
    ("rows", (2, 3), 2),
]
if SOAK:
    COUNTS = [(1, 2), (3, 2), (0, 3), (4, 1), (2, 2), (1, 2, 3), (3, 0, 1), (0, 0, 2), (2, 2, 2), (1, 1, 0)]
    GRID = [(kind, counts, every) for kind in (*DEALT, *OWN) for counts in COUNTS for every in (1, 2, 3)]


@pytest.mark.parametrize(("kind", "counts", "accumulate"), GRID)
def test_weights_are_those_of_one_process(groups: Groups, kind: str, counts: tuple[int, ...], accumulate: int) -> None:
    rounds = rounds_of(kind, sizes(*counts))
    results = run(groups, kind, sizes(*counts), "rows", accumulate_grad_batches=accumulate)
    ours = same_everywhere(results)
    weights, loss = alone(rounds, accumulate)
    assert close(ours["weights"], weights)
    assert ours["steps"] == 2 * -(-len(rounds) // accumulate)
    assert ours["batches"] == 2 * len(rounds)
    for one in results:  # what is logged in rounds without a batch has no weight
        assert one["metrics"]["loss_epoch"] == pytest.approx(loss, rel=1e-9)
        numbers = [number for number, batches in enumerate(rounds) for _ in batches]
        assert one["metrics"]["witness"] == pytest.approx(sum(numbers) / len(numbers), rel=1e-6)


RAGGED = [[[2, 2, 2], [3, 1]], [[1, 2, 4, 2], [5]], [[4], [1, 1], [2, 2, 3]], [[2, 3], [], [1, 1, 2]]]
WEIGHED = [(0, 2, True), (1, 2, False), (2, 3, False), (3, 2, True)]


@pytest.mark.parametrize(("which", "accumulate", "clips"), WEIGHED)
@pytest.mark.parametrize("kind", ["own", "stream", "known"] if SOAK else ["own"])
def test_windows_are_one_big_batch(groups: Groups, kind: str, which: int, accumulate: int, clips: bool) -> None:
    """Of batches with different sizes, each sample of a window counts the same, on all processes together."""
    made = RAGGED[which]
    clip = 0.05 if clips else None
    results = run(groups, kind, made, accumulate_grad_batches=accumulate, gradient_clip_val=clip)
    weights, loss = alone(rounds_of(kind, made), accumulate, clip=clip, by_sample=True)
    ours = same_everywhere(results)
    assert close(ours["weights"], weights)
    assert ours["metrics"]["loss_epoch"] == pytest.approx(loss, rel=1e-9)


TABLES = [(2, 10, 2, 2, False), (2, 14, 2, 2, True), (3, 15, 2, 2, False)]
if SOAK:
    TABLES = [
        (world, count * world, size, every, weigh)
        for world in (1, 2, 3)
        for count in (1, 4, 5, 7)
        for size in (1, 2, 3)
        for every in (2, 3)
        for weigh in (False, True)
    ]


@pytest.mark.parametrize(("world", "count", "size", "accumulate", "weigh"), TABLES)
def test_windows_over_samplers(groups: Groups, world: int, count: int, size: int, accumulate: int, weigh: bool) -> None:
    """Where sizes are equal by the way that batches are made, nothing is exchanged but once an epoch."""
    if world not in groups:
        groups[world] = Group(world)
    flags = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 0.5}
    results = groups[world].run(call_table, world, count, size, weigh, flags)
    rounds = rounds_of_table(count, size, world)
    windows = -(-len(rounds) // accumulate)
    weights, _ = alone(rounds, accumulate, clip=0.5, by_sample=True)
    for ours, *calls in results:
        assert ours == results[0][0]
        assert close(ours, weights)
        assert world == 1 or calls == [1 + weigh * windows] * 2


def call_table(world: int, count: int, size: int, weigh: bool, flags: dict[str, Any]) -> Any:
    return fit_table(world, count, size, weigh, **flags)


@pytest.mark.parametrize("weigh", [False, True])
def test_weights_that_are_returned(groups: Groups, weigh: bool) -> None:
    """Sizes are equal by the way that batches are made, unless a step says what its loss weighs."""
    made = [[2, 2, 2], [2, 2, 2]]
    ours = same_everywhere(run(groups, "known", made, "plain", {"weigh": weigh}, accumulate_grad_batches=2))
    assert close(ours["weights"], alone(rounds_of("known", made), 2, by_sample=True)[0])


@pytest.mark.parametrize(("net", "options"), [("plain", {}), ("unused", {"find_unused_parameters": True})])
def test_a_skipped_batch(groups: Groups, net: str, options: dict[str, Any]) -> None:
    """One that a rank skips adds nothing; and with unused parameters, no rank waits for their gradients."""
    for accumulate, kind, made in ((1, "known", sizes(3, 3)), (2, "own", sizes(3, 2))):
        model = {"skip": ((0, 1),)}
        ours = same_everywhere(run(groups, kind, made, net, model, options, accumulate_grad_batches=accumulate))
        rounds = rounds_of(kind, made)
        if accumulate == 2:  # the window is that of the batches that were not skipped
            del rounds[1][0]
            weights = alone(rounds, 2)[0]
            assert close(ours["weights"][: len(weights)], weights)


ALL_SKIP = [
    ("known", (3, 3), 1, {(0, 1), (1, 1)}),  # a round
    ("known", (4, 4), 2, {(0, 2), (1, 2), (0, 3), (1, 3)}),  # a window
    ("known", (4, 4), 2, {(0, 1), (1, 1), (0, 2), (1, 3)}),  # something of each window
    ("own", (3, 2), 1, {(0, 2), (0, 0), (1, 0)}),  # what the other has run out of
]


@pytest.mark.parametrize(("kind", "counts", "accumulate", "skipped"), ALL_SKIP)
def test_what_all_skip(
    groups: Groups, kind: str, counts: tuple[int, ...], accumulate: int, skipped: set[tuple[int, int]]
) -> None:
    """The optimizer rests where nobody has a loss, and a window is that of the batches that are left."""
    model = {"skip": tuple(skipped)}
    ours = same_everywhere(run(groups, kind, sizes(*counts), "plain", model, accumulate_grad_batches=accumulate))
    rounds = [
        [one for rank, one in enumerate(batches) if (rank, number) not in skipped]
        for number, batches in enumerate(rounds_of(kind, sizes(*counts)))
    ]
    assert close(ours["weights"], alone(rounds, accumulate)[0])
    assert ours["steps"] == 2 * -(-len(rounds) // accumulate)


def test_a_window_with_skipped_batches_goes_on(groups: Groups, tmp_path: Path) -> None:
    """From every batch of it, whether what was skipped comes before or after."""
    model: dict[str, Any] = {"skip": ((0, 0), (1, 0), (0, 4), (1, 5))}
    options: dict[str, Any] = {"accumulate_grad_batches": 3, "model": model}
    whole = same_everywhere(run(groups, "known", sizes(6, 6), callbacks=[Saving(str(tmp_path))], **options))
    for index in range(5) if SOAK else (0, 4):
        rest = same_everywhere(run(groups, "known", sizes(6, 6), ckpt_path=f"{tmp_path}/{index}.ckpt", **options))
        assert [rest[key] for key in ("weights", "steps")] == [whole[key] for key in ("weights", "steps")], index


@pytest.mark.parametrize("kind", ["sized", "own", "known"])
def test_error_names_all_counts(groups: Groups, kind: str) -> None:
    with pytest.raises(GroupFailed) as raised:
        run(groups, kind, sizes(3, 2), strategy={"uneven": "error"})
    text = str(raised.value)
    counts = {"sized": "rank 0: 3; rank 1: 2", "own": "rank 0: more than 2; rank 1: 2", "known": "rank 0: 3; rank 1: 2"}
    assert counts[kind] in text
    assert "limit_train_batches" in text and 'DDPStrategy(uneven="join")' in text


@pytest.mark.parametrize(
    ("net", "options", "words"),
    [("by hand", {}, "manual optimization"), ("plain", {"static_graph": True}, "static_")],
)  # fmt: skip
def test_where_they_cannot_differ(groups: Groups, net: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(GroupFailed, match="rank 0: 3; rank 1: 2") as raised:
        run(groups, "known", sizes(3, 2), net, strategy=options)
    assert words in str(raised.value)


def test_layers_that_talk() -> None:
    strategy = DDPStrategy()
    strategy._lightning_module = Net()
    assert strategy.why_not_uneven() is None
    strategy._lightning_module.layers.insert(1, torch.nn.SyncBatchNorm(8))
    assert "SyncBatchNorm" in str(strategy.why_not_uneven())


def test_the_choice() -> None:
    with pytest.raises(MisconfigurationException, match='"join"'):
        DDPStrategy(uneven="skip")  # type: ignore[arg-type]


def test_validation_limits_and_schedules(groups: Groups) -> None:
    """What goes by batches and steps happens at the same ones on all ranks, also on one that has none."""
    for kind in ("own", "stream"):
        made = sizes(5, 1)
        results = run(groups, kind, made, "validated", val_check_interval=2, max_steps=7, max_epochs=9)
        ours = same_everywhere(results)
        assert ours["steps"] == 7
        assert len({one["metrics"]["val"] for one in results}) == 1
        results = run(groups, kind, made, limit_train_batches=2)
        assert same_everywhere(results)["batches"] == 4
        assert close(results[0]["weights"], alone(rounds_of(kind, made)[:2])[0])
    results = run(groups, "own", made, callbacks=[Ending(2)], max_epochs=3)
    assert 3 <= same_everywhere(results)["batches"] <= 5


def test_an_epoch_without_batches(groups: Groups) -> None:
    with pytest.raises(GroupFailed, match="gave no batch, so the epoch was empty"):
        run(groups, "own", sizes(0, 0))
    with pytest.raises(GroupFailed, match="The training loader has no batches"):
        run(groups, "known", sizes(0, 0))


def test_hooks_in_rounds_without_a_batch(groups: Groups) -> None:
    """They get the last batch that the process had, None before its first, and no outputs."""
    first, second = run(groups, "own", sizes(1, 2), max_epochs=1)
    assert [one[0] for one in first["seen"]] == [one[0] for one in second["seen"]] == [0, 1]
    assert first["seen"][1] == (1, first["seen"][0][1], False)
    assert [one[2] for one in second["seen"]] == [True, True]
    first, second = run(groups, "own", sizes(0, 1), max_epochs=1)
    assert first["seen"] == [(0, None, False)]


def test_running_means_are_those_of_a_process_that_trains(groups: Groups) -> None:
    few = run(groups, "own", sizes(1, 1), "plain", {"norm": True})
    results = run(groups, "own", sizes(1, 4), "plain", {"norm": True})
    ours = same_everywhere(results)
    assert ours["buffers"] == results[1]["buffers"] != few[0]["buffers"]
    assert ours["buffers"][2] == [8.0]  # num_batches_tracked: two epochs of four


def test_callbacks_and_loggers(groups: Groups, tmp_path: Any) -> None:
    saving = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=3, save_top_k=-1)
    options = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 1, "callbacks": [LearningRateMonitor(), saving]}
    same_everywhere(run(groups, "own", sizes(1, 3), enable_checkpointing=True, **options))
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == ["epoch=0-step=3.ckpt", "epoch=1-step=6.ckpt"]
    with open(tmp_path / "lightning_logs" / "version_0" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    # also of steps in which rank 0, which logs, has no batch
    assert [row["step"] for row in rows if row["loss_step"]] == [str(number) for number in range(6)]


def test_turns_leave_nothing_behind() -> None:
    """What processes tell each other is deleted again, and an earlier pass is not heard in a later one."""
    store = TCPStore("127.0.0.1", 0, 1, is_master=True, wait_for_workers=False)
    ranks = [Turns(store, rank, 2, lambda where: nullcontext()) for rank in range(2)]
    before = store.num_keys()
    for counts in [(5, 3), (0, 4), (1, 1)]:
        heard = []
        for turns in ranks:
            turns.begin()
        for number in range(max(counts) + 2):
            for turns, count in zip(ranks, counts, strict=True):
                turns.say(number, number < count)
            if number:
                found = {turns.hear(number - 1) for turns in ranks}
                assert len(found) == 1
                heard.append(found.pop())
        assert heard == [tuple(r for r in (0, 1) if number < counts[r]) for number in range(max(counts) + 1)]
        assert store.num_keys() - before <= 2 * 4


def test_kinds_of_loaders() -> None:
    stream = loader_of("stream", sizes(1, 1))
    assert [kind_of(one, True) for one in (stream, [1, 2], iter([1]), loader_of("own", sizes(1, 1)))] == [
        "ask", "ask", "ask", "own",
    ]  # fmt: skip
    assert kind_of(stream, False) == "own"
    stream.dataset.shards_itself = False
    assert kind_of(stream, True) == "dealt"
