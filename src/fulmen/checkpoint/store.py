"""How a checkpoint gets to disk and back."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import IO, Any, cast

import torch

from fulmen.checkpoint import remote
from fulmen.checkpoint.folder import make, part_name, part_of, synced
from fulmen.checkpoint.save_error import CheckpointSaveError as CheckpointSaveError
from fulmen.checkpoint.save_error import failed_proof, save_error
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.parsing import is_picklable
from fulmen.utilities.safe_load import load as load
from fulmen.utilities.seal import BrokenSeal, Sealing, check_seal
from fulmen.utilities.whole_files import is_remote, plain_path

_BUFFER = 1 << 20


def atomic_save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Writes a file that is either whole or not there, and says so itself.

    The file is written beside its final name, sealed with a digest, brought to the disk, read back and compared, and
    then renamed over whatever had that name. If anything goes wrong, what was there before is untouched and nothing
    is left behind. A remote file is committed in its store's own way, and read back.

    Args:
        obj: What to save; see ``torch.save``.
        path: The file, or an address that fsspec knows; folders are made as needed.

    Raises:
        CheckpointSaveError: If the disk, the rights or a remote store do not allow it; says what to do.
        MisconfigurationException: If something in `obj` cannot be pickled; names it.
    """
    place(path, partial(_write, obj))


def place(path: str | os.PathLike[str], write: Callable[[IO[bytes]], bytes | None]) -> None:
    """Puts a file under its name when it is whole and proven; see :func:`atomic_save`.

    Args:
        path: The file, or an address that fsspec knows.
        write: Writes to a file, and returns the digest of its seal; None if what it writes has no seal.

    Raises:
        CheckpointSaveError: If that fails.
    """
    target = plain_path(path)
    if is_remote(target):
        return remote.place(target, write)
    folder, name = os.path.split(os.path.abspath(target))
    try:
        make(folder)
        with synced(folder), part_of(folder, name) as part:
            with open(part, "wb", buffering=_BUFFER) as file:
                digest = write(file)
                file.flush()
                os.fsync(file.fileno())
            _prove(part, digest)
            os.replace(part, target)
    except OSError as error:
        raise save_error(target, error) from error


def link(source: str, path: str) -> None:
    """Makes a name a link to a local checkpoint, in one step.

    Args:
        source: The file or folder.
        path: The name of the link; a file or link that has it goes.

    Raises:
        CheckpointSaveError: If that fails, also where the system knows no links.
    """
    folder, name = os.path.split(os.path.abspath(path))
    goal = os.path.relpath(source, folder)
    try:
        with synced(folder):
            try:
                _link(goal, folder, name)
            except FileNotFoundError:
                _link(goal, folder, name)  # links cannot be locked: another run that starts here may have cleaned it up
    except OSError as error:
        raise save_error(path, error) from error


def _link(goal: str, folder: str, name: str) -> None:
    part = os.path.join(folder, part_name(name))
    try:
        os.symlink(goal, part)
        os.replace(part, os.path.join(folder, name))
    except BaseException:
        with suppress(OSError):
            os.remove(part)
        raise


def copy(source: str, path: str) -> None:
    """Copies a local checkpoint, a file with its seal or a folder, to another name.

    Args:
        source: The file or folder.
        path: The name of the copy; a file that has it goes when the copy is proven.

    Raises:
        CheckpointSaveError: If that fails.
    """

    def write(file: IO[bytes]) -> bytes | None:
        with open(source, "rb") as original:
            try:
                seal = check_seal(original)
            except BrokenSeal as error:
                raise failed_proof(source, str(error)) from error
            shutil.copyfileobj(original, file, _BUFFER)
        return seal.digest if seal is not None else None

    if not os.path.isdir(source):
        return place(path, write)
    folder, name = os.path.split(os.path.abspath(path))
    try:
        with synced(folder), part_of(folder, name, is_folder=True) as part:
            shutil.copytree(source, part, dirs_exist_ok=True)
            os.replace(part, path)
    except OSError as error:
        raise save_error(path, error) from error


def remove(path: str | os.PathLike[str]) -> None:
    """Removes a checkpoint, a file or a folder, local or remote; one that is not there is fine.

    Raises:
        CheckpointSaveError: If that fails.
    """
    target = plain_path(path)
    if is_remote(target):
        return remote.remove(target)
    try:
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        else:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.remove(target)
    except OSError as error:
        raise save_error(target, error, "removed") from error


def _write(obj: Any, file: IO[bytes]) -> bytes:
    sealing = Sealing(file)
    try:
        torch.save(obj, cast("IO[bytes]", sealing))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        entries = obj.items() if isinstance(obj, Mapping) else ()
        culprits = [f"{name!r}" for name, value in entries if not is_picklable(value)]
        raise MisconfigurationException(
            "A checkpoint holds what can be pickled.",
            got=f"{', '.join(culprits) or type(obj).__name__}: {error}",
            fix="Leave it out of `save_hyperparameters` (`ignore=[...]`), `on_save_checkpoint` or `state_dict`; "
            "a function at the top level of a module can be pickled where a lambda cannot.",
        ) from error
    step = obj.get("global_step", -1) if isinstance(obj, Mapping) else -1
    resumable = isinstance(obj, Mapping) and "optimizer_states" in obj
    return sealing.seal(step if isinstance(step, int) else -1, resumable)


def _prove(path: str, digest: bytes | None) -> None:
    """Raises unless a file holds what was written to it."""
    with open(path, "rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):  # so that it comes from the disk and not from memory
            try:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            except OSError:
                pass  # a hint that not every system takes
        try:
            seal = check_seal(file)
        except BrokenSeal as error:
            raise failed_proof(path, str(error)) from error
    found = seal.digest if seal is not None else None
    if found != digest:
        raise failed_proof(path, "another digest")
