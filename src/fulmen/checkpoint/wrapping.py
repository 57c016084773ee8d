"""A checkpoint IO around another."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fulmen.checkpoint.io import CheckpointIO, TorchCheckpointIO, join, poll, when_saved


class _WrappingCheckpointIO(CheckpointIO):
    """Hands everything on to another checkpoint IO; subclass it to add something on the way.

    Args:
        checkpoint_io: The one that does the work; None for a ``TorchCheckpointIO``.
    """

    def __init__(self, checkpoint_io: CheckpointIO | None = None) -> None:
        self._checkpoint_io = TorchCheckpointIO() if checkpoint_io is None else checkpoint_io

    @property
    def checkpoint_io(self) -> CheckpointIO:
        """The one that does the work."""
        return self._checkpoint_io

    @checkpoint_io.setter
    def checkpoint_io(self, checkpoint_io: CheckpointIO) -> None:
        self._checkpoint_io = checkpoint_io

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        self.checkpoint_io.save_checkpoint(checkpoint, path, storage_options=storage_options)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        # What was not said is left to the other one, which may have defaults of its own, or know fewer arguments.
        said = {"map_location": map_location, "weights_only": weights_only}
        return self.checkpoint_io.load_checkpoint(
            path, **{name: value for name, value in said.items() if value is not None}
        )

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        self.checkpoint_io.remove_checkpoint(path)

    def when_saved(
        self, path: str | os.PathLike[str], action: Callable[[], None], if_failed: Callable[[], None] | None = None
    ) -> None:
        when_saved(self.checkpoint_io, path, action, if_failed)

    def poll(self) -> None:
        poll(self.checkpoint_io)

    def join(self) -> None:
        join(self.checkpoint_io)

    def teardown(self) -> None:
        self.checkpoint_io.teardown()
