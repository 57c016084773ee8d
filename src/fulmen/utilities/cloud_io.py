"""Files at local paths and at addresses, through fsspec."""

from __future__ import annotations

import os
from typing import Any

from fulmen.utilities.safe_load import MapLocation, PathOrFile, load
from fulmen.utilities.whole_files import remote


def get_filesystem(path: str | os.PathLike[str], **kwargs: Any) -> Any:
    """The file system of a path or an address, as fsspec knows it.

    Args:
        path: Such as ``"logs"`` or ``"s3://bucket/logs"``.
        **kwargs: Options of the file system.

    Example:
        >>> get_filesystem("/tmp").exists("/tmp")
        True
    """
    filesystem, _ = remote(os.fspath(path), **kwargs)
    return filesystem


def _load(path_or_url: PathOrFile, map_location: MapLocation = None, weights_only: bool | None = None) -> Any:
    """Reads a checkpoint; see :func:`fulmen.utilities.safe_load.load`."""
    return load(path_or_url, map_location, weights_only)
