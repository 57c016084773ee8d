"""One run on an MLflow server: what is sent to it, and what it takes."""

from __future__ import annotations

import json
import os
import posixpath
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fulmen.loggers.media import Table
from fulmen.loggers.reach import check_somebody_listens
from fulmen.loggers.saved_models import Kept, SavedModel
from fulmen.utilities.imports import require
from fulmen.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# What a parameter's value may be long; servers of different age take different lengths.
PARAM_LENGTHS = (6000, 500, 250)
# Of four bytes a character at most, which keeps a request below the server's limit of one megabyte.
_PARAMS_AT_ONCE = 40
_VALUES_AT_ONCE = 1000
_NAME_LENGTH = 250


class Value(NamedTuple):
    """A number on its way to the server, as a plain tuple: one is made for each metric of each step."""

    key: str
    value: float
    timestamp: int
    step: int


class MLFlowRun:
    """A run, made when the first thing is sent. Each method may take as long as the server does.

    Args:
        uri: The address of the server, or of a database.
        experiment: The name of the experiment, which is made where there is none.
        artifact_location: Where an experiment that is made keeps its files; None for the server's default.
        tags: Of a run that is made.
        run_id: A run to go on with; None for a new one.

    Attributes:
        experiment_id: None until the run is open.
        refused: What to tell the user of parameters that are not on the server as they were logged.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_location: str | None,
        tags: dict[str, Any],
        run_id: str | None,
    ) -> None:
        self.uri = uri
        self.experiment = experiment
        self.artifact_location = artifact_location
        self.tags = tags
        self.run_id = run_id
        self.experiment_id: str | None = None
        self.refused: list[str] = []
        self.params: dict[str, str] = {}
        self._tables: list[dict[str, str]] = []
        self._client: MlflowClient | None = None
        self._opening = threading.RLock()

    @property
    def client(self) -> MlflowClient:
        """MLflow's client, which is made when it is first asked for."""
        with self._opening:
            if self._client is None:
                self._client = require("mlflow.tracking", "mlflow", "MLFlowLogger").MlflowClient(self.uri)
            return self._client

    def open(self) -> str:
        """Makes the run, or looks up that of the given id, unless that is done.

        Returns:
            The run's id.
        """
        with self._opening:
            if self.experiment_id is None:
                check_somebody_listens(self.uri)
                self.experiment_id = self._resume() if self.run_id else self._create()
            assert self.run_id is not None
            return self.run_id

    def _resume(self) -> str:
        assert self.run_id is not None
        run = self.client.get_run(self.run_id)
        self.params.update(run.data.params)
        self._tables = json.loads(run.data.tags.get("mlflow.loggedArtifacts", "[]"))
        if run.info.status != "RUNNING":
            self.client.update_run(self.run_id, status="RUNNING")
        return str(run.info.experiment_id)

    def _create(self) -> str:
        context = require("mlflow.tracking.context.registry", "mlflow", "MLFlowLogger")
        experiment_id = self._find_experiment()
        run = self.client.create_run(experiment_id, tags=context.resolve_tags(self.tags))
        self.run_id = run.info.run_id
        return experiment_id

    def _find_experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return str(self.client.create_experiment(self.experiment, self.artifact_location))
            except Exception:
                # Another process may have made it in between.
                found = self.client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        return str(found.experiment_id)

    def log_rows(self, rows: list[Sequence[Value]]) -> None:
        """Sends rows of numbers, as many in a call as the server takes.

        Args:
            rows: The rows; those that are sent are taken out of the list.
        """
        run_id = self.open()
        metric = require("mlflow.entities", "mlflow", "MLFlowLogger").Metric
        while rows:
            count = 0
            values: list[Any] = []
            while count < len(rows) and (not values or len(values) + len(rows[count]) <= _VALUES_AT_ONCE):
                values += [metric(*value) for value in rows[count]]
                count += 1
            for start in range(0, len(values), _VALUES_AT_ONCE):
                self.client.log_batch(run_id, metrics=values[start : start + _VALUES_AT_ONCE], synchronous=True)
            del rows[:count]

    def log_params(self, given: Mapping[str, str], whole: Mapping[str, Any]) -> None:
        """Sends parameters. What the server does not take as it is becomes a file, ``hparams/<time>.json``.

        Args:
            given: Texts by names that MLflow takes.
            whole: Values under their own names that are not in `given` as they are.
        """
        run_id = self.open()
        odd = dict(whole)
        new: dict[str, str] = {}
        for key, text in given.items():
            old = self.params.get(key)
            if old is None:
                new[key] = text
            elif old != text and not (len(old) in PARAM_LENGTHS and text.startswith(old)):
                odd.setdefault(key, text)
                self.refused.append(f"`{key}` is {old!r:.50} in this run, and MLflow changes no parameter")
        for part in _parts(new):
            if not self._took(part):
                for key, text in part.items():
                    self._send_alone(key, text, odd)
        if odd:
            name = f"hparams/{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1_000_000_000:09}.json"
            self.client.log_text(run_id, json.dumps(odd, indent=2, default=str), name)

    def _send_alone(self, key: str, text: str, odd: dict[str, Any]) -> None:
        if self._took({key: text}):
            return
        odd.setdefault(key, text)
        for length in PARAM_LENGTHS:
            if length < len(text) and self._took({key: text[:length]}):
                self.refused.append(f"`{key}` is cut to {length} characters, since this server takes no more")
                return
        self.refused.append(f"`{key}` was refused by the server")

    def _took(self, params: Mapping[str, str]) -> bool:
        """Whether the server took parameters; errors of another kind are raised."""
        entities = require("mlflow.entities", "mlflow", "MLFlowLogger")
        exceptions = require("mlflow.exceptions", "mlflow", "MLFlowLogger")
        assert self.run_id is not None
        try:
            sent = [entities.Param(key, text) for key, text in params.items()]
            self.client.log_batch(self.run_id, params=sent, synchronous=True)
        except exceptions.MlflowException as error:
            if error.error_code not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
                raise
            return False
        self.params.update(params)
        return True

    def log_model(self, model: SavedModel, kept: Kept) -> None:
        """Sends a checkpoint, with a file on how it came about and one of its aliases.

        Args:
            model: The checkpoint.
            kept: The file to send.
        """
        yaml = require("yaml", "all", "MLFlowLogger")
        run_id = self.open()
        folder = os.path.splitext(model.file_name)[0]
        about = {"original_filename": model.file_name, "score": model.score, "Checkpoint": model.options}
        self.client.log_artifact(run_id, kept.path, folder)
        self.client.log_text(run_id, yaml.safe_dump(about), f"{folder}/metadata.yaml")
        self.client.log_text(run_id, str(model.aliases), f"{folder}/aliases.txt")
        kept.drop()

    def log_file(self, content: bytes, path: str) -> None:
        """Sends a file.

        Args:
            content: What is in it.
            path: Its name among the run's artifacts.
        """
        folder, name = os.path.split(path)
        with tempfile.TemporaryDirectory() as temporary:
            local = os.path.join(temporary, name)
            with open(local, "wb") as file:
                file.write(content)
            self.client.log_artifact(self.open(), local, folder)

    def log_table(self, content: str, path: str) -> None:
        """Sends a table in the form that MLflow shows as one.

        Args:
            content: The table, as :func:`table_json` makes it.
            path: Its name among the run's artifacts.
        """
        # MLflow's own `log_table` needs pandas, and reads back what it has sent.
        self.client.log_text(self.open(), content, path)
        self._tables.append({"path": path, "type": "table"})
        self.client.set_tag(self.open(), "mlflow.loggedArtifacts", json.dumps(self._tables))

    def call(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Calls a method of the client that takes a run's id first."""
        getattr(self.client, method)(self.open(), *args, **kwargs)

    def end(self, status: str) -> None:
        """Ends the run, if there is one.

        Args:
            status: ``"FINISHED"``, ``"FAILED"`` or ``"KILLED"``.
        """
        if self.experiment_id is not None and self.run_id is not None:
            self.client.set_terminated(self.run_id, status)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None, "_opening": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _opening=threading.RLock())


def table_json(table: Table) -> str:
    """A table in the form that MLflow shows as one."""
    return json.dumps({"columns": table.columns, "data": table.rows}, default=str)


def _parts(params: Mapping[str, str]) -> Iterator[dict[str, str]]:
    items = list(params.items())
    for start in range(0, len(items), _PARAMS_AT_ONCE):
        yield dict(items[start : start + _PARAMS_AT_ONCE])


class Names:
    """Names of metrics and parameters that MLflow takes: each its own, and always the same for the same."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The name for MLflow.

        Args:
            name: The user's.

        Returns:
            The same where MLflow takes it.
        """
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._find(name)
            if known != name:
                rank_zero_warn(
                    f"MLflow takes letters, digits, `_`, `-`, `.`, spaces and single slashes in a name, and at most"
                    f" {_NAME_LENGTH} of them: {name!r:.100} is logged as {known!r:.100}."
                )
        return known

    def _find(self, name: str) -> str:
        plain = re.sub(r"[^a-zA-Z0-9_/. -]", "", name)
        # MLflow keeps some names as paths, so it takes none that has a shorter spelling or leads elsewhere.
        plain = posixpath.normpath(plain).lstrip("/")
        if plain in ("", ".") or plain.startswith(".."):
            plain = plain.replace(".", "_") or "_"
        free, number = plain[:_NAME_LENGTH], 1
        while self._taken.setdefault(free, name) != name:
            number += 1
            free = f"{plain[: _NAME_LENGTH - 5]}_{number}"
        return free
