"""Metrics as a table in ``metrics.csv``, hyper-parameters in ``hparams.yaml``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fulmen.loggers.logger import rank_zero_experiment
from fulmen.loggers.run_folder import NAME_HPARAMS_FILE, RunFolderLogger, write_hparams
from fulmen.loggers.values import as_params, check_names, number
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only, rank_zero_warn


class ExperimentWriter:
    """Writes the files of one run.

    Rows are appended to ``metrics.csv``; what is on the disk is never touched again, except where a metric appears
    that has no column yet. Then a wider copy of the file takes its place, in one step.

    Args:
        log_dir: The run's folder, which is made where it is missing. A ``metrics.csv`` that is there already is kept
            under another name.

    Attributes:
        metrics: The rows that are not written yet.
        metrics_keys: The columns of the file.
        hparams: The hyper-parameters.
    """

    NAME_HPARAMS_FILE = NAME_HPARAMS_FILE
    NAME_METRICS_FILE = "metrics.csv"

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir
        self.metrics_file_path = os.path.join(log_dir, self.NAME_METRICS_FILE)
        self.metrics: list[dict[str, Any]] = []
        self.metrics_keys: list[str] = []
        self.hparams: dict[str, Any] = {}
        self._logged = 0
        self._descriptor: int | None = None
        os.makedirs(log_dir, exist_ok=True)
        self._set_aside_earlier_file()

    def log_hparams(self, params: Mapping[str, Any]) -> None:
        """Adds hyper-parameters and writes all of them to ``hparams.yaml``.

        Args:
            params: Values by name.
        """
        self.hparams.update(params)
        write_hparams(os.path.join(self.log_dir, self.NAME_HPARAMS_FILE), self.hparams)

    def log_metrics(self, metrics_dict: Mapping[str, Any], step: int | None = None) -> None:
        """Adds a row, which `save` writes.

        Args:
            metrics_dict: Values by name; tensors must have one element.
            step: The value for the column ``step``; None for the number of rows before this one.
        """
        row = {
            name: number(name, value) if isinstance(value, Tensor) else value for name, value in metrics_dict.items()
        }
        row["step"] = self._logged if step is None else step
        self._logged += 1
        self.metrics.append(row)

    def save(self) -> None:
        """Writes the rows that were added since the last time; a single system call where no column is new."""
        if not self.metrics:
            return
        self._find_file()
        columns = set(self.metrics_keys).union(*self.metrics)
        if len(columns) == len(self.metrics_keys):
            self._append()
        else:
            self._widen(sorted(columns))
        self.metrics.clear()

    def close(self) -> None:
        """Closes the file; a later `save` opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _set_aside_earlier_file(self) -> None:
        if not os.path.exists(self.metrics_file_path):
            return
        stem, extension = os.path.splitext(self.metrics_file_path)
        count = 1
        while os.path.exists(kept := f"{stem}_{count}{extension}"):
            count += 1
        os.rename(self.metrics_file_path, kept)
        rank_zero_warn(
            f"The folder {self.log_dir} holds the metrics of an earlier run, which are kept as"
            f" {os.path.basename(kept)}. Leave out `version` to give each run a folder of its own."
        )

    def _find_file(self) -> None:
        # A file without a name left was deleted or replaced, and whatever went into it would be lost.
        if self._descriptor is not None and os.fstat(self._descriptor).st_nlink == 0:
            self.close()
        if self._descriptor is not None:
            return
        try:
            self._descriptor = os.open(self.metrics_file_path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            self.metrics_keys = []
            return
        with open(self.metrics_file_path, newline="", encoding="utf-8") as file:
            self.metrics_keys = next(csv.reader(file), [])

    def _append(self) -> None:
        assert self._descriptor is not None
        text = io.StringIO(newline="")
        csv.writer(text).writerows([row.get(name, "") for name in self.metrics_keys] for row in self.metrics)
        size = os.fstat(self._descriptor).st_size
        remaining = text.getvalue().encode()
        try:
            while remaining:
                remaining = remaining[os.write(self._descriptor, remaining) :]
        except OSError:
            # The disk is full: half a row must not stay, since the next one would be joined to it.
            os.ftruncate(self._descriptor, size)
            raise

    def _widen(self, columns: list[str]) -> None:
        self.close()
        os.makedirs(self.log_dir, exist_ok=True)
        temporary = f"{self.metrics_file_path}.tmp"
        try:
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, extrasaction="ignore")
                writer.writeheader()
                if self.metrics_keys:
                    with open(self.metrics_file_path, newline="", encoding="utf-8") as narrow:
                        writer.writerows(csv.DictReader(narrow))
                writer.writerows(self.metrics)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.metrics_file_path)
        except BaseException:
            if os.path.exists(temporary):
                os.remove(temporary)
            raise
        self.metrics_keys = columns

    def __getstate__(self) -> dict[str, Any]:
        # The rows that are not written yet stay with the original, so that they are written once.
        return {**self.__dict__, "_descriptor": None, "metrics": []}

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()


class CSVLogger(RunFolderLogger):
    """Logs to ``save_dir/name/version_N``: metrics to ``metrics.csv``, hyper-parameters to ``hparams.yaml``.

    Each call of `log_metrics` is a row, each metric a column; the columns are sorted. The row of a step is on its
    way to the disk as soon as `save` returns, which the trainer calls after each row.

    Args:
        save_dir: The folder of all experiments.
        name: The folder of this experiment below it; None or empty for none.
        version: The run: a number N stands for a folder ``version_N``, a string for a folder of that name, and None
            for the next number that is free.
        prefix: What is put before the name of each metric, with a hyphen between.
        flush_logs_every_n_steps: How many steps of rows may wait for being written where nobody calls `save`.

    Raises:
        MisconfigurationException: If `save_dir` is no local path, or `flush_logs_every_n_steps` is below 1.

    Example:
        ``trainer = Trainer(logger=CSVLogger("logs", name="digits"))``
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(save_dir, name, version, prefix)
        if flush_logs_every_n_steps < 1:
            raise MisconfigurationException(
                "`flush_logs_every_n_steps` must be 1 or more.",
                got=flush_logs_every_n_steps,
                fix="Pass 1 to write each row at once.",
            )
        self._flush_logs_every_n_steps = flush_logs_every_n_steps
        self._flushed = 0
        self._experiment: ExperimentWriter | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of the run's files, which is made, as the folder is, when it is first asked for."""
        if self._experiment is None:
            self._experiment = ExperimentWriter(self.log_dir)
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Adds hyper-parameters and writes them to ``hparams.yaml``.

        Args:
            params: A dictionary or a namespace.

        Raises:
            MisconfigurationException: If it is something else.
        """
        self.experiment.log_hparams(as_params(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Adds a row.

        Args:
            metrics: Values by name; tensors must have one element. Text is written as it is.
            step: The value of the column ``step``; None for the number of rows before this one.

        Raises:
            MisconfigurationException: If a tensor has more elements than one, or a name is no string.
        """
        check_names(metrics)
        writer: ExperimentWriter = self.experiment
        writer.log_metrics(self._with_prefix(metrics), None if step is None else int(step))
        window, rest = divmod(writer.metrics[-1]["step"] + 1, self._flush_logs_every_n_steps)
        if rest == 0 or window != self._flushed:
            self._flushed = window
            writer.save()

    @rank_zero_only
    def save(self) -> None:
        """Writes the rows that are not written yet."""
        self.experiment.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes the rows that are not written yet, and closes the file.

        Args:
            status: How the run ended; not recorded.
        """
        if self._experiment is not None:
            self.save()
            self._experiment.close()
