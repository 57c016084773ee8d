"""Whether all processes say the same of a step, where those that have nothing to say are to pay nothing."""

from __future__ import annotations

from typing import Any

import torch


class Tally:
    """Counts who says something of a step, through the store, without a collective.

    Args:
        store: A store that all share.
        world_size: How many processes there are.
        device: Where the collectives of a step take place.
    """

    def __init__(self, store: Any, world_size: int, device: torch.device) -> None:
        self._store, self._connected = store, False
        self.world_size, self.device = world_size, device
        self._said = self._before = ""

    def say(self, step: str) -> None:
        """Says it of a step, once, before this process takes part in a collective of that step.

        Args:
            step: Its name, which is no other's in the run.
        """
        if self._said == step:
            return
        if not self._connected:  # its own connection, since one that is waited on is blocked
            self._store, self._connected = self._store.clone(), True
        self._before, self._said = self._said, step
        self._store.add(step, 1)

    def is_unanimous(self) -> bool:
        """Whether all have said it of the step that this process said it of last, after that collective."""
        torch.get_device_module(self.device).synchronize()  # not only sent: done, so that all take part
        if self._before:  # who is in this collective has counted those before it
            self._store.delete_key(self._before)
            self._before = ""
        return bool(self._store.add(self._said, 0) == self.world_size)
