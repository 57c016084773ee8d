"""Reading what ``torch.save`` wrote, without running code that a file may hold."""

from __future__ import annotations

import errno
import os
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, TypeAlias

import torch

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun
from fulmen.utilities.file_kinds import START, kind_of
from fulmen.utilities.imports import at_least
from fulmen.utilities.rank_zero import warn_once
from fulmen.utilities.seal import BrokenSeal, check_seal
from fulmen.utilities.suggest import did_you_mean
from fulmen.utilities.whole_files import is_remote, opened, plain_path, previous

MapLocation: TypeAlias = (
    torch.device
    | str
    | int
    | dict[str, str]
    | Callable[[torch.UntypedStorage, str], torch.UntypedStorage | None]
    | None
)
PathOrFile: TypeAlias = str | os.PathLike[str] | IO[bytes]


class UnsafeCheckpointError(MisconfigurationException, pickle.UnpicklingError):
    """A file holds more than tensors and plain data, and reading that could run code."""


class DamagedCheckpointError(MisconfigurationException, pickle.UnpicklingError):
    """A file is no checkpoint, or not a whole one."""


# Until then Lightning read whatever a file held, and files hold what was an argument of somebody's module.
_PLAIN_SINCE = "2.6.0"
_VERSION = "pytorch-lightning_version"


def load(
    source: PathOrFile, map_location: MapLocation = None, weights_only: bool | None = None, whole: bool = False
) -> Any:
    """Reads a checkpoint.

    A file that Fulmen wrote is compared with its seal before anything in it is used. Of files of Lightning before 2.6,
    and of classes that are gone, that is read which a safe load reads; the rest becomes a form that says what it was.

    Args:
        source: A path, an address that fsspec knows, or an open binary file.
        map_location: Where tensors go, as for ``torch.load``. None: where they were, or the CPU if that device is not
            there.
        weights_only: None and True read tensors and plain data alone. False reads everything, which may run code:
            for files you trust.
        whole: Whether nothing may be left out but what is of classes that are gone, and no other file will do in its
            place: for who rewrites it.

    Returns:
        What was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If the file holds what a safe read refuses; names it.
        DamagedCheckpointError: If the file is not what was written, is of another kind, or cannot be read at all; names
            the newest whole one before it in the same folder.
        MisconfiguredRun: If what it holds is nested too deep.
    """
    place = where_it_was if map_location is None else map_location
    if not isinstance(source, (str, os.PathLike)):
        return _versions(_load(source, place, weights_only, describe(source), whole))
    path = plain_path(source)
    try:
        with opened(path) as file:
            return _versions(_load(file, place, weights_only, path, whole))
    except OSError as error:
        if error.errno is None or is_remote(path):
            raise
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise _missing(path) from None
        advice = f"What to do: see that the file can be read. {_other(path, whole)}"
        raise OSError(error.errno, f"{error.strerror}.\n{advice}\nThe file", path) from error


def _missing(path: str) -> FileNotFoundError:
    folder, name = os.path.split(path)
    near = did_you_mean(name, os.listdir(folder or ".")) if os.path.isdir(folder or ".") else ""
    return FileNotFoundError(errno.ENOENT, f"There is no checkpoint at this path. {near}".strip(), path)


def describe(source: PathOrFile) -> str:
    """The path of a checkpoint, for error texts."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else str(getattr(source, "name", "the file"))


def where_it_was(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
    """A ``map_location`` that keeps the device a tensor was saved from, and takes the CPU if it is not there."""
    try:
        restored: torch.UntypedStorage = torch.serialization.default_restore_location(storage, location)
        return restored
    except (RuntimeError, AssertionError):
        return storage


def _load(file: IO[bytes], map_location: Any, weights_only: bool | None, name: str, whole: bool) -> Any:
    try:
        if hasattr(file, "seek") and hasattr(file, "tell"):  # torch says what is wrong with another kind of file
            check_seal(file)
            _refuse_others(file, name)
        return torch.load(file, map_location=map_location, weights_only=weights_only)
    except DamagedCheckpointError:
        raise
    except BrokenSeal as error:
        raise _damaged(name, error, whole) from error
    except pickle.UnpicklingError as error:
        refused = _refused(file, str(error))
        if not refused:
            raise _damaged(name, error, whole) from error
        try:
            return _partly(file, map_location, refused, name, whole)
        except _Unreadable:
            pass
        raise UnsafeCheckpointError(
            f"A checkpoint is read without running code, and `{name}` holds more than tensors and plain data.",
            got=", ".join(refused),
            fix="If you trust the file, pass `weights_only=False`, or allow these types alone with "
            "`torch.serialization.add_safe_globals([...])`.",
        ) from error
    except (ModuleNotFoundError, AttributeError):
        if weights_only is not False:
            raise
        return _trusted(file, map_location, name)
    except (EOFError, KeyError, IndexError, ValueError, struct.error) as error:
        raise _damaged(name, error, whole) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # torch looks for a directory before the beginning of a short file
            raise
        raise _damaged(name, error, whole) from error
    except RuntimeError as error:
        # a file full of zeros looks like an empty archive of torch's oldest format
        if any(mark in str(error) for mark in ("PytorchStreamReader", "legacy .tar", "Invalid magic number")):
            raise _damaged(name, error, whole) from error
        raise


def _refuse_others(file: IO[bytes], name: str) -> None:
    begin = file.tell()
    kind = kind_of(file.read(START))
    file.seek(begin)
    if kind is not None:
        raise DamagedCheckpointError(
            f"A checkpoint is a file that `torch.save` wrote, and `{name}` is none.", got=kind.name, fix=kind.fix
        )


def too_deep(part: str) -> MisconfiguredRun:
    """The error for a part of a checkpoint that cannot be walked through.

    Args:
        part: What it is called.
    """
    return MisconfiguredRun(
        "A checkpoint holds lists and dictionaries that are nested a few hundred levels deep at most.",
        got=f"{part}, which is nested deeper",
        fix="If the file is not yours, leave it. In one of yours, take the part out with `torch.load` and "
        "`torch.save`, and store it flat, such as a list of nodes.",
    )


def _versions(found: Any) -> Any:
    """What was read, without what is no version of a module where torch looks for these, beside the weights."""
    state = found.get("state_dict") if isinstance(found, dict) else None
    kept = vars(state).get("_metadata") if type(state) is OrderedDict else None
    if kept is None or _are_versions(kept):
        return found
    good = {name: one for name, one in kept.items() if _are_versions({name: one})} if isinstance(kept, dict) else None
    vars(state)["_metadata"] = good
    return found


def _are_versions(kept: Any) -> bool:
    return isinstance(kept, dict) and all(
        isinstance(one, dict) and isinstance(one.get("version"), (int, type(None))) for one in kept.values()
    )


class _Unreadable(Exception):
    """A file holds what may not be left out."""


def _partly(file: IO[bytes], map_location: Any, refused: list[str], name: str, whole: bool) -> Any:
    """What of a file can be read without the classes and functions that it names."""
    from fulmen.utilities.oldest_format import holds_modules, load_without_sources  # few files need it
    from fulmen.utilities.stand_in_forms import is_data
    from fulmen.utilities.stand_ins import is_gone, read_with_stand_ins

    def read() -> Any:
        file.seek(0)
        try:
            return torch.load(file, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            if not holds_modules(error):
                raise
        file.seek(0)
        return load_without_sources(file, map_location)

    try:
        found, names = read_with_stand_ins(read, refused)
    except Exception as error:  # what a stand-in is no argument for: the refusal says what is wrong
        raise _Unreadable from error
    named = sorted(one for one in names if not is_data(one))
    if (whole or not _may_hold_anything(found)) and not all(map(is_gone, named)):
        raise _Unreadable
    return _formed(found, named, name)


def _trusted(file: IO[bytes], map_location: Any, name: str) -> Any:
    from fulmen.utilities.stand_ins import read_trusted

    def read(pickles: Any) -> Any:
        file.seek(0)
        return torch.load(file, map_location=map_location, weights_only=False, pickle_module=pickles)

    found, gone = read_trusted(read)
    return _formed(found, sorted(gone), name)


def _may_hold_anything(found: Any) -> bool:
    version = found.get(_VERSION) if isinstance(found, dict) and "fulmen" not in found else None
    return isinstance(version, str) and not at_least(version, _PLAIN_SINCE)


def _formed(found: Any, names: list[str], place: str) -> Any:
    from fulmen.utilities.stand_in_forms import form_all

    if names:
        warn_once(
            f"`{place}` names classes or functions that are not called when a checkpoint is read: {', '.join(names)}. "
            "What is made of them is left out, and all else is read. What to do: nothing, if only weights and the "
            "state of training are needed; if you trust the file and have these classes, pass `weights_only=False`."
        )
    try:
        return form_all(found)
    except RecursionError:
        raise too_deep(f"`{place}`") from None


def _seen(error: Exception) -> str:
    """What a reader made of a file, in words that say something without its source."""
    if isinstance(error, EOFError):
        return "a file with nothing in it, or too little"
    if isinstance(error, (KeyError, IndexError)):
        return f"bytes of another kind ({type(error).__name__}: {error})"
    text = str(error)
    if "Weights only load failed" in text:  # torch goes on with advice to read the file without care
        found = re.search(r"WeightsUnpickler error: *(.*)", text)
        text = found[1] if found else "bytes that a safe load does not know"
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def _damaged(name: str, error: Exception, whole: bool) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        f"`{name}` is no checkpoint, or it is damaged.",
        got=_seen(error),
        fix=_other(name, whole),
    )


def _other(name: str, whole: bool) -> str:
    if whole:
        return "Put a whole copy of it in its place, or leave it out."
    try:
        earlier = previous(name)
    except OSError:  # a folder that cannot be read: the offer is a courtesy and must not hide the error itself
        earlier = None
    if earlier is None:
        return "Load another checkpoint of the same run."
    return f"Load the newest whole checkpoint before it: `{earlier}`."


def _refused(file: IO[bytes], message: str) -> list[str]:
    """What a safe read refused: all of it where torch can list it, else what its message names."""
    try:
        file.seek(0)
        found = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # an old or broken file: the listing is a courtesy and must not hide the error itself
        found = []
    if found:
        return sorted(set(found))
    names = re.findall(r"(?:GLOBAL|class|function|type) ([\w.]+\.\w+)", message)[:1]
    builtin = re.findall(r"GLOBAL (\w+) was not an allowed", message)
    return names or [f"builtins.{name}" for name in builtin]
