"""Metrics, hyper-parameters, media and checkpoints for Weights & Biases."""

from __future__ import annotations

import os
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor
from torch.nn import Module

from fulmen.loggers.background import OnFailure
from fulmen.loggers.logger import DummyLogger, XAxis, rank_zero_experiment
from fulmen.loggers.media import Media, images_of
from fulmen.loggers.saved_models import Kept, SavedModel
from fulmen.loggers.service_logger import ServiceLogger
from fulmen.loggers.values import as_params, check_names
from fulmen.loggers.wandb_media import is_for_wandb, native
from fulmen.loggers.wandb_offline import check_written
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.imports import available, require
from fulmen.utilities.rank_zero import rank_zero_only, rank_zero_warn

if TYPE_CHECKING:
    from wandb import Artifact
    from wandb.sdk.wandb_run import Run

# How often to look whether W&B gets its file onto the disk, in seconds.
_LOOK_EVERY = 5.0


class WandbLogger(ServiceLogger):
    """Logs to Weights & Biases.

    Everything is handed over in the background; W&B's own process sends it on. The run is made at the start of `fit`
    and its sisters, or when something is logged, and stays open afterwards: ``wandb.finish()`` ends it, as the end
    of the program does.

    Args:
        name: The name of the run; None for one that W&B invents.
        save_dir: The folder of local files.
        version: The run's id, to go on with a run; the same as `id`.
        offline: Whether to write local files only, for ``wandb sync``.
        dir: The same as `save_dir`, where that is None.
        id: The same as `version`.
        anonymous: Whether to log without an account; W&B has given that up.
        project: The project; None for what the variable ``WANDB_PROJECT`` says, or else ``"lightning_logs"``.
        log_model: Which checkpoints become artifacts: True for those that are there at the end of training, ``"all"``
            for each as soon as it is saved, False for none.
        experiment: A run that there is already.
        prefix: What is put before the name of each metric, with a hyphen between.
        checkpoint_name: The name of the artifact of checkpoints; None for ``model-<id>``.
        add_file_policy: ``"mutable"`` if W&B keeps a copy of each checkpoint that it sends, ``"immutable"`` if it
            sends the file itself, which must not be deleted before.
        on_failure: What happens when something cannot be handed over: ``"warn"`` for one warning, after which the
            logger is off for the rest of the run, or ``"raise"`` for an error in the training thread.
        drain_timeout: For how many seconds the end of a run waits for what is not handed over yet.
        x_axis: What the Trainer hands over as the step: ``"step"``, ``"epoch"``, ``"samples"`` or ``"time"``.
        **kwargs: What ``wandb.init`` takes besides: `config`, `tags`, `group`, `notes`, `entity` and more.

    Raises:
        ModuleNotFoundError: If ``wandb`` is not installed.
        MisconfigurationException: If an option has no meaning, or checkpoints are to be sent from offline.

    Example:
        ``trainer = Trainer(logger=WandbLogger(project="digits", log_model="all"))``
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | os.PathLike[str] = ".",
        version: str | None = None,
        offline: bool = False,
        dir: str | os.PathLike[str] | None = None,
        id: str | None = None,
        anonymous: bool | None = None,
        project: str | None = None,
        log_model: Literal["all"] | bool = False,
        experiment: Run | None = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        add_file_policy: Literal["mutable", "immutable"] = "mutable",
        *,
        on_failure: OnFailure = "warn",
        drain_timeout: float = 60.0,
        x_axis: XAxis = "step",
        **kwargs: Any,
    ) -> None:
        require("wandb", "wandb", "WandbLogger")
        if offline and log_model:
            raise MisconfigurationException(
                "W&B sends no checkpoints from offline.",
                got=f"log_model={log_model!r}, offline=True",
                fix="Set `offline=False`, or `log_model=False`.",
            )
        super().__init__(
            prefix=prefix, log_model=log_model, on_failure=on_failure, drain_timeout=drain_timeout, x_axis=x_axis
        )
        folder = save_dir if save_dir is not None else dir
        self._save_dir = None if folder is None else os.fspath(folder)
        self._project = project or os.environ.get("WANDB_PROJECT", "lightning_logs")
        self._id = version or id
        self._offline = offline
        self._checkpoint_name = checkpoint_name
        self.add_file_policy = add_file_policy
        self._wandb_init: dict[str, Any] = {
            "name": name,
            "project": self._project,
            "dir": self._save_dir,
            "id": self._id,
            "resume": "allow",
            **({"anonymous": "allow"} if anonymous else {}),
            **({"mode": "offline"} if offline else {}),
            **kwargs,
        }
        self._axis = "trainer/global_step" if x_axis == "step" else f"trainer/{x_axis}"
        self._experiment: Run | None = experiment
        self._is_copy = False
        self._next_look = 0.0
        if experiment is not None:
            self._id = experiment.id

    @property
    @rank_zero_experiment
    def experiment(self) -> Run:
        """The run of W&B, for all that has no method here; it is made when it is first asked for.

        Example:
            ``self.logger.experiment.log({"roc": wandb.plot.roc_curve(y, probabilities)})``
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
        """The run's id; None as long as there is no run."""
        if self._id is None and self._background.is_on:
            self._wait_until_open()
        return self._id

    @property
    def save_dir(self) -> str | None:
        """The folder of local files."""
        return self._save_dir

    def _open(self) -> None:
        wandb = require("wandb", "wandb", "WandbLogger")
        run = self._experiment
        if run is None and wandb.run is not None:
            run = wandb.run
            if not self._is_copy:
                self._reuses(run)
        if run is None:
            if self._save_dir and "://" not in self._save_dir:
                os.makedirs(self._save_dir, exist_ok=True)  # W&B writes elsewhere if it is missing
            run = wandb.init(**{**self._wandb_init, "id": self._id})
        if getattr(run, "define_metric", None):
            run.define_metric(self._axis)
            run.define_metric("*", step_metric=self._axis, step_sync=True)
        self._experiment, self._id = run, run.id

    def _reuses(self, run: Run) -> None:
        rank_zero_warn(
            f"`WandbLogger` goes on with the run of W&B that is open already ({run.id}). Call `wandb.finish()` before"
            " for a run of its own, or pass `WandbLogger(experiment=wandb.run)`."
        )

    def _hand_over(self, function: Callable[..., None], *args: Any) -> None:
        self._background.submit(self._with_run, function, *args)

    def _with_run(self, function: Callable[..., None], *args: Any) -> None:
        self._open_once()
        function(self._experiment, *args)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: float | None = None) -> None:
        """Hands over metrics, all in one row.

        Args:
            metrics: Values by name: numbers, and whatever W&B knows, such as ``wandb.Image``.
            step: The step they belong to; None for that of the row before.

        Raises:
            MisconfigurationException: If a name is no string.
        """
        check_names(metrics)
        row = dict(self._with_prefix(metrics))
        if step is not None:
            row[self._axis] = step
        self._background.gather(self._log_rows, row)

    def _log_rows(self, rows: list[dict[str, Any]]) -> None:
        self._open_once()
        assert self._experiment is not None
        while rows:
            self._experiment.log(rows[0])
            del rows[0]
        if time.monotonic() >= self._next_look:
            check_written(self._experiment)
            self._next_look = time.monotonic() + _LOOK_EVERY

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Adds hyper-parameters to the run's config.

        Args:
            params: A dictionary or a namespace. Functions and classes are logged by name.

        Raises:
            MisconfigurationException: If it is something else.
        """
        self._hand_over(_update_config, _as_config(as_params(params)))

    @rank_zero_only
    def log_media(self, key: str, items: Sequence[Media], step: float | None = None) -> None:
        """Hands over pictures, tables, text, sound and the like, as W&B shows them.

        Args:
            key: What they are logged as.
            items: One or several, all of one kind.
            step: The step they belong to.
        """
        if items[0].kind in ("image", "figure", "video") and not available("PIL"):
            super().log_media(key, items, step)
        else:
            self._hand_over(self._write_media, key, list(items), step)

    def _write_media(self, run: Run, key: str, items: list[Media], step: float | None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            made = self._background.encoded(key, items[0].kind, native, key, items, folder)
            for name, objects in (made or {}).items():
                self._log_objects(run, name, objects, step)

    def _log_objects(self, run: Run, key: str, objects: Any, step: float | None) -> None:
        row = dict(self._with_prefix({key: objects}))
        run.log(row if step is None else {**row, self._axis: step})

    @rank_zero_only
    def log_image(self, key: str, images: Any, step: int | None = None, *, caption: Any = None, **kwargs: Any) -> None:
        """Logs a picture, or several.

        Args:
            key: What to log it as.
            images: As for `Logger.log_image`, and besides: paths of files, and what ``wandb.Image`` takes.
            step: The step it belongs to.
            caption: What to write below it; a list for several.
            **kwargs: What ``wandb.Image`` takes, a list for several: `masks`, `boxes`, `classes`, `mode`, `file_type`.

        Raises:
            MisconfigurationException: If it is no picture, or a list is of another length.
        """
        several = images if isinstance(images, list) else [images]
        if not kwargs and not any(is_for_wandb(one) for one in several):
            super().log_image(key, images, step, caption=caption)
            return
        several = [one if is_for_wandb(one) else images_of(one)[0].pixels for one in several]
        self._log_given("Image", key, several, step, {"caption": caption, **kwargs})

    @rank_zero_only
    def log_audio(
        self,
        key: str,
        audios: Any,
        step: int | None = None,
        *,
        sample_rate: Any = None,
        caption: Any = None,
        **kwargs: Any,
    ) -> None:
        """Logs sound.

        Args:
            key: What to log it as.
            audios: As for `Logger.log_audio`, and besides: paths of files, and ``wandb.Audio``.
            step: The step it belongs to.
            sample_rate: Samples a second; None for 44,100. A list for several.
            caption: What to write below it; a list for several.
            **kwargs: What ``wandb.Audio`` takes, a list for several.

        Raises:
            MisconfigurationException: If it is no sound, or a list is of another length.
        """
        several = audios if isinstance(audios, list) else [audios]
        if not any(is_for_wandb(one) for one in several):
            super().log_audio(key, audios, step, sample_rate=sample_rate, caption=caption)
            return
        self._log_given("Audio", key, several, step, {"sample_rate": sample_rate, "caption": caption, **kwargs})

    @rank_zero_only
    def log_video(
        self, key: str, videos: Any, step: int | None = None, *, fps: Any = None, caption: Any = None, **kwargs: Any
    ) -> None:
        """Logs a video.

        Args:
            key: What to log it as.
            videos: As for `Logger.log_video`, and besides: paths of files, and ``wandb.Video``.
            step: The step it belongs to.
            fps: Frames a second; None for 4. A list for several.
            caption: What to write below it; a list for several.
            **kwargs: What ``wandb.Video`` takes, a list for several: `format`.

        Raises:
            MisconfigurationException: If it is no video, or a list is of another length.
        """
        several = videos if isinstance(videos, list) else [videos]
        if not any(is_for_wandb(one) for one in several):
            super().log_video(key, videos, step, fps=fps, caption=caption)
            return
        self._log_given("Video", key, several, step, {"fps": fps, "caption": caption, **kwargs})

    def _log_given(self, kind: str, key: str, given: list[Any], step: int | None, options: dict[str, Any]) -> None:
        """Hands over what W&B makes its objects of."""
        each: list[dict[str, Any]] = [{} for _ in given]
        for name, value in options.items():
            if isinstance(value, list) and len(value) != len(given):
                raise MisconfiguredValue(
                    f"`{name}` needs one value for each of what is logged.",
                    got=f"{len(value)} for {len(given)}",
                    fix=f"Pass a list of {len(given)}, or a single value for all.",
                )
            for one, own in zip(each, value if isinstance(value, list) else [value] * len(given)):
                if own is not None:
                    one[name] = own
        self._hand_over(self._log_made, kind, key, list(zip(given, each)), step)

    def _log_made(self, run: Run, kind: str, key: str, given: list[Any], step: int | None) -> None:
        make = getattr(require("wandb", "wandb", "WandbLogger"), kind)
        objects = [one if isinstance(one, make) else make(_as_path(one), **options) for one, options in given]
        self._log_objects(run, key, objects, step)

    @rank_zero_only
    def log_text(  # type: ignore[override]
        self,
        key: str,
        columns: list[str] | str | None = None,
        data: list[list[str]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
        *,
        text: str | list[str] | None = None,
    ) -> None:
        """Logs text: a single one, ``log_text("sample", "Once upon a time")``, or a table of them.

        Args:
            key: What to log it as.
            columns: The names of the columns; or, without `data`, the text itself, or a list of them.
            data: The rows.
            dataframe: A data frame, instead of both.
            step: The step it belongs to.
            text: The text, where it is passed by name.

        Raises:
            MisconfigurationException: If there is no text in it.
        """
        if text is None and data is None and dataframe is None and isinstance(columns, (str, list)):
            text = columns
        if text is not None:
            super().log_text(key, text, step=step)
        else:
            self.log_table(key, columns, data, dataframe, step)

    def log_graph(self, model: Module, input_array: Any = None) -> None:
        """Makes the run, so that ``wandb.run`` is there in hooks and steps; W&B draws a graph by `watch`.

        Args:
            model: The model.
            input_array: Not used.
        """
        if self._background.is_on:
            self._wait_until_open()

    def watch(
        self,
        model: Module,
        log: Literal["gradients", "parameters", "all"] | None = "gradients",
        log_freq: int = 100,
        log_graph: bool = True,
    ) -> None:
        """Has W&B log gradients or parameters as histograms, in the training thread; see ``wandb.watch``.

        Args:
            model: The model.
            log: What to log.
            log_freq: Every so many backward passes.
            log_graph: Whether to log the model's graph.
        """
        self.experiment.watch(model, log=log, log_freq=log_freq, log_graph=log_graph)

    def use_artifact(self, artifact: str, artifact_type: str | None = None) -> Artifact:
        """Notes that the run uses an artifact.

        Args:
            artifact: Its name: ``name:version`` or ``name:alias``, with ``entity/project/`` before it or not.
            artifact_type: Its type.

        Returns:
            The artifact.
        """
        found: Artifact = self.experiment.use_artifact(artifact, type=artifact_type)
        return found

    @staticmethod
    @rank_zero_only
    def download_artifact(
        artifact: str,
        save_dir: str | os.PathLike[str] | None = None,
        artifact_type: str | None = None,
        use_artifact: bool | None = True,
    ) -> str:
        """Downloads an artifact.

        Args:
            artifact: Its name: ``name:version`` or ``name:alias``, with ``entity/project/`` before it or not.
            save_dir: Where to; None for W&B's folder of artifacts.
            artifact_type: Its type.
            use_artifact: Whether to note that the run which is open uses it.

        Returns:
            The folder.

        Example:
            ``path = WandbLogger.download_artifact("me/digits/model-1x2y3z:best")``
        """
        wandb = require("wandb", "wandb", "WandbLogger")
        if wandb.run is not None and use_artifact:
            found = wandb.run.use_artifact(artifact)
        else:
            found = wandb.Api().artifact(artifact, type=artifact_type)
        path: str = found.download(root=None if save_dir is None else os.fspath(save_dir))
        return path

    def _send_model(self, model: SavedModel, kept: Kept) -> None:
        wandb = require("wandb", "wandb", "WandbLogger")
        assert self._experiment is not None
        about = {"score": model.score, "original_filename": model.file_name, model.callback: model.options}
        artifact = wandb.Artifact(name=self._checkpoint_name or f"model-{self._id}", type="model", metadata=about)
        immutable = self.add_file_policy == "immutable" and os.path.exists(model.path)
        artifact.add_file(
            model.path if immutable else kept.path,
            name="model.ckpt",
            policy="immutable" if immutable else "mutable",
        )
        self._experiment.log_artifact(artifact, aliases=model.aliases)

    def _end(self, status: str) -> None:
        """Leaves the run open, since more may be logged to it."""
        if self._experiment is not None:
            check_written(self._experiment)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_experiment": None, "_is_copy": self._experiment is not None}


def _update_config(run: Any, params: dict[str, Any]) -> None:
    run.config.update(params, allow_val_change=True)


def _as_path(given: Any) -> Any:
    return os.fspath(given) if isinstance(given, os.PathLike) else given


def _as_config(value: Any) -> Any:
    """A hyper-parameter as W&B can hold it, which nobody changes before it is sent."""
    if isinstance(value, Mapping):
        return {str(name): _as_config(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_config(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _as_config({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else str(value)
    if isinstance(value, Namespace):
        return str(value)
    return getattr(value, "__name__", type(value).__name__) if callable(value) else value
