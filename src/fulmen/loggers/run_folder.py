"""Where a logger's files lie: ``save_dir/name/version_N``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from fulmen.core.hparams_files import save_hparams_to_yaml
from fulmen.loggers.logger import Logger
from fulmen.utilities.exceptions import MisconfigurationException

NAME_HPARAMS_FILE = "hparams.yaml"

_VERSION = re.compile(r"version_([0-9]+)(_.*)?")


def local_path(path: str) -> str:
    """The path of a local file or folder as the system takes it, with ``~`` and ``$VARIABLES`` expanded."""
    return os.path.expandvars(os.path.expanduser(path))


def next_version(root_dir: str) -> int:
    """The number after the highest of the ``version_N`` folders, 0 where there are none.

    Args:
        root_dir: The folder that holds the versions; it need not exist.

    Returns:
        A number that no folder has yet.
    """
    try:
        with os.scandir(root_dir) as entries:
            names = [_VERSION.fullmatch(entry.name) for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return max((int(match[1]) for match in names if match), default=-1) + 1


def write_hparams(path: str, hparams: Mapping[str, Any]) -> None:
    """Writes hyper-parameters to a file, beside its name first, so that there is never half a file.

    Args:
        path: The file, whose folder is made where it is missing.
        hparams: Values by name.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.tmp"
    save_hparams_to_yaml(temporary, hparams, use_omegaconf=False)
    os.replace(temporary, path)


class RunFolderLogger(Logger):
    """A logger that writes its files to a folder for each run.

    Args:
        save_dir: The folder of all experiments.
        name: The folder of this experiment below it; None or empty for none.
        version: The run: a number N stands for a folder ``version_N``, a string for a folder of that name, and None
            for the next number that is free.
        prefix: What is put before the name of each metric, with a hyphen between.

    Raises:
        MisconfigurationException: If `save_dir` is no local path.
    """

    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self, save_dir: str | os.PathLike[str], name: str | None, version: int | str | None, prefix: str
    ) -> None:
        super().__init__()
        if not isinstance(save_dir, (str, os.PathLike)):
            raise MisconfigurationException(
                "A logger's `save_dir` must be a path.", got=save_dir, fix=f'`{type(self).__name__}("logs")`.'
            )
        self._save_dir = os.fspath(save_dir)
        if "://" in self._save_dir:
            raise MisconfigurationException(
                f"`{type(self).__name__}` writes to local folders.",
                got=f"save_dir={self._save_dir!r}",
                fix="Pass a local folder, and copy it after the run.",
            )
        self._name = name or ""
        self._version = version
        self._prefix = prefix

    @property
    def name(self) -> str:
        """The name of the experiment, which is a folder; may be empty."""
        return self._name

    @property
    def version(self) -> int | str:
        """The version given, or else the first number that was free when this was first asked."""
        if self._version is None:
            self._version = next_version(local_path(self.root_dir))
        return self._version

    @property
    def save_dir(self) -> str:
        """The folder of all experiments, as it was given."""
        return self._save_dir

    @property
    def root_dir(self) -> str:
        """The folder of all versions of this experiment."""
        return os.path.join(self._save_dir, self._name)

    @property
    def log_dir(self) -> str:
        """The folder of this version."""
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        return local_path(os.path.join(self.root_dir, version))

    def _with_prefix(self, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._prefix:
            return metrics
        return {f"{self._prefix}{self.LOGGER_JOIN_CHAR}{name}": value for name, value in metrics.items()}
