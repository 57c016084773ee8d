"""The processes of a group that can be seen from here."""

from __future__ import annotations

from collections.abc import Iterator

from fulmen.strategies.peers import liveness
from fulmen.strategies.peers.faults import Fault
from fulmen.strategies.peers.liveness import Identity


class Neighbours:
    """Which process each rank is, and who has left.

    Args:
        rank: This rank.
        world_size: How many ranks there are.
        identity: Which process this one is.

    Attributes:
        others: Which process each other rank is; empty until all have said it.
        left: The ranks that have left in order.
    """

    def __init__(self, rank: int, world_size: int, identity: Identity) -> None:
        self.identity = identity
        self.others: dict[int, Identity] = {}
        self.left: set[int] = set()
        self._rank = rank
        self._world_size = world_size

    @property
    def owner(self) -> int:
        """The rank in whose process the store lives; -1 if in none of them, or if that is not known yet."""
        if self.identity.owns_store:
            return self._rank
        return next((rank for rank, other in self.others.items() if other.owns_store), -1)

    @property
    def present(self) -> list[int]:
        """All ranks but those that have left in order."""
        return [rank for rank in range(self._world_size) if rank not in self.left]

    def here(self) -> dict[int, Identity]:
        """The other processes on this host that have not left in order."""
        mine = self.identity.host
        return {rank: one for rank, one in self.others.items() if one.host == mine and rank not in self.left}

    def owner_is_gone(self) -> bool:
        """Whether the process in which the store lives has ended on this host without a word."""
        owner = self.here().get(self.owner)
        return owner is not None and liveness.how_it_ended(owner) is not None

    def dead(self) -> set[int]:
        """The ranks on this host whose process has ended without a word."""
        return {rank for rank, other in self.here().items() if liveness.how_it_ended(other) is not None}

    def faults(self) -> Iterator[Fault]:
        """The faults that the ends of processes on this host are, unless they have left in order."""
        for rank, other in self.here().items():
            if (ended := liveness.how_it_ended(other)) is not None:
                yield Fault(rank, *ended)
