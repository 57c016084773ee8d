"""Metrics as a table in ``metrics.csv``, hyper-parameters in ``hparams.yaml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fulmen.loggers.background import OnFailure
from fulmen.loggers.csv_table import FarTable, LocalTable
from fulmen.loggers.logger import XAxis, rank_zero_experiment
from fulmen.loggers.places import is_address
from fulmen.loggers.run_folder import NAME_HPARAMS_FILE, RunFolderLogger, joined, write_hparams
from fulmen.loggers.values import as_params, check_names, number
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only, rank_zero_warn

# What does not change, so that it may be written later.
_LASTING = (int, float, str, type(None))


class ExperimentWriter:
    """Writes the files of one run.

    Rows are appended to ``metrics.csv``; what is on the disk is never touched again, except where a metric appears
    that has no column yet. Then a wider copy of the file takes its place, in one step. At an address, the file is
    sent as a whole each time.

    Args:
        log_dir: The run's folder, which is made where it is missing; may be an address. A ``metrics.csv`` that is
            there already is kept under another name.

    Attributes:
        metrics: The rows that are not written yet.
        hparams: The hyper-parameters.
    """

    NAME_HPARAMS_FILE = NAME_HPARAMS_FILE
    NAME_METRICS_FILE = "metrics.csv"

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir
        self.metrics_file_path = joined(log_dir, self.NAME_METRICS_FILE)
        self.metrics: list[dict[str, Any]] = []
        self.hparams: dict[str, Any] = {}
        self._logged = 0
        far = is_address(log_dir)
        self._table: LocalTable | FarTable = (FarTable if far else LocalTable)(self.metrics_file_path)
        if not far:
            os.makedirs(log_dir, exist_ok=True)
        if (kept := self._table.set_aside()) is not None:
            rank_zero_warn(
                f"The folder {self.log_dir} holds the metrics of an earlier run, which are kept as {kept}. Leave out"
                " `version` to give each run a folder of its own."
            )

    @property
    def metrics_keys(self) -> list[str]:
        """The columns of the file."""
        return self._table.columns

    def log_hparams(self, params: Mapping[str, Any]) -> None:
        """Adds hyper-parameters and writes all of them to ``hparams.yaml``.

        Args:
            params: Values by name.
        """
        self.hparams.update(params)
        write_hparams(joined(self.log_dir, self.NAME_HPARAMS_FILE), self.hparams)

    def log_metrics(self, metrics_dict: Mapping[str, Any], step: float | None = None) -> None:
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
        if self.metrics:
            self._table.add(self.metrics)
            self.metrics.clear()

    def write(self, rows: list[tuple[Mapping[str, Any], float | None]]) -> None:
        """Adds rows and writes them; where that fails, it is as if they had never been.

        Args:
            rows: Values by name, and the step, as for `log_metrics`.
        """
        before, logged = len(self.metrics), self._logged
        try:
            for row, step in rows:
                self.log_metrics(row, step)
            self.save()
        except BaseException:
            del self.metrics[before:]
            self._logged = logged
            raise

    def close(self) -> None:
        """Closes the file; a later `save` opens it again."""
        self._table.close()

    def __getstate__(self) -> dict[str, Any]:
        # The rows that are not written yet stay with the original, so that they are written once.
        return {**self.__dict__, "metrics": []}


class CSVLogger(RunFolderLogger):
    """Logs to ``save_dir/name/version_N``: metrics to ``metrics.csv``, hyper-parameters to ``hparams.yaml``.

    Each call of `log_metrics` is a row, each metric a column; the columns are sorted. While a Trainer runs, rows are
    written in the background as they come. By hand, they are when `save` returns.

    Args:
        save_dir: The folder of all experiments; may be an address that fsspec knows, as ``s3://bucket/logs``.
        name: The folder of this experiment below it; None or empty for none.
        version: The run: a number N stands for a folder ``version_N``, a string for a folder of that name, and None
            for the next number that is free.
        prefix: What is put before the name of each metric, with a hyphen between.
        flush_logs_every_n_steps: How many steps of rows may wait for being written where no Trainer runs and nobody
            calls `save`.
        on_failure: What happens when rows cannot be written, as where the disk is full: ``"warn"`` for one warning,
            after which the logger is off for the rest of the run, or ``"raise"`` for an error.
        drain_timeout: For how many seconds the end of a run waits for what is not written yet.
        x_axis: What is in the column ``step`` of values that the Trainer logs: ``"step"``, ``"epoch"``, ``"samples"``
            of training, or ``"time"``, seconds of training.

    Raises:
        MisconfigurationException: If `save_dir` is no path, or another argument has no meaning.

    Example:
        ``trainer = Trainer(logger=CSVLogger("logs", name="digits"))``
    """

    _takes_addresses = True

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
        *,
        on_failure: OnFailure = "warn",
        drain_timeout: float = 60.0,
        x_axis: XAxis = "step",
    ) -> None:
        super().__init__(
            save_dir, name, version, prefix, on_failure=on_failure, drain_timeout=drain_timeout, x_axis=x_axis
        )
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
        """The writer of the run's files, which is made, as the folder is, when it is first asked for.

        It has what was logged before by the time this returns.
        """
        self._in_order()
        return self._writer()

    def _writer(self) -> ExperimentWriter:
        if self._experiment is None:
            self._experiment = ExperimentWriter(self._run_folder())
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Adds hyper-parameters and writes them to ``hparams.yaml``.

        Args:
            params: A dictionary or a namespace.

        Raises:
            MisconfigurationException: If it is something else.
        """
        self._background.submit(self._add_hparams, as_params(params))

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
        row = {name: _lasting(name, value) for name, value in self._with_prefix(metrics).items()}
        place = step if step is None or type(step) is float else int(step)
        if self._background.is_on:
            self._background.gather(self._write_rows, (row, place))
        else:
            self._add_row(row, place)

    def _write_rows(self, rows: list[tuple[Mapping[str, Any], float | None]]) -> None:
        writer = self._writer()
        writer.write(rows)
        if isinstance(writer._table, FarTable):
            self._background.rest(writer._table.pause)

    def _add_row(self, row: Mapping[str, Any], step: float | None) -> None:
        writer = self._writer()
        writer.log_metrics(row, step)
        window, rest = divmod(writer.metrics[-1]["step"] + 1, self._flush_logs_every_n_steps)
        if rest == 0 or window != self._flushed:
            self._flushed = window
            writer.save()

    def _add_hparams(self, params: Mapping[str, Any]) -> None:
        self._writer().log_hparams(params)

    def _flush(self) -> None:
        self._writer().save()

    def _holds_back(self) -> bool:
        # In the background each row is written as it comes, but a run without rows has a folder, too.
        return self._experiment is None or not self._background.is_on

    def _end(self, status: str) -> None:
        if self._experiment is not None:
            self._experiment.save()
            self._experiment.close()


def _lasting(name: str, value: Any) -> Any:
    if isinstance(value, Tensor):
        return number(name, value)
    return value if isinstance(value, _LASTING) else str(value)
