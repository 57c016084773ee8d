"""What the ranks tell each other through a store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from fulmen.strategies.peers.wire import Wire

# The store's own limit. It never runs out in the usual case: nothing is read before it is known to be there.
_TIMEOUT = timedelta(seconds=5)


class Board:
    """News, which all ranks read in one order, and notes, of which each rank has one under a topic.

    To see whether there is news is one operation.

    Args:
        store: A store of torch that can append. The board gets a connection of its own: one that another thread waits
            on is blocked.
        rank: This rank.

    Raises:
        StoreLost: By all methods, if the store is gone.
        NoAnswer: By all methods, if it does not answer.
    """

    def __init__(self, store: Any, rank: int) -> None:
        self.rank = rank
        self._store = store.clone()
        self._store.set_timeout(_TIMEOUT)
        self._wire = Wire()
        self._heard = 0  # by the count of news
        self._read = 0  # characters

    def start(self) -> None:
        """Begins to take calls."""
        self._wire.start()

    def stop(self) -> None:
        """Ends."""
        self._wire.stop()

    def say(self, what: str, **more: Any) -> None:
        """Adds to the news. It may be added twice if an answer is late.

        Args:
            what: The kind of event.
            **more: What else it holds.
        """
        line = json.dumps({"what": what, "rank": self.rank, **more}) + "\n"

        def say() -> None:
            self._store.append("log", line)
            self._store.add("news", 1)

        self._wire.call(say)

    def news(self) -> list[dict[str, Any]]:
        """What was added by anybody since this was asked last."""
        count = self._wire.call(lambda: self._store.add("news", 0))
        if count == self._heard:
            return []
        text = self._wire.call(lambda: self._store.get("log")).decode()
        new = text[self._read :]
        self._heard, self._read = count, len(text)
        return [json.loads(line) for line in new.splitlines()]

    def note(self, topic: str, value: Any) -> None:
        """Puts down this rank's note.

        Args:
            topic: What it is about.
            value: Plain data.
        """
        text = json.dumps(value)
        self._wire.call(lambda: self._store.set(f"{topic}/{self.rank}", text))

    def notes(self, topic: str, ranks: Iterable[int]) -> dict[int, Any] | None:
        """The notes of several ranks.

        Args:
            topic: What they are about.
            ranks: Whose.

        Returns:
            None unless all of them are there.
        """
        wanted = list(ranks)
        keys = [f"{topic}/{rank}" for rank in wanted]
        if not keys:
            return {}
        if not self._wire.call(lambda: self._store.check(keys)):
            return None
        values = self._wire.call(lambda: self._store.multi_get(keys))
        return {rank: json.loads(value) for rank, value in zip(wanted, values)}

    def notes_there_are(self, topic: str, ranks: Iterable[int]) -> dict[int, Any]:
        """The notes of those among several ranks who have put one down; an operation for each.

        Args:
            topic: What they are about.
            ranks: Whose.
        """
        found: dict[int, Any] = {}
        for rank in ranks:
            found.update(self.notes(topic, [rank]) or {})
        return found
