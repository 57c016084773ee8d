"""How a checkpoint gets to disk and back."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import Any

import torch

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.parsing import is_picklable
from fulmen.utilities.safe_load import load as load


def atomic_save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Writes a file that is either whole or not there.

    The file is written beside its final name, brought to the disk, and then renamed over whatever had that name. If
    anything goes wrong, what was there before is untouched and nothing is left behind.

    Args:
        obj: What to save; see ``torch.save``.
        path: The file; folders are made as needed.

    Raises:
        MisconfiguredValue: If the path is an address of another kind than a local file.
        MisconfigurationException: If something in `obj` cannot be pickled; names it.
    """
    target = os.fspath(path)
    if "://" in target:
        raise MisconfiguredValue(
            "Checkpoints are written to local files.", got=target, fix="Give a path, and copy the file when it is done."
        )
    folder, name = os.path.split(os.path.abspath(target))
    os.makedirs(folder, exist_ok=True)
    beside = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.part")
    try:
        _write(obj, beside)
        os.replace(beside, target)
    except BaseException:
        if os.path.exists(beside):
            os.remove(beside)
        raise
    _sync_folder(folder)


def _write(obj: Any, path: str) -> None:
    with open(path, "xb") as file:
        try:
            torch.save(obj, file)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            entries = obj.items() if isinstance(obj, Mapping) else ()
            culprits = [f"{name!r}" for name, value in entries if not is_picklable(value)]
            raise MisconfigurationException(
                "A checkpoint holds what can be pickled.",
                got=f"{', '.join(culprits) or type(obj).__name__}: {error}",
                fix="Leave it out of `save_hyperparameters` (`ignore=[...]`), `on_save_checkpoint` or `state_dict`; "
                "a function at the top level of a module can be pickled where a lambda cannot.",
            ) from error
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: str) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened, and the rename needs no such step
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
