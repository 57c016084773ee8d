"""Checkpoints at remote addresses, through fsspec and its stores' own way of committing."""

from __future__ import annotations

from contextlib import suppress
from typing import IO, TYPE_CHECKING

from fulmen.checkpoint.save_error import failed_proof, save_error
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.seal import BrokenSeal, check_seal
from fulmen.utilities.whole_files import remote

if TYPE_CHECKING:
    from collections.abc import Callable


def place(address: str, write: Callable[[IO[bytes]], bytes | None]) -> None:
    """Writes a file that appears under its name when it is whole, and reads it back.

    Args:
        address: Such as ``s3://bucket/run/last.ckpt``.
        write: Writes to a file, and returns the digest of its seal; None if what it writes has no seal.

    Raises:
        CheckpointSaveError: If that fails.
    """
    try:
        # of its own, since a transaction takes in all that is written through the same object, by other threads too
        filesystem, inner = remote(address, skip_instance_cache=True)
        with suppress(PermissionError):  # a bucket is there although not everybody may make one
            filesystem.makedirs(filesystem._parent(inner), exist_ok=True)
        with filesystem.transaction, filesystem.open(inner, "wb") as file:
            digest = write(file)
        filesystem.invalidate_cache()
        with filesystem.open(inner, "rb") as file:
            seal = check_seal(file)
    except BrokenSeal as error:
        raise save_error(address, failed_proof(address, str(error))) from error
    except (MisconfigurationException, ImportError):
        raise
    except Exception as error:  # each store has errors of its own kind
        raise save_error(address, error) from error
    if (seal.digest if seal is not None else None) != digest:
        raise save_error(address, failed_proof(address, "another digest"))


def remove(address: str) -> None:
    """Removes a file or a folder, if it is there."""
    filesystem, inner = remote(address)
    with suppress(FileNotFoundError):
        filesystem.rm(inner, recursive=True)
