"""Metrics, hyper-parameters and media for Comet."""

from __future__ import annotations

import copy
import io
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor
from torch.nn import Module

from fulmen.loggers.background import OnFailure
from fulmen.loggers.logger import DummyLogger, XAxis, rank_zero_experiment
from fulmen.loggers.media import Audio, Histogram, Image, Media, Table, Text
from fulmen.loggers.media_files import content_of
from fulmen.loggers.service_logger import ServiceLogger
from fulmen.loggers.values import as_params, check_names
from fulmen.utilities.exceptions import MisconfiguredType, MisconfiguredValue
from fulmen.utilities.imports import require
from fulmen.utilities.rank_zero import rank_zero_deprecation, rank_zero_only

if TYPE_CHECKING:
    from comet_ml import CometExperiment

_OLD_NAMES = {"project_name": "project", "save_dir": "offline_directory", "experiment_name": "name"}


class CometLogger(ServiceLogger):
    """Logs to Comet.

    Everything is handed over in the background; Comet's own thread sends it on. The experiment is made at the start
    of `fit` and its sisters, or when something is logged, and stays open afterwards: ``logger.experiment.end()`` ends
    it, as the end of the program does. Import ``comet_ml`` before ``torch`` for what Comet logs by itself.

    Args:
        api_key: The key of your account; None for what Comet's config file or the variable ``COMET_API_KEY`` says.
        workspace: The workspace; None for your default one.
        project: The project; None for what Comet's config says.
        experiment_key: An experiment to go on with, or the key for a new one: 32 to 50 letters and digits.
        mode: ``"get"`` to go on with `experiment_key`, ``"create"`` for a new experiment, ``"get_or_create"`` or None
            for the one that is running or that has the key, or else a new one.
        online: False to write an archive for ``comet upload``; None for what Comet's config says.
        prefix: What Comet puts before the name of each metric.
        on_failure: What happens when something cannot be handed over: ``"warn"`` for one warning, after which the
            logger is off for the rest of the run, or ``"raise"`` for an error in the training thread.
        drain_timeout: For how many seconds the end of a run waits for what is not sent yet.
        x_axis: What the Trainer hands over as the step: ``"step"``, ``"epoch"``, ``"samples"`` or ``"time"``.
        **kwargs: What ``comet_ml.ExperimentConfig`` takes: `name`, `tags`, `offline_directory`, `log_code` and more.

    Raises:
        ModuleNotFoundError: If ``comet_ml`` is not installed.
        MisconfigurationException: If an option has no meaning, or there is no key for going online.

    Example:
        ``trainer = Trainer(logger=CometLogger(project="digits"))``
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        workspace: str | None = None,
        project: str | None = None,
        experiment_key: str | None = None,
        mode: Literal["get_or_create", "get", "create"] | None = None,
        online: bool | None = None,
        prefix: str | None = None,
        on_failure: OnFailure = "warn",
        drain_timeout: float = 60.0,
        x_axis: XAxis = "step",
        **kwargs: Any,
    ) -> None:
        comet = require("comet_ml", "comet", "CometLogger")
        super().__init__(prefix="", log_model=False, on_failure=on_failure, drain_timeout=drain_timeout, x_axis=x_axis)
        for old, new in _OLD_NAMES.items():
            if old in kwargs:
                rank_zero_deprecation(f"`CometLogger({old}=...)` is an old name. Pass `{new}=...`.")
                kwargs[new] = kwargs.pop(old)
        project = kwargs.pop("project", project)
        if mode not in (None, "get", "create", "get_or_create"):
            raise MisconfiguredValue(
                '`mode` is "get", "create", "get_or_create" or None.',
                got=mode,
                fix='Pass `mode="get"` and `experiment_key=...` to go on with an experiment.',
            )
        try:
            self._comet_config = comet.ExperimentConfig(**kwargs)
        except TypeError as error:
            raise MisconfiguredType(
                "`CometLogger` takes, besides its own arguments, those of `comet_ml.ExperimentConfig`.",
                got=str(error),
                fix="Look at `help(comet_ml.ExperimentConfig)` for the names.",
            ) from None
        self._start = {
            "workspace": workspace,
            "project": project,
            "mode": mode,
            "online": online,
        }
        self._kwargs = kwargs
        self._api_key = api_key
        self._project = project
        self._experiment_key = experiment_key
        self._comet_prefix = prefix
        self._experiment: CometExperiment | None = None
        self._check_key(comet)

    def _check_key(self, comet: Any) -> None:
        """Says at once what would fail in the background."""
        online = self._start["online"]
        if online is None:
            online = comet.get_config("comet.start.online")
        has_key = self._api_key or comet.get_config("comet.api_key")
        if online is not False and not has_key and comet.get_running_experiment() is None:
            raise MisconfiguredValue(
                "Comet takes experiments online only with the key of an account.",
                got="no key, neither as `api_key` nor in Comet's config",
                fix="Set the variable `COMET_API_KEY`, or pass `online=False` to write an archive for `comet upload`.",
            )

    @property
    @rank_zero_experiment
    def experiment(self) -> CometExperiment:
        """Comet's experiment, for all that has no method here; it is made when it is first asked for.

        Example:
            ``self.logger.experiment.log_confusion_matrix(y_true, y_predicted)``
        """
        if not self._background.is_on:
            self._open_once()
        elif self._wait_until_open():
            self._in_order()
        return DummyLogger().experiment if self._experiment is None else self._experiment  # type: ignore[return-value]

    @property
    def name(self) -> str | None:
        """The name of the project."""
        return self._project

    @property
    def version(self) -> str | None:
        """The experiment's key; None if Comet could not be reached."""
        if self._experiment_key is None:
            self._wait_until_open()
        return self._experiment_key

    @property
    def save_dir(self) -> str | None:
        """The folder of archives."""
        folder: str | None = self._comet_config.offline_directory
        return folder

    def _open(self) -> None:
        comet = require("comet_ml", "comet", "CometLogger")
        experiment = self._experiment
        if experiment is None:
            config, script = self._comet_config, getattr(sys.modules["__main__"], "__file__", None)
            if logs_script := script is not None and config.log_code is not False:
                # Comet takes the code of whoever starts the experiment, which here is this file.
                config = copy.copy(config)
                config.log_code = False
            experiment = comet.start(
                api_key=self._api_key, experiment_key=self._experiment_key, experiment_config=config, **self._start
            )
            if not experiment.alive and not experiment.disabled:
                raise ConnectionError("Comet could not be reached; it has said why above.")
            experiment.log_other("Created from", "fulmen")
            if logs_script:
                experiment.log_code(script)
        self._experiment, self._experiment_key = experiment, experiment.get_key()
        self._project = self._project or experiment.project_name

    def _hand_over(self, function: Callable[..., Any], *args: Any) -> None:
        self._background.submit(self._with_experiment, function, *args)

    def _with_experiment(self, function: Callable[..., Any], *args: Any) -> None:
        self._open_once()
        function(self._experiment, *args)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: float | None = None) -> None:
        """Hands over metrics.

        Args:
            metrics: Values by name; ``epoch`` among them is taken for Comet's own count of epochs.
            step: The step they belong to, a whole number for Comet.

        Raises:
            MisconfigurationException: If a name is no string.
        """
        check_names(metrics)
        row = {
            name: value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
            for name, value in metrics.items()
        }
        epoch = row.pop("epoch", None)
        self._background.gather(self._log_rows, (row, None if step is None else round(step), epoch))

    def _log_rows(self, rows: list[Any]) -> None:
        self._open_once()
        assert self._experiment is not None
        while rows:
            row, step, epoch = rows[0]
            self._experiment.log_metrics(row, prefix=self._comet_prefix, step=step, epoch=epoch)
            del rows[0]

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Hands over hyper-parameters.

        Args:
            params: A dictionary or a namespace.

        Raises:
            MisconfigurationException: If it is something else.
        """
        self._hand_over(_log_parameters, as_params(params))

    @rank_zero_only
    def log_graph(self, model: Module, input_array: Any = None) -> None:
        """Hands over how the model is built.

        Args:
            model: The model.
            input_array: Not used.
        """
        self._hand_over(_set_graph, str(model))

    @rank_zero_only
    def log_media(self, key: str, items: Sequence[Media], step: float | None = None) -> None:
        """Hands over pictures, tables, text, sound and the like, as Comet shows them.

        Args:
            key: What they are logged as.
            items: One or several, all of one kind.
            step: The step they belong to.
        """
        name = f"{self._comet_prefix}_{key}" if self._comet_prefix else key
        place = None if step is None else round(step)
        for number, item in enumerate(items):
            self._hand_over(self._log_item, name if len(items) == 1 else f"{name}_{number}", item, place)

    def _log_item(self, experiment: Any, name: str, item: Media, step: int | None) -> None:
        # Comet's client sends in the background, so what fails here is the item.
        self._background.encoded(name, item.kind, _log_item, experiment, name, item, step)

    def _send_model(self, *args: Any) -> None:
        raise NotImplementedError

    def _end(self, status: str) -> None:
        """Waits until Comet has sent everything, and leaves the experiment open, since more may be logged to it."""
        if self._experiment is not None:
            self._experiment.flush()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_experiment": None}


def _log_parameters(experiment: Any, params: dict[str, Any]) -> None:
    experiment.log_parameters(params, nested_support=True)


def _set_graph(experiment: Any, graph: str) -> None:
    experiment.set_model_graph(graph)


def _log_item(experiment: Any, name: str, item: Media, step: int | None) -> None:
    if isinstance(item, Image):
        note = {"caption": item.caption} if item.caption else None
        experiment.log_image(io.BytesIO(item.png()), name=name, step=step, metadata=note)
    elif isinstance(item, Table):
        experiment.log_table(f"{name}.csv", tabular_data=item.rows, headers=item.columns, step=step)
    elif isinstance(item, Text):
        experiment.log_text(item.text, step=step, metadata={"key": name})
    elif isinstance(item, Histogram):
        experiment.log_histogram_3d(item.values, name=name, step=step)
    else:
        _log_file(experiment, name, item, step)


def _log_file(experiment: Any, name: str, item: Media, step: int | None) -> None:
    content, ending = content_of(item)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"file{ending}")
        with open(path, "wb") as file:
            file.write(content)
        if isinstance(item, Audio):
            experiment.log_audio(path, item.sample_rate, file_name=f"{name}{ending}", step=step, copy_to_tmp=True)
        else:
            experiment.log_asset(path, file_name=f"{name}{ending}", step=step, copy_to_tmp=True)
