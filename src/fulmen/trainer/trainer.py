"""``Trainer``: runs a module on data, on any device, with logging, saving and stopping."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch

from fulmen.callbacks.callback import Callback
from fulmen.loops.logbook import LogBook
from fulmen.loops.metrics import Metrics
from fulmen.loops.progress import Progress
from fulmen.trainer.flags import count, names_checked, settle
from fulmen.trainer.machine import AcceleratorInput, Plugin, PrecisionInput, StrategyInput, make_strategy, set_backends
from fulmen.trainer.parts import add_defaults, check_callbacks, make_loggers
from fulmen.trainer.signals import Signals
from fulmen.trainer.views import PartViews
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.generations import taught
from fulmen.utilities.states import TrainerFn, TrainerState, TrainerStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fulmen.core.datamodule import LightningDataModule
    from fulmen.core.module import LightningModule
    from fulmen.loggers.logger import Logger
    from fulmen.loops.evaluate import EvaluationLoop
    from fulmen.loops.fit import FitLoop
    from fulmen.loops.hooks import Hooks
    from fulmen.loops.predict import PredictionLoop
    from fulmen.profilers.profiler import Profiler
    from fulmen.trainer.trial import Trial


@taught
class Trainer(PartViews):
    """Runs a module on data."""

    hooks: Hooks
    _profiler: Profiler | None

    @names_checked
    def __init__(
        self,
        *,
        accelerator: AcceleratorInput = "auto",
        strategy: StrategyInput = "auto",
        devices: list[int] | str | int = "auto",
        num_nodes: int = 1,
        precision: PrecisionInput | None = None,
        logger: Logger | Iterable[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        fast_dev_run: int | bool = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        max_time: str | timedelta | dict[str, int] | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | str | timedelta | dict[str, int] | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | Literal["warn"] | None = None,
        benchmark: bool | None = None,
        inference_mode: bool = True,
        use_distributed_sampler: bool = True,
        profiler: Profiler | str | None = None,
        detect_anomaly: bool = False,
        barebones: bool = False,
        plugins: Plugin | list[Plugin] | None = None,
        sync_batchnorm: bool = False,
        reload_dataloaders_every_n_epochs: int = 0,
        default_root_dir: str | os.PathLike[str] | None = None,
        enable_autolog_hparams: bool = True,
        model_registry: str | None = None,
        exact_accumulation: bool = True,
        fast_data: bool = True,
    ) -> None:
        """Sets up a Trainer; nothing runs yet.

        Args:
            accelerator: ``"auto"``, ``"cpu"``, ``"gpu"``, ``"cuda"``, ``"mps"``, or any device that
                ``torch.accelerator`` reports.
            strategy: How processes and devices are used; ``"auto"`` or a ``Strategy``.
            devices: How many devices (int), which (list of indices), or ``"auto"``.
            num_nodes: The number of machines.
            precision: ``"32-true"``, ``"64-true"``, ``"16-mixed"``, ``"bf16-mixed"``, ``"16-true"`` or
                ``"bf16-true"``.
            logger: A logger, several, True or None for the default (TensorBoard where it is installed, else CSV), or
                False for none.
            callbacks: One callback or several.
            fast_dev_run: Run one batch (True) or so many of everything to find mistakes, without logs and checkpoints.
            max_epochs: Train at most so many epochs; -1 for no limit. 1000 where no limit at all is given.
            min_epochs: Train at least so many epochs.
            max_steps: Take at most so many optimizer steps; -1 for no limit.
            min_steps: Take at least so many optimizer steps.
            max_time: Train at most so long, e.g. ``"00:12:00:00"`` (days, hours, minutes, seconds).
            limit_train_batches: How many (int) or what fraction (float) of the training batches to use.
            limit_val_batches: The same for validation.
            limit_test_batches: The same for testing.
            limit_predict_batches: The same for prediction.
            overfit_batches: Train and validate on so many (int) or that fraction (float) of batches, in order.
            val_check_interval: Validate after so many batches (int), that fraction of an epoch (float), or such a time.
            check_val_every_n_epoch: Validate in every n-th epoch; None counts batches across epochs.
            num_sanity_val_steps: Validation batches to try before training; -1 for all, None for 2.
            log_every_n_steps: Send step values to the loggers every so many steps; None for 50.
            enable_checkpointing: Whether to save checkpoints where no callback is given that does.
            enable_progress_bar: Whether to show a progress bar.
            enable_model_summary: Whether to print a summary of the model.
            accumulate_grad_batches: Step the optimizer after so many batches.
            gradient_clip_val: Clip gradients to this norm or value.
            gradient_clip_algorithm: ``"norm"`` or ``"value"``.
            deterministic: Let torch use deterministic algorithms alone; ``"warn"`` to be warned where it cannot.
            benchmark: The value of ``torch.backends.cudnn.benchmark``.
            inference_mode: Whether evaluation runs in ``torch.inference_mode`` or in ``torch.no_grad``.
            use_distributed_sampler: Whether samplers are divided among processes.
            profiler: ``"simple"``, ``"advanced"``, ``"pytorch"``, or a ``Profiler``.
            detect_anomaly: Whether autograd looks for NaN in backward.
            barebones: Switch off everything that is not training.
            plugins: A precision, a checkpoint IO, a cluster environment, or several.
            sync_batchnorm: Whether batch norm layers are synchronised over processes.
            reload_dataloaders_every_n_epochs: Make the loaders anew every so many epochs; 0 for never.
            default_root_dir: Where files go that no logger or callback has a place for; None for the working folder.
            enable_autolog_hparams: Whether hyper-parameters go to the loggers at the start.
            model_registry: Not supported.
            exact_accumulation: Whether a window of batches that is short or uneven gives the gradient of one big
                batch. False divides by `accumulate_grad_batches` always, as Lightning does.
            fast_data: Whether plain loaders over data in memory may be read by slicing.

        Raises:
            MisconfigurationException: If flags contradict each other or a value makes no sense.
        """
        if model_registry is not None:
            raise MisconfigurationException(
                "`model_registry` belongs to a vendor's service, which Fulmen does not talk to.",
                got=model_registry,
                fix="Leave it out, and upload `trainer.checkpoint_callback.best_model_path` after `fit`.",
            )
        self.settings = settle(
            fast_dev_run=fast_dev_run, max_epochs=max_epochs, min_epochs=min_epochs, max_steps=max_steps,
            min_steps=min_steps, max_time=max_time, limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches, limit_test_batches=limit_test_batches,
            limit_predict_batches=limit_predict_batches, overfit_batches=overfit_batches,
            val_check_interval=val_check_interval, check_val_every_n_epoch=check_val_every_n_epoch,
            num_sanity_val_steps=num_sanity_val_steps, log_every_n_steps=log_every_n_steps,
            enable_checkpointing=enable_checkpointing, enable_progress_bar=enable_progress_bar,
            enable_model_summary=enable_model_summary, accumulate_grad_batches=accumulate_grad_batches,
            exact_accumulation=exact_accumulation, gradient_clip_val=gradient_clip_val,
            gradient_clip_algorithm=gradient_clip_algorithm, detect_anomaly=detect_anomaly, barebones=barebones,
            logger=logger, profiler=profiler,
        )  # fmt: skip
        count("num_nodes", num_nodes, None, least=1)
        set_backends(deterministic, benchmark)
        self._strategy = make_strategy(accelerator, strategy, devices, num_nodes, precision, plugins, sync_batchnorm)
        self._default_root_dir = os.fspath(default_root_dir) if default_root_dir is not None else os.getcwd()
        self.inference_mode = inference_mode
        self.use_distributed_sampler = use_distributed_sampler
        every = count("reload_dataloaders_every_n_epochs", reload_dataloaders_every_n_epochs, 0, least=0)
        self.reload_dataloaders_every_n_epochs: int = every
        self.enable_autolog_hparams = enable_autolog_hparams
        self.fast_data = fast_data
        self.profiler = profiler
        self._unpack()
        self._make_state()
        self.loggers = make_loggers(logger, self.settings, self._default_root_dir)
        self._given_callbacks = check_callbacks(callbacks, self.settings)
        self._callbacks: list[Callback] | None = None

    def _unpack(self) -> None:
        """Lays out the settings under the names by which users read, and may change, them."""
        settings = self.settings
        limits, optimization, validation = settings.limits, settings.optimization, settings.validation
        self.limit_train_batches, self.limit_val_batches = limits.train, limits.val
        self.limit_test_batches, self.limit_predict_batches = limits.test, limits.predict
        self.overfit_batches, self.accumulate_grad_batches = limits.overfit, optimization.accumulate
        self.exact_accumulation = optimization.exact_accumulation
        self.gradient_clip_val, self.gradient_clip_algorithm = optimization.clip_value, optimization.clip_algorithm
        self.detect_anomaly = optimization.detect_anomaly
        self.val_check_interval, self.check_val_every_n_epoch = validation.interval, validation.every_n_epoch
        self.num_sanity_val_steps = validation.sanity_steps
        self.fast_dev_run, self.barebones = settings.fast_dev_run, settings.barebones

    def _make_state(self) -> None:
        self.state = TrainerState()
        self.should_stop = False
        self.datamodule: LightningDataModule | None = None
        self._ckpt_path: str | None = None
        self.ckpt_named = False  # whether the user named that file, which is then left alone
        self.progress = Progress()
        self.metrics = Metrics(self.progress)
        self.metrics.log_every_n_steps = self.settings.display.log_every_n_steps
        self.logbook = LogBook()
        self.signals = Signals()

    # Loops and default callbacks are made on first use, so that a Trainer costs what is used of it.

    @cached_property
    def fit_loop(self) -> FitLoop:
        """The loop of `fit`."""
        from fulmen.loops.fit import FitLoop

        duration = self.settings.duration
        return FitLoop(
            self, self.progress, duration.min_epochs, duration.max_epochs, duration.min_steps, duration.max_steps
        )

    @cached_property
    def validate_loop(self) -> EvaluationLoop:
        """The loop of `validate`."""
        from fulmen.loops.evaluate import EvaluationLoop

        return EvaluationLoop(self, "validate")

    @cached_property
    def test_loop(self) -> EvaluationLoop:
        """The loop of `test`."""
        from fulmen.loops.evaluate import EvaluationLoop

        return EvaluationLoop(self, "test")

    @cached_property
    def predict_loop(self) -> PredictionLoop:
        """The loop of `predict`."""
        from fulmen.loops.predict import PredictionLoop

        return PredictionLoop(self)

    @property
    def callbacks(self) -> list[Callback]:
        """All callbacks, in the order in which they hear of events."""
        if self._callbacks is None:
            self._callbacks = add_defaults(self._given_callbacks, self.settings)
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: list[Callback]) -> None:
        self._callbacks = callbacks

    @property
    def log_every_n_steps(self) -> int:
        """How often step values go to the loggers, in steps."""
        return self.metrics.log_every_n_steps

    @log_every_n_steps.setter
    def log_every_n_steps(self, steps: int) -> None:
        self.metrics.log_every_n_steps = steps

    @property
    def max_time(self) -> timedelta | None:
        """How long to train at most."""
        return self.settings.duration.max_time

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Trains a model.

        Args:
            model: The module; it may come from ``torch.compile``.
            train_dataloaders: A loader, or a list, dict or nest of loaders.
            val_dataloaders: A loader or several.
            datamodule: Makes the loaders, in place of the two arguments above.
            ckpt_path: A checkpoint to go on from: a path, ``"last"`` (the newest whole one), ``"auto"`` (the same, or
                none if there is none) or ``"best"``.
            weights_only: None and True read a checkpoint without running code from it; False may run code.
        """
        from fulmen.trainer.execute import Job, execute

        loaders = {"train_dataloaders": train_dataloaders, "val_dataloaders": val_dataloaders}
        execute(self, Job(TrainerFn.FITTING, model, datamodule, loaders, ckpt_path, weights_only))

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Runs the validation loop once.

        Args:
            model: The module; None for the one that was fitted, with its best weights where they were saved.
            dataloaders: A loader or several.
            ckpt_path: A checkpoint whose weights to use: a path, ``"last"``, ``"auto"`` or ``"best"``.
            verbose: Whether to print the results.
            datamodule: Makes the loaders, in place of `dataloaders`.
            weights_only: See :meth:`fit`.

        Returns:
            For each loader the logged values of the epoch.
        """
        from fulmen.trainer.execute import Job, execute

        job = Job(TrainerFn.VALIDATING, model, datamodule, {"dataloaders": dataloaders}, ckpt_path, weights_only)
        results: list[dict[str, float]] = execute(self, job)
        return self._report(results, "Validate") if verbose else results

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Runs the test loop once.

        Args:
            model: See :meth:`validate`, also for the other arguments.
            dataloaders: A loader or several.
            ckpt_path: A checkpoint whose weights to use.
            verbose: Whether to print the results.
            datamodule: Makes the loaders.
            weights_only: See :meth:`fit`.

        Returns:
            For each loader the logged values of the epoch.
        """
        from fulmen.trainer.execute import Job, execute

        job = Job(TrainerFn.TESTING, model, datamodule, {"dataloaders": dataloaders}, ckpt_path, weights_only)
        results: list[dict[str, float]] = execute(self, job)
        return self._report(results, "Test") if verbose else results

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
    ) -> list[Any] | None:
        """Runs ``predict_step`` on every batch.

        Args:
            model: See :meth:`validate`.
            dataloaders: A loader or several.
            datamodule: Makes the loaders.
            return_predictions: Whether to keep and return them; None for yes.
            ckpt_path: A checkpoint whose weights to use.
            weights_only: See :meth:`fit`.

        Returns:
            What the steps returned: a list, or one list for each of several loaders.
        """
        from fulmen.trainer.execute import Job, execute

        self.predict_loop.return_predictions = return_predictions is not False
        job = Job(TrainerFn.PREDICTING, model, datamodule, {"dataloaders": dataloaders}, ckpt_path, weights_only)
        predictions: list[Any] | None = execute(self, job)
        return predictions

    def _report(self, results: list[dict[str, float]], stage: str) -> list[dict[str, float]]:
        from fulmen.trainer.report import report

        return report(self, results, stage)

    def loop_of(self, fn: TrainerFn) -> Any:
        """The loop that a method runs."""
        return {
            TrainerFn.FITTING: self.fit_loop,
            TrainerFn.VALIDATING: self.validate_loop,
            TrainerFn.TESTING: self.test_loop,
            TrainerFn.PREDICTING: self.predict_loop,
        }[fn]

    def save_checkpoint(
        self, filepath: str | os.PathLike[str], weights_only: bool | None = None, storage_options: Any = None
    ) -> None:
        """Saves the state of the run. With several processes all of them call it, and rank 0 writes the file.

        Args:
            filepath: Where to.
            weights_only: Whether to leave out what only going on with training needs.
            storage_options: For the checkpoint IO.

        Raises:
            MisconfigurationException: If the Trainer has no model yet, or several processes have failed.
        """
        if self.lightning_module is None:
            raise MisconfigurationException(
                "There is nothing to save before the Trainer has a model.",
                fix="Call `trainer.fit(model, ...)` or `trainer.validate(model, ...)` first, or save the weights with "
                "`torch.save(model.state_dict(), path)`.",
            )
        from fulmen.checkpoint import capture, io

        profile = nullcontext() if self._profiler is None else self._profiler.profile("save_checkpoint")
        with self.strategy.outside_of_a_run("save_checkpoint"), profile:
            checkpoint = capture.dump(self, weights_only=bool(weights_only))
            self.strategy.save_checkpoint(checkpoint, filepath, storage_options=storage_options)
            if self.state.status != TrainerStatus.RUNNING:  # nothing goes on meanwhile, and the file is looked for
                io.join(self.strategy.checkpoint_io)
            self.strategy.barrier("Trainer.save_checkpoint")

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Prints on rank 0 alone, above the progress bar where there is one.

        Args:
            *args: As for ``print``.
            **kwargs: As for ``print``.
        """
        bar = self.progress_bar_callback
        if bar is not None and self.state.stage is not None:
            bar.print(*args, **kwargs)
        elif self.is_global_zero:
            print(*args, **kwargs)

    @contextmanager
    def init_module(self, empty_init: bool | None = None) -> Iterator[None]:
        """Creates layers on the run's device and in its precision inside the ``with`` block.

        Args:
            empty_init: Whether to leave the weights uninitialised, where they will be loaded anyhow.
        """
        with self.strategy.tensor_init_context(empty_init=empty_init), torch.inference_mode(False):
            yield

    def trial(self) -> Trial:
        """Steps of what the Trainer does at the moment that leave no trace: for finders of rates and batch sizes."""
        from fulmen.trainer.trial import Trial

        return Trial(self)

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Optimizer steps that `fit` will take, for learning rate schedules; infinite where nobody knows.

        Loads the training loader if it was not loaded yet, so it can be used in ``configure_optimizers``.
        """
        if self.max_epochs == -1 and self.max_steps == -1:
            return math.inf
        self.fit_loop.data.load()
        batches = self.num_training_batches
        if batches == math.inf:
            return self.max_steps if self.max_steps != -1 else math.inf
        if self.max_epochs == -1 or self.max_epochs is None:
            return self.max_steps
        steps = math.ceil(batches / self.accumulate_grad_batches) * max(self.max_epochs, 1)
        return min(self.max_steps, steps) if self.max_steps != -1 else steps

    @property
    def profiler(self) -> Profiler:
        """What watches the run; a ``PassThroughProfiler`` where nothing was asked for."""
        if self._profiler is None:
            from fulmen.profilers.passthrough import PassThroughProfiler

            self._profiler = PassThroughProfiler()
        return self._profiler

    @profiler.setter
    def profiler(self, profiler: Profiler | str | None) -> None:
        self._profiler = None
        if profiler is not None:
            from fulmen.trainer.profiling import make_profiler

            self._profiler = make_profiler(profiler)

    def profile_wrapper(self) -> Callable[[str, Callable[..., Any]], Callable[..., Any]] | None:
        """What puts the profiler around a function, given the action's name; None without one."""
        if self._profiler is None:
            return None
        from fulmen.trainer.profiling import wrapper_of

        return wrapper_of(self._profiler)
