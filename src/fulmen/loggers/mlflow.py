"""Metrics, hyper-parameters, files and checkpoints for MLflow."""

from __future__ import annotations

import os
import re
import time
import uuid
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

from fulmen.loggers.background import OnFailure
from fulmen.loggers.logger import XAxis, rank_zero_experiment
from fulmen.loggers.media import Image, Media, Table
from fulmen.loggers.media_files import content_of
from fulmen.loggers.mlflow_run import PARAM_LENGTHS, MLFlowRun, Names, table_json
from fulmen.loggers.saved_models import Kept, SavedModel
from fulmen.loggers.service_logger import ServiceLogger
from fulmen.loggers.values import as_params, check_names, number
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.imports import available, require
from fulmen.utilities.rank_zero import rank_zero_only, rank_zero_warn, warn_once

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_STATUS = {"success": "FINISHED", "aborted": "KILLED", "interrupted": "KILLED"}


class MLFlowLogger(ServiceLogger):
    """Logs to MLflow: to a server, to a database, or to files.

    Everything is sent in the background. The run is made when the first thing is logged.

    Args:
        experiment_name: The experiment, which is made where there is none.
        run_name: The name of the run; None for one that MLflow invents.
        tracking_uri: The address of the server or of the database; None for what the variable
            ``MLFLOW_TRACKING_URI`` says, or else for local files in `save_dir`.
        tags: Tags of the run.
        save_dir: The folder for local files, where there is no `tracking_uri`. MLflow 3.7 and later keep runs in
            a database there, ``mlflow.db``; earlier ones, and those under ``MLFLOW_ALLOW_FILE_STORE=true``, in files.
        log_model: Which checkpoints become artifacts: True for those that are there at the end of training, ``"all"``
            for each as soon as it is saved, False for none.
        prefix: What is put before the name of each metric, with a hyphen between.
        artifact_location: Where an experiment that is made keeps its artifacts; None for MLflow's default.
        run_id: A run to go on with.
        synchronous: True if each call shall wait until the server has answered.
        on_failure: What happens when something cannot be sent: ``"warn"`` for one warning, after which the logger is
            off for the rest of the run, or ``"raise"`` for an error in the training thread.
        drain_timeout: For how many seconds the end of a run waits for what is not sent yet.
        x_axis: What the Trainer hands over as the step: ``"step"``, ``"epoch"``, ``"samples"`` or ``"time"``.

    Raises:
        ModuleNotFoundError: If ``mlflow`` is not installed.
        MisconfigurationException: If an option has no meaning.

    Example:
        ``trainer = Trainer(logger=MLFlowLogger("digits", tracking_uri="http://localhost:5000"))``
    """

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: dict[str, Any] | None = None,
        save_dir: str | None = "./mlruns",
        log_model: Literal["all"] | bool = False,
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        synchronous: bool | None = None,
        *,
        on_failure: OnFailure = "warn",
        drain_timeout: float = 60.0,
        x_axis: XAxis = "step",
    ) -> None:
        require("mlflow.tracking", "mlflow", "MLFlowLogger")
        super().__init__(
            prefix=prefix, log_model=log_model, on_failure=on_failure, drain_timeout=drain_timeout, x_axis=x_axis
        )
        self._save_dir: str | None = None
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            self._save_dir = save_dir = os.fspath(save_dir or "./mlruns")
            uri = f"file:{save_dir}"
            if not _takes_files():
                folder = os.path.abspath(save_dir)
                os.makedirs(folder, exist_ok=True)
                uri = f"sqlite:///{os.path.join(folder, 'mlflow.db')}"
                artifact_location = artifact_location or os.path.join(folder, "artifacts")
        elif uri.startswith("file:"):
            self._save_dir = uri[len("file:") :]
        if uri.startswith("file:") and not _takes_files():
            raise MisconfigurationException(
                "This version of MLflow keeps runs in a database, and no longer in files alone.",
                got=f"tracking_uri={uri!r}",
                fix='`tracking_uri="sqlite:///mlflow.db"`, or the variable `MLFLOW_ALLOW_FILE_STORE=true`.',
            )
        self.tags: dict[str, Any] | None = dict(tags) if tags else tags
        if run_name is not None:
            self.tags = {**(self.tags or {}), "mlflow.runName": run_name}
        self._tracking_uri = uri
        self._experiment_name = experiment_name
        self._synchronous = synchronous
        self._run = MLFlowRun(uri, experiment_name, artifact_location, self.tags or {}, run_id)
        self._background.place = re.sub(r"(?<=//)[^/@]*@", "", uri)  # no password in messages
        self._metric_names, self._param_names = Names(), Names()
        self._media_without_step: dict[str, int] = {}
        self._stand_in: str | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> MlflowClient:
        """MLflow's client. The run is there when this returns, unless the service cannot be reached.

        Example:
            ``self.logger.experiment.log_artifact(self.logger.run_id, "notes.txt")``
        """
        self._wait_until_open()
        return self._run.client

    @property
    def run_id(self) -> str | None:
        """The run's id, which the service gives; None if it could not be reached."""
        self._wait_until_open()
        return self._run.run_id

    @property
    def experiment_id(self) -> str | None:
        """The experiment's id, which the service gives; None if it could not be reached."""
        self._wait_until_open()
        return self._run.experiment_id

    @property
    def name(self) -> str | None:
        """The experiment's id; its name if the service could not be reached."""
        return self._experiment_name if self._is_unreached() else self._run.experiment_id

    @property
    def version(self) -> str | None:
        """The run's id; a name that no other run has, if the service could not be reached."""
        return self._stand_in if self._is_unreached() else self._run.run_id

    def _is_unreached(self) -> bool:
        # Once a folder has been named so, it stays.
        if self._stand_in is None and self._wait_until_open() is False:
            self._stand_in = f"unreached-{uuid.uuid4().hex[:8]}"
        return self._stand_in is not None

    @property
    def save_dir(self) -> str | None:
        """The folder of local files, None where the runs are elsewhere."""
        return self._save_dir

    def _open(self) -> None:
        self._run.open()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: float | None = None) -> None:
        """Sends metrics.

        Args:
            metrics: Numbers by name; tensors must have one element. Text is left out, with a warning.
            step: The step they belong to, a whole number for MLflow; None for 0.

        Raises:
            MisconfigurationException: If a value is no number, or a name is no string.
        """
        check_names(metrics)
        now, at = int(time.time() * 1000), 0 if step is None else round(step)
        row = []
        for name, value in self._with_prefix(metrics).items():
            if isinstance(value, str):
                warn_once(f"MLflow has no metrics of text, so `{name}` is not logged. Use `log_text` or a tag.")
                continue
            row.append((self._metric_names(name), value if type(value) is float else number(name, value), now, at))
        if row:
            self._background.gather(self._send_rows, row)
            self._block()

    def _send_rows(self, rows: list[Any]) -> None:
        self._open_once()
        self._run.log_rows(rows)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Sends hyper-parameters; nested ones as ``outer/inner``.

        What MLflow does not hold, since it is too long or since the run has another value already, goes to a file
        ``hparams/<time>.json`` among the artifacts, and a warning says so.

        Args:
            params: A dictionary or a namespace.

        Raises:
            MisconfigurationException: If it is something else.
        """
        given, whole = {}, {}
        for name, value in _flat(as_params(params), ""):
            text = str(value)
            if len(text) > PARAM_LENGTHS[0]:
                whole[name] = text
            given[self._param_names(name)] = text[: PARAM_LENGTHS[0]]
        if whole:
            rank_zero_warn(
                f"MLflow takes {PARAM_LENGTHS[0]} characters for a hyper-parameter, so {', '.join(map(repr, whole))}"
                " is cut there. The whole value is in a file below `hparams` among the run's artifacts."
            )
        self._background.submit(self._send_params, given, whole)
        self._block()

    def _send_params(self, given: dict[str, str], whole: dict[str, str]) -> None:
        self._open_once()
        self._run.log_params(given, whole)

    @rank_zero_only
    def log_media(self, key: str, items: Sequence[Media], step: float | None = None) -> None:
        """Sends pictures, tables, text, sound and the like: pictures as MLflow's images, all else as artifacts.

        Args:
            key: What they are logged as.
            items: One or several, all of one kind.
            step: The step they belong to.
        """
        name = self._metric_names(key)
        if step is None:
            step = self._media_without_step.setdefault(name, 0)
            self._media_without_step[name] += 1
        for number_, item in enumerate(items):
            own = name if len(items) == 1 else f"{name}_{number_}"
            self._background.submit(self._send_media, own, item, round(step))
        self._block()

    def _send_media(self, key: str, item: Media, step: int) -> None:
        self._open_once()
        if type(item) is Image and available("PIL"):
            self._run.call("log_image", item.pixels, key=key, step=step, synchronous=True)
        elif isinstance(item, Table):
            table = self._background.encoded(key, item.kind, table_json, item)
            if table is not None:
                self._run.log_table(table, f"media/{key}/step_{step:08d}.json")
        elif (file := self._background.encoded(key, item.kind, content_of, item)) is not None:
            self._run.log_file(file[0], f"media/{key}/step_{step:08d}{file[1]}")

    def _send_model(self, model: SavedModel, kept: Kept) -> None:
        self._run.log_model(model, kept)

    def _block(self) -> None:
        if self._synchronous:
            self._in_order()
        if self._run.refused and not self._background.is_on:
            self._tell_refused()

    def _tell_refused(self) -> None:
        refused, self._run.refused = self._run.refused, []
        if refused:
            rank_zero_warn(
                f"MLflow did not take all hyper-parameters as they were logged: {'; '.join(refused)}. The values that"
                " were logged are in a file below `hparams` among the run's artifacts."
            )

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Ends a run: sends everything, for `drain_timeout` seconds at most, and says what is left.

        MLflow shows the run as finished, failed or killed; killed is what Ctrl-C and SIGTERM do.

        Args:
            status: How the run ended.

        Raises:
            LoggingFailedError: If something could not be sent, and `on_failure` is ``"raise"``.
        """
        super().finalize(status)
        self._tell_refused()

    def _end(self, status: str) -> None:
        self._run.end(_STATUS.get(status, status.upper()))


def _takes_files() -> bool:
    """Whether this version of MLflow keeps runs in files."""
    variables = require("mlflow.environment_variables", "mlflow", "MLFlowLogger")
    allowed = getattr(variables, "MLFLOW_ALLOW_FILE_STORE", None)
    return allowed is None or bool(allowed.get())


def _flat(params: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, Namespace):
            value = vars(value)
        elif is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            value = dict(enumerate(value))
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{name}/")
        else:
            yield f"{path}{name}", value
