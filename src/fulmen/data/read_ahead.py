"""Batches that are read before the loop comes to them: the random state, and the place of the loaders, before each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from fulmen.data.stream import Noted, Stream


class ReadAhead:
    """Notes the place of each batch before it is read.

    Args:
        batches: The batches.
        streams: The loaders that they come from.
        begun: Batches of the pass that an earlier run has used.
        depth: How many places are kept.
        pending: Random states in which batches were read that the loop of an earlier run had not come to.
    """

    def __init__(
        self,
        batches: Iterator[Any],
        streams: Sequence[Stream],
        begun: int,
        depth: int,
        pending: list[dict[str, Any]] | None = None,
    ) -> None:
        self.batches = batches
        self.generators = [generator for stream in streams for generator in stream.generators]
        self.streams = streams
        self.count = begun
        self.kept: deque[tuple[int, list[dict[str, Any]], Noted]] = deque(maxlen=depth + 1)
        self.ready: deque[Any] = deque()
        self._read_again(pending or [])

    def _read_again(self, pending: list[dict[str, Any]]) -> None:
        present = Noted.take(self.generators)
        for state in pending:
            Noted.of(state).put(self.generators)
            try:
                self.ready.append(self._read())
            except StopIteration:
                break
        if pending:
            present.put(self.generators)

    def _read(self) -> Any:
        self.kept.append((self.count, [stream.place() for stream in self.streams], Noted.take(self.generators)))
        batch = next(self.batches)
        self.count += 1
        return batch

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.ready.popleft() if self.ready else self._read()

    def at(self, consumed: int) -> tuple[list[dict[str, Any]] | None, list[Noted]]:
        """Where things were when so many batches of the pass were done.

        Args:
            consumed: The batches.

        Returns:
            The places of the streams, None if nothing was read since; and the random states in which each batch was
            read since.
        """
        since = [(places, noted) for count, places, noted in self.kept if consumed <= count < self.count]
        return (since[0][0] if since else None), [noted for _, noted in since]
