"""All ranks stop at the same gate, whoever asks for it, whatever the others do. Threads play the ranks."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from fulmen.strategies.peers import watchdog
from fulmen.strategies.peers.agreement import END, Agreement
from fulmen.strategies.peers.peers import Peers

GATES = 12
POSITIONS = [(batch, kind) for batch in range(1, GATES // 2 + 1) for kind in (0, 2)]
_runs = itertools.count()


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watchdog, "_USUAL", 0.004)
        patch.setattr(watchdog, "_SOON", 0.001)
        yield dist.HashStore()  # to connect to a TCPStore takes seconds where names are looked up slowly


@dataclass(frozen=True)
class Wish:
    rank: int
    gate: int
    text: str
    by_signal: bool
    goes_on: bool


WISHES = st.lists(
    st.builds(
        Wish,
        rank=st.integers(0, 2),
        gate=st.integers(0, GATES - 1),
        text=st.sampled_from(["stop", "signal:15"]),
        by_signal=st.booleans(),
        goes_on=st.booleans(),
    ),
    max_size=3,
)


def play(store: Any, world_size: int, wishes: list[Wish], paces: list[float], lockstep: bool) -> list[list[Any]]:
    """Returns where each rank has stopped, and why; none ends before its last gate."""
    prefix = f"run{next(_runs)}"
    barrier = threading.Barrier(world_size)
    stops: list[list[Any]] = [[] for _ in range(world_size)]
    errors: list[BaseException] = []

    def rank(number: int) -> None:
        peers = Peers(dist.PrefixStore(prefix, store), number, world_size)
        peers.start()
        wish = ""
        try:
            for gate, position in enumerate(POSITIONS):
                if lockstep:
                    barrier.wait(30)  # as a collective: all or none
                time.sleep(paces[number])
                now = ""
                for one in wishes:
                    if (one.rank % world_size, one.gate) == (number, gate):
                        if one.by_signal:
                            peers.wish_from_signal = one.text
                        else:
                            now, wish = one.text, one.text if one.goes_on else wish
                reason = peers.gate(position, now or wish)
                if reason:
                    stops[number].append((position, reason))
                    wish = ""
            peers.close()
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=rank, args=(number,)) for number in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert not any(thread.is_alive() for thread in threads)
    return stops


@given(
    world_size=st.integers(2, 3),
    wishes=WISHES,
    paces=st.lists(st.sampled_from([0.0, 0.001, 0.004]), min_size=3, max_size=3),
    lockstep=st.booleans(),
)
def test_all_stop_at_the_same_gates(
    store: Any, world_size: int, wishes: list[Wish], paces: list[float], lockstep: bool
) -> None:
    stops = play(store, world_size, wishes, paces, lockstep)
    assert all(one == stops[0] for one in stops)
    assert [reason for _, reason in stops[0]] == [] or wishes


@given(gate=st.integers(0, GATES - 2), rank=st.integers(0, 2), world_size=st.integers(2, 3))
def test_in_lockstep_a_wish_is_obeyed_at_once(store: Any, gate: int, rank: int, world_size: int) -> None:
    """Others may have passed the gate at which it is said, and no further one."""
    wish = Wish(rank, gate, "stop", by_signal=False, goes_on=False)
    stops = play(store, world_size, [wish], [0.0] * 3, lockstep=True)
    assert all(one == stops[0] for one in stops)
    assert stops[0][0][1] == "stop"
    assert POSITIONS.index(stops[0][0][0]) in (gate, gate + 1)


def test_who_all_want_the_same_stop_where_they_say_so(store: Any) -> None:
    wishes = [Wish(rank, 5, "stop", by_signal=False, goes_on=True) for rank in range(3)]
    assert play(store, 3, wishes, [0.0, 0.002, 0.004], lockstep=False) == [[(POSITIONS[5], "stop")]] * 3


def test_it_can_be_done_again(store: Any) -> None:
    wishes = [Wish(rank, gate, f"stop {gate}", False, True) for gate in (2, 3, 8) for rank in range(2)]
    expected = [(POSITIONS[gate], f"stop {gate}") for gate in (2, 3, 8)]
    assert play(store, 2, wishes, [0.0, 0.002, 0.0], lockstep=False) == [expected] * 2


def test_nobody_stops_where_one_has_left() -> None:
    agreement = Agreement()
    agreement.ask(0, "stop", anybody_left=True)
    assert agreement.verdict((10**9, 3)) == ""
    assert END > (10**9,)


def test_the_first_who_asks_has_the_round() -> None:
    agreement = Agreement()
    agreement.ask(0, "stop")
    agreement.ask(0, "signal:15")
    assert agreement.verdict((1, 0)) is None
    agreement.rounds[0].limit = (1, 2)
    assert agreement.verdict((1, 1, 0, 7)) == ""
    assert agreement.verdict((1, 2)) == ""
    assert agreement.verdict((1, 3)) == "stop"
    assert not agreement.is_open
