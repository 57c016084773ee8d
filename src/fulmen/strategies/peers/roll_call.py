"""A place that all ranks have to come to before any goes on, where it may be that not all of them do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fulmen.strategies.peers.faults import PeerFailed

if TYPE_CHECKING:
    from fulmen.strategies.peers.peers import Peers

# How often to look, in seconds, and after how many to ask who has gone on.
_SOON = 0.001
_USUAL = 0.1
_ASK = 1.0


class RollCall:
    """Waits until all ranks have come to a place, or finds out who has gone on. It is meant for few places.

    Args:
        peers: This rank's view of the others.
        store: What all share.
    """

    def __init__(self, peers: Peers, store: Any) -> None:
        self._peers = peers
        self._store = store.clone()  # while one is asked, another thread must not have to wait
        self._last = ""

    def absent(self, place: str) -> list[int]:
        """Waits for the others.

        Args:
            place: The place's name among those that come after the same `peers.places`.

        Returns:
            The ranks that have passed the place without having come to it; none if all are here.

        Raises:
            PeerFailed: If another rank has failed.
        """
        peers, store = self._peers, self._store
        before, self._last = self._last, f"roll/{peers.places}/{place}"
        done = f"{self._last}/all"
        if store.add(self._last, 1) == peers.world_size:
            store.set(done, b"1")
            for key in (before, f"{before}/all") if before else ():  # all have left it
                store.delete_key(key)
        pause, asked = _SOON, time.monotonic()
        while not store.check([done]):
            if time.monotonic() - asked < _ASK:
                time.sleep(pause)
                pause = min(2 * pause, _USUAL)
                continue
            answers = peers.ask()
            if peers.culprit is not None:
                raise PeerFailed(peers.culprit, peers.world_size)
            gone = [rank for rank, one in answers.items() if one is not None and _is_further(one, peers)]
            if gone and not store.check([done]):  # who came may have gone on since
                return gone
            asked = time.monotonic()
        return []


def _is_further(answer: dict[str, Any], peers: Peers) -> bool:
    """Whether a rank has passed a place or a gate that this one has not."""
    return bool(answer["places"] > peers.places or tuple(answer["passed"]) > peers.passed)
