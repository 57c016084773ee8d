"""Metrics, hyper-parameters and the model's graph for TensorBoard."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import Module

from fulmen.core.hooks import DataHooks
from fulmen.loggers import event_media, event_package
from fulmen.loggers.background import OnFailure
from fulmen.loggers.event_file import redirect
from fulmen.loggers.logger import XAxis, rank_zero_experiment
from fulmen.loggers.media import Media
from fulmen.loggers.run_folder import NAME_HPARAMS_FILE, RunFolderLogger, local_path, write_hparams
from fulmen.loggers.values import as_params, check_names, flat_params, number
from fulmen.utilities.imports import require
from fulmen.utilities.model_summary.example_forward import kept_buffers, kept_modes
from fulmen.utilities.rank_zero import rank_zero_only, rank_zero_warn
from fulmen.utilities.seed import isolate_rng
from fulmen.utilities.tree import move_data_to_device

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# For a version of TensorBoard that writes in its own way; there, the default of 120 would lag two minutes behind.
_FLUSH_SECONDS = 10


class TensorBoardLogger(RunFolderLogger):
    """Logs to ``save_dir/name/version_N``, for ``tensorboard --logdir save_dir``.

    The package ``tensorboard``, or ``tensorboardX`` where only that is installed, is imported when the first thing is
    logged.

    Args:
        save_dir: The folder of all experiments.
        name: The folder of this experiment below it; None or empty for none.
        version: The run: a number N stands for a folder ``version_N``, a string for a folder of that name, and None
            for the next number that is free.
        log_graph: Whether the model's graph is recorded; needs `example_input_array` of the model.
        default_hp_metric: Whether hyper-parameters that come without a metric are logged with one named
            ``hp_metric``, of value -1: TensorBoard shows only hyper-parameters that have one.
        prefix: What is put before the name of each metric, with a hyphen between.
        sub_dir: A folder below that of the version, for all files.
        on_failure: What happens when something cannot be written, as where the disk is full: ``"warn"`` for one
            warning, after which the logger is off for the rest of the run, or ``"raise"`` for an error.
        drain_timeout: For how many seconds the end of a run waits for what is not written yet.
        x_axis: What the Trainer takes for the step: ``"step"``, ``"epoch"``, ``"samples"`` of training, or ``"time"``,
            seconds of training.
        **kwargs: What ``torch.utils.tensorboard.SummaryWriter`` takes besides the folder: `comment`, `purge_step` and
            `filename_suffix`; `max_queue` and `flush_secs` without effect, since everything is written as it comes.

    Raises:
        ModuleNotFoundError: If neither is installed.
        MisconfigurationException: If `save_dir` is no local path, or another argument has no meaning.

    Example:
        ``trainer = Trainer(logger=TensorBoardLogger("logs", name="digits"))``
    """

    NAME_HPARAMS_FILE = NAME_HPARAMS_FILE

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | os.PathLike[str] | None = None,
        *,
        on_failure: OnFailure = "warn",
        drain_timeout: float = 60.0,
        x_axis: XAxis = "step",
        **kwargs: Any,
    ) -> None:
        if not event_package.is_there():
            require("tensorboard", "loggers", "TensorBoardLogger")
        super().__init__(
            save_dir, name, version, prefix, on_failure=on_failure, drain_timeout=drain_timeout, x_axis=x_axis
        )
        self._sub_dir = None if sub_dir is None else os.fspath(sub_dir)
        self._log_graph = log_graph
        self._default_hp_metric = default_hp_metric
        self._kwargs = {"flush_secs": _FLUSH_SECONDS, **kwargs}
        self._experiment: SummaryWriter | None = None
        self.hparams: dict[str, Any] = {}
        self._hparams_changed = True
        self._owns_hparams_file = False

    @property
    def sub_dir(self) -> str | None:
        """The folder below that of the version, None for none."""
        return self._sub_dir

    def _run_folder(self) -> str:
        folder = super()._run_folder()
        return folder if self._sub_dir is None else os.path.join(folder, local_path(self._sub_dir))

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The ``SummaryWriter``, for all that has no method here.

        It is made, as the folder is, when it is first asked for. What was logged before is written by then.

        Example:
            ``self.logger.experiment.add_pr_curve("digits", labels, predictions, self.global_step)``
        """
        self._in_order()
        self._import()
        writer: SummaryWriter = self._writer()
        return writer

    def _import(self) -> None:
        # In the thread that logs: an import in another, beside one of the user's, may wait for that for ever.
        if self._experiment is None:
            event_package.writer_module()

    def _writer(self) -> Any:
        writer: Any = self._experiment
        suffix = self._kwargs.get("filename_suffix", "")
        if writer is None:
            kind = event_package.writer_module().SummaryWriter
            options = {**self._kwargs, "filename_suffix": event_package.new_suffix(suffix)}
            writer = self._experiment = kind(log_dir=self._run_folder(), **options)
            redirect(writer, self._background)
        elif writer.all_writers is None:  # it was closed, and begins a new file
            writer._filename_suffix = event_package.new_suffix(suffix)
            writer._get_file_writer()
            redirect(writer, self._background)
        return writer

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Records metrics, all in one event.

        Args:
            metrics: Numbers by name; tensors must have one element. A dictionary of numbers becomes several curves
                in one chart.
            step: The step they belong to.

        Raises:
            MisconfigurationException: If a value is no number, or a name is no string.
        """
        check_names(metrics)
        numbers = {name: _numbers(name, value) for name, value in self._with_prefix(metrics).items()}
        self._import()
        self._background.gather(self._write_rows, (numbers, None if step is None else int(step), time.time()))

    def _write_rows(self, rows: list[tuple[dict[str, Any], int | None, float]]) -> None:
        writer, kind = self._writer(), event_package.protocol_module().Summary
        while rows:
            numbers, step, now = rows[0]
            summary = kind()
            for name, value in numbers.items():
                if isinstance(value, dict):
                    self._write_chart(writer, name, value, step, now)
                else:
                    summary.value.add(tag=name, simple_value=value)
            if summary.value:
                # One event for all values costs what `add_scalar` costs for each of them.
                writer._get_file_writer().add_summary(summary, step, now)
            del rows[0]

    def _write_chart(self, writer: Any, name: str, curves: dict[str, float], step: int | None, now: float) -> None:
        """Writes several curves of one chart, each of which is a run of its own for TensorBoard."""
        writer.add_scalars(name, curves, step, now)
        redirect(writer, self._background)

    @rank_zero_only
    def log_media(self, key: str, items: Sequence[Media], step: float | None = None) -> None:
        """Records pictures, figures, text, tables (as text), sound, videos (as moving pictures) and histograms.

        Args:
            key: What they are logged as; of several, the second is ``key/1``.
            items: One or several, all of one kind.
            step: The step they belong to.
        """
        self._import()
        place = None if step is None else int(step)
        self._background.submit(self._write_media, key, list(items), place, time.time())

    def _write_media(self, key: str, items: list[Media], step: int | None, now: float) -> None:
        writer = self._writer()._get_file_writer()
        for index, item in enumerate(items):
            name = f"{key}/{index}" if index else key
            summary = self._background.encoded(key, item.kind, event_media.summary_of, name, item)
            if summary is not None:
                writer.add_summary(summary, step, now)

    @rank_zero_only
    def log_hyperparams(
        self,
        params: dict[str, Any] | Namespace,
        metrics: dict[str, Any] | float | None = None,
        step: int | None = None,
    ) -> None:
        """Records hyper-parameters, for TensorBoard's own page of them and for ``hparams.yaml``.

        Args:
            params: A dictionary or a namespace.
            metrics: The metrics to show with them; a single number stands for ``hp_metric``.
            step: The step the metrics belong to.

        Raises:
            MisconfigurationException: If `params` is something else, or a metric is no number.
        """
        given = as_params(params)
        self.hparams.update(given)
        self._hparams_changed = True
        if metrics is None:
            metrics = {"hp_metric": -1} if self._default_hp_metric else {}
        elif not isinstance(metrics, dict):
            metrics = {"hp_metric": metrics}
        if not metrics:
            return
        self.log_metrics(metrics, step)
        self._background.submit(
            self._write_hparams, flat_params(given), dict(self._with_prefix(metrics)), step, records=0
        )

    def _write_hparams(self, params: dict[str, Any], metrics: dict[str, Any], step: int | None) -> None:
        writer = self._writer()._get_file_writer()
        for summary in event_package.summary_module().hparams(params, metrics):
            writer.add_summary(summary, step)

    @rank_zero_only
    def log_graph(self, model: Module, input_array: Any = None) -> None:
        """Records the model's graph, where `log_graph=True` was given.

        The model runs in evaluation mode; its weights, buffers and modes and all random numbers stay as they are.

        Args:
            model: The model.
            input_array: What its `forward` is called with; None for the model's `example_input_array`.
        """
        if not self._log_graph:
            return
        if input_array is None:
            input_array = getattr(model, "example_input_array", None)
        if input_array is None:
            rank_zero_warn(
                "The model's graph was not logged, since there is no input to run the model with."
                " Set `self.example_input_array` in the model's `__init__`."
            )
            return
        try:
            with _without_a_trace(model), contextlib.redirect_stdout(None):
                self.experiment.add_graph(_bare(model), _as_batch(model, input_array))
        except Exception as error:
            rank_zero_warn(
                f"The model's graph was not logged, since it could not be traced: {error}"
                "\nCheck `example_input_array`, or leave `log_graph` off."
            )

    def _flush(self) -> None:
        """Writes ``hparams.yaml`` where hyper-parameters were added; one of an earlier run is left as it is."""
        if not self._hparams_changed:
            return
        self._hparams_changed = False
        path = os.path.join(self._run_folder(), self.NAME_HPARAMS_FILE)
        if self._owns_hparams_file or not os.path.exists(path):
            write_hparams(path, dict(self.hparams))
            self._owns_hparams_file = True

    def _holds_back(self) -> bool:
        return self._hparams_changed

    def _end(self, status: str) -> None:
        if self._experiment is not None:
            self._experiment.close()
            self._flush()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_experiment": None}


def _numbers(name: str, value: Any) -> Any:
    if type(value) is float:
        return value
    if isinstance(value, dict):
        return {curve: number(curve, item) for curve, item in value.items()}
    return number(name, value)


@contextlib.contextmanager
def _without_a_trace(model: Module) -> Iterator[None]:
    """Lets a model run without a mark on training."""
    on_cpu = _device(model).type == "cpu"
    with isolate_rng(include_cuda=not on_cpu), kept_modes(model), kept_buffers(model), torch.no_grad():
        model.eval()
        with warnings.catch_warnings():
            # Of `torch.jit.trace`, which TensorBoard has no substitute for.
            warnings.simplefilter("ignore")
            yield


def _bare(model: Module) -> Module:
    """A module with the same parts and the same `forward`, and nothing else.

    The tracer reads every attribute of a module, also those that are only there during a run.
    """
    bare: Module = type(type(model).__name__, (Module,), {})()
    for parts in ("_parameters", "_buffers", "_modules"):
        setattr(bare, parts, getattr(model, parts))
    bare.forward = model.forward
    return bare.eval()


def _as_batch(model: Module, example: Any) -> Any:
    if not isinstance(model, DataHooks):
        return move_data_to_device(example, _device(model))
    example = model.on_before_batch_transfer(example, 0)
    example = model.transfer_batch_to_device(example, _device(model), 0)
    return model.on_after_batch_transfer(example, 0)


def _device(model: Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
