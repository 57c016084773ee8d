"""Where a logger's files lie: ``save_dir/name/version_N``."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from typing import Any

from fulmen.core.hparams_files import save_hparams_to_yaml
from fulmen.loggers.background import OnFailure
from fulmen.loggers.background_logger import BackgroundLogger
from fulmen.loggers.logger import XAxis
from fulmen.loggers.places import is_address, may_pass, write_file
from fulmen.utilities.exceptions import MisconfigurationException

NAME_HPARAMS_FILE = "hparams.yaml"

_VERSION = re.compile(r"version_([0-9]+)(_.*)?")


def local_path(path: str) -> str:
    """The path of a file or folder as the system takes it: of a local one with ``~`` and ``$VARIABLES`` expanded."""
    return path if is_address(path) else os.path.expandvars(os.path.expanduser(path))


def joined(folder: str, name: str) -> str:
    """A name in a folder, which may be an address."""
    return f"{folder.rstrip('/')}/{name}".rstrip("/") if is_address(folder) else os.path.join(folder, name)


def next_version(root_dir: str) -> int:
    """The number after the highest of the ``version_N`` folders, 0 where there are none.

    Args:
        root_dir: The folder that holds the versions; it need not exist.

    Returns:
        A number that no folder has yet.
    """
    if is_address(root_dir):
        import fsspec  # type: ignore[import-untyped]

        system, path = fsspec.core.url_to_fs(root_dir)
        found = system.ls(path) if system.isdir(path) else []
        matches = [_VERSION.fullmatch(entry["name"].rstrip("/").rpartition("/")[2]) for entry in found]
        return max((int(match[1]) for match in matches if match), default=-1) + 1
    try:
        with os.scandir(root_dir) as entries:
            names = [_VERSION.fullmatch(entry.name) for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return max((int(match[1]) for match in names if match), default=-1) + 1


def write_hparams(path: str, hparams: Mapping[str, Any]) -> None:
    """Writes hyper-parameters to a file, beside its name first, so that there is never half a file.

    Args:
        path: The file, whose folder is made where it is missing; may be an address.
        hparams: Values by name.
    """
    if is_address(path):
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, NAME_HPARAMS_FILE)
            save_hparams_to_yaml(local, hparams, use_omegaconf=False)
            with open(local, "rb") as file:
                write_file(path.rpartition("/")[0], NAME_HPARAMS_FILE, "", file.read())
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.tmp"
    try:
        save_hparams_to_yaml(temporary, hparams, use_omegaconf=False)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


class RunFolderLogger(BackgroundLogger):
    """A logger that writes its files to a folder for each run.

    Args:
        save_dir: The folder of all experiments.
        name: The folder of this experiment below it; None or empty for none.
        version: The run: a number N stands for a folder ``version_N``, a string for a folder of that name, and None
            for the next number that is free.
        prefix: What is put before the name of each metric, with a hyphen between.
        on_failure: As for `BackgroundLogger`.
        drain_timeout: As for `BackgroundLogger`.
        x_axis: As for `BackgroundLogger`.

    Raises:
        MisconfigurationException: If `save_dir` is no path, or an address and the class writes to local folders only.
    """

    LOGGER_JOIN_CHAR = "-"
    _takes_addresses = False

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None,
        version: int | str | None,
        prefix: str,
        *,
        on_failure: OnFailure = "warn",
        drain_timeout: float = 60.0,
        x_axis: XAxis = "step",
    ) -> None:
        super().__init__(on_failure=on_failure, drain_timeout=drain_timeout, x_axis=x_axis, retry_on=may_pass)
        if not isinstance(save_dir, (str, os.PathLike)):
            raise MisconfigurationException(
                "A logger's `save_dir` must be a path.", got=save_dir, fix=f'`{type(self).__name__}("logs")`.'
            )
        self._save_dir = os.fspath(save_dir)
        if is_address(self._save_dir) and not self._takes_addresses:
            raise MisconfigurationException(
                f"`{type(self).__name__}` writes to local folders.",
                got=f"save_dir={self._save_dir!r}",
                fix="Pass a local folder, and copy it after the run; `CSVLogger` writes to addresses.",
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

    def _place(self) -> tuple[str, str, int | str]:
        return self._save_dir, self._name, self.version

    def _take_place(self, place: tuple[str, str, int | str]) -> None:
        self._save_dir, self._name, self._version = place

    @property
    def save_dir(self) -> str:
        """The folder of all experiments, as it was given."""
        return self._save_dir

    @property
    def root_dir(self) -> str:
        """The folder of all versions of this experiment."""
        return joined(self._save_dir, self._name)

    @property
    def log_dir(self) -> str:
        """The folder of this version. What was logged before is in its files by the time this returns."""
        self._in_order()
        return self._run_folder()

    def _run_folder(self) -> str:
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        self._background.place = folder = local_path(joined(self.root_dir, version))
        return folder

    def _with_prefix(self, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._prefix:
            return metrics
        return {f"{self._prefix}{self.LOGGER_JOIN_CHAR}{name}": value for name, value in metrics.items()}
