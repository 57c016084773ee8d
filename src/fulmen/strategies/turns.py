"""Which processes have a batch in a round, where nobody knows that of the others beforehand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

Waiting = Callable[[str], AbstractContextManager[Any]]
_PATIENCE = timedelta(days=30)  # whoever is gone or stalls is found by others


class Turns:
    """Each process says ahead of time whether it has a batch; it goes through the store, without a collective.

    Args:
        store: A store that all share. A connection of its own is used, since one that is waited on is blocked.
        rank: This process's number.
        world_size: How many there are.
        waiting: Makes a context in which this process says what it waits for.
    """

    def __init__(
        self, store: Any, rank: int, world_size: int, waiting: Callable[[str], AbstractContextManager[Any]]
    ) -> None:
        self._store = store.clone()
        self._store.set_timeout(_PATIENCE)
        self.rank, self.world_size = rank, world_size
        self._waiting = waiting
        self._pass = 0
        self._said: dict[int, str] = {}
        self._left: list[str] = []  # of an earlier pass

    def begin(self) -> None:
        """Begins a pass. All processes do so at the same place."""
        self._pass += 1
        self._left += self._said.values()
        self._said = {}

    def say(self, number: int, has: bool) -> None:
        """Says whether this process has a batch in a round.

        Args:
            number: The round's. All rounds are said in order, and each before the one before it is heard.
            has: Whether it has one.
        """
        self._said[number] = key = self._key(number, self.rank)
        self._store.set(key, b"1" if has else b"0")

    def hear(self, number: int) -> tuple[int, ...]:
        """Waits until all have spoken.

        Args:
            number: The round's.

        Returns:
            The ranks that have a batch in it.
        """
        keys = [self._key(number, rank) for rank in range(self.world_size)]
        with self._waiting("the others' word on whether they have a batch"):
            said = self._store.multi_get(keys)
        self._forget(number - 2)  # who has spoken of a round has heard all that was said two before it
        return tuple(rank for rank, one in enumerate(said) if one == b"1")

    def _forget(self, number: int) -> None:
        key = self._said.pop(number, None)
        for old in [*self._left, *([] if key is None else [key])]:
            self._store.delete_key(old)
        self._left = []

    def _key(self, number: int, rank: int) -> str:
        return f"turns/{self._pass}/{number}/{rank}"
