"""The seam through which strategies write and read checkpoints."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from fulmen.utilities.exceptions import MisconfiguredType

if TYPE_CHECKING:
    from fulmen.utilities.safe_load import MapLocation


class CheckpointIO(ABC):
    """Writes, reads and removes checkpoints: subclass it for a storage or a format of your own."""

    @abstractmethod
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint.

        Args:
            checkpoint: What to save.
            path: Where.
            storage_options: For the storage, as handed to ``Trainer.save_checkpoint``.
        """

    @abstractmethod
    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint.

        Args:
            path: Where it lies.
            map_location: Where tensors go; see ``torch.load``.
            weights_only: None and True read tensors and plain data alone; False reads everything, which may run
                code: for files you trust.

        Returns:
            What was saved.
        """

    @abstractmethod
    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Removes a checkpoint.

        Args:
            path: Where it lies.
        """

    def when_saved(
        self, path: str | os.PathLike[str], action: Callable[[], None], if_failed: Callable[[], None] | None = None
    ) -> None:
        """Does something once a checkpoint is in its place: at once here, where saving returns when all is done.

        Args:
            path: Where the checkpoint was saved to.
            action: What to do then, such as telling others of the file, or removing the one before it. It runs on
                the thread that saves.
            if_failed: What to do instead if the file could not be written after all.
        """
        action()

    def poll(self) -> None:  # noqa: B027
        """Does what was put off with :meth:`when_saved` if its time has come, and waits for nothing."""

    def join(self) -> None:  # noqa: B027
        """Waits until all that was saved is in its place, and raises what went wrong meanwhile."""

    def teardown(self) -> None:  # noqa: B027 - most have nothing to finish
        """Called when the run ends, to finish what is under way."""


def when_saved(
    io: Any, path: str | os.PathLike[str], action: Callable[[], None], if_failed: Callable[[], None] | None = None
) -> None:
    """:meth:`CheckpointIO.when_saved` for any object that saves, also one that does not know the method."""
    method = getattr(io, "when_saved", None)
    if method is None:
        action()
    else:
        method(path, action, if_failed)


def poll(io: Any) -> None:
    """:meth:`CheckpointIO.poll` for any object that saves, also one that does not know the method."""
    getattr(io, "poll", _nothing)()


def join(io: Any) -> None:
    """:meth:`CheckpointIO.join` for any object that saves, also one that does not know the method."""
    getattr(io, "join", _nothing)()


def _nothing() -> None:
    pass


def _to_cpu(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
    return storage


class TorchCheckpointIO(CheckpointIO):
    """Files in torch's own format, each written whole or not at all."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        if storage_options is not None:
            raise MisconfiguredType(
                "`TorchCheckpointIO` takes no `storage_options`.",
                got=storage_options,
                fix="Leave it out, or give the Trainer a `CheckpointIO` of your own: `Trainer(plugins=[MyIO()])`.",
            )
        from fulmen.checkpoint import store  # only those who save and load pay for it

        store.atomic_save(checkpoint, path)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: MapLocation = _to_cpu,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        from fulmen.checkpoint import store

        checkpoint: dict[str, Any] = store.load(path, map_location, weights_only)
        return checkpoint

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        from fulmen.checkpoint import store

        store.remove(path)
