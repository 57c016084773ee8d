"""``Tuner``: finds a learning rate or a batch size ahead of a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from fulmen.callbacks.batch_size_finder import BatchSizeFinder
from fulmen.callbacks.lr_finder import LearningRateFinder
from fulmen.trainer.attach import unwrap
from fulmen.trainer.execute import Job
from fulmen.trainer.launched import start_others
from fulmen.trainer.rehearsal import rehearsal
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.callbacks.callback import Callback
    from fulmen.callbacks.lr_search import LRFinder
    from fulmen.core.datamodule import LightningDataModule
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class Tuner:
    """Finds settings ahead of a run.

    What it tries leaves no trace beyond the setting that it finds: a run after it is the same as one for which that
    value was written into the module.

    Args:
        trainer: The Trainer that will run.

    Example:
        >>> from fulmen import Trainer
        >>> tuner = Tuner(Trainer(logger=False, enable_checkpointing=False))
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def scale_batch_size(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """Finds the largest batch size that fits into memory, and sets it.

        Args:
            model: The module.
            train_dataloaders: Not possible here, as loaders of several sizes have to be made.
            val_dataloaders: Loaders of validation inside `fit`, if they are to stay as they are.
            dataloaders: As `train_dataloaders`, for the other methods.
            datamodule: Makes the loaders.
            method: What the size is for: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.
            mode: See :class:`~fulmen.callbacks.batch_size_finder.BatchSizeFinder`, also for the other arguments.
            steps_per_trial: How many batches are run with a size.
            init_val: The size to begin with.
            max_trials: How many sizes are tried at most.
            batch_arg_name: What the size is called.
            margin: The part of the size found that is given up.
            max_val: The largest size that is tried.

        Returns:
            The size; None under `fast_dev_run`.

        Raises:
            MisconfigurationException: If an argument makes no sense, or no size fits.
        """
        finder = BatchSizeFinder(
            mode=mode, steps_per_trial=steps_per_trial, init_val=init_val, max_trials=max_trials,
            batch_arg_name=batch_arg_name, margin=margin, max_val=max_val,
        )  # fmt: skip
        self._check_callbacks(finder)
        job = self._job(method, model, datamodule, train_dataloaders, val_dataloaders, dataloaders)
        if self._trainer.fast_dev_run:
            rank_zero_warn("Skipping batch size scaler since `fast_dev_run` is enabled.")
            return None
        finder.setup(self._trainer, model)
        with rehearsal(self._trainer, job) as module:
            owners = module, self._trainer.datamodule
            size = finder.search(self._trainer.trial(), finder.setting(*owners))
        finder.setting(*owners).set(size)
        rank_zero_info(f"Finished batch size finder, will continue with full run using batch size {size}")
        return size

    def lr_find(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LRFinder | None:
        """Makes a learning rate range test, and sets the rate that it suggests.

        Args:
            model: The module.
            train_dataloaders: Loaders of training.
            val_dataloaders: Loaders of validation.
            dataloaders: Not possible here, as it belongs to the other methods of the Trainer.
            datamodule: Makes the loaders, in place of those.
            method: ``"fit"``.
            min_lr: Where the test begins.
            max_lr: Where it ends.
            num_training: How many optimizer steps it takes; where the data end, it begins with them again.
            mode: ``"exponential"`` or ``"linear"``, how the rate rises.
            early_stop_threshold: The test stops when the loss rises above this multiple of its best; None for never.
            update_attr: Whether the suggestion is set.
            attr_name: What the rate is called; where it is empty, ``"lr"`` or ``"learning_rate"``.

        Returns:
            The result, with `results`, `suggestion` and `plot`; None under `fast_dev_run`.

        Raises:
            MisconfigurationException: If an argument makes no sense, nothing of that name is there, or there are
                several optimizers.
        """
        if method != "fit":
            raise MisconfigurationException(
                "method='fit' is the only valid configuration to run lr finder.",
                got=f"method={method!r}",
                fix="Leave it out.",
            )
        finder = LearningRateFinder(
            min_lr=min_lr, max_lr=max_lr, num_training_steps=num_training, mode=mode,
            early_stop_threshold=early_stop_threshold, update_attr=update_attr, attr_name=attr_name,
        )  # fmt: skip
        self._check_callbacks(finder)
        job = self._job(method, model, datamodule, train_dataloaders, val_dataloaders, dataloaders)
        if self._trainer.fast_dev_run:
            rank_zero_warn("Skipping learning rate finder since `fast_dev_run` is enabled.")
            return None
        sweep = partial(_sweep, finder)
        over, result = start_others(self._trainer, job, sweep, keep=False)
        if not over:
            result = sweep(self._trainer, job)
        if update_attr and (rate := result.suggestion()) is not None:
            finder.setting(*_owners(job)).set(rate)
            rank_zero_info(f"Learning rate set to {rate}")
        return cast("LRFinder", result)

    def _check_callbacks(self, finder: Callback) -> None:
        kind = type(finder)
        if any(isinstance(callback, kind) for callback in self._trainer.callbacks):
            raise MisconfiguredValue(
                f"The Trainer has a `{kind.__name__}` already, which searches when `fit` begins.",
                got=f"Trainer(callbacks=[{kind.__name__}(...)])",
                fix="Remove it to use the Tuner, or call `trainer.fit` alone.",
            )

    def _job(
        self, method: str, model: Any, datamodule: Any, train_dataloaders: Any, val_dataloaders: Any, dataloaders: Any
    ) -> Job:
        methods = tuple(fn.value for fn in TrainerFn)
        if method not in methods:
            raise MisconfiguredValue(f"method {method!r} is invalid.", got=method, fix=f"Pass one of {methods}.")
        fitting = method == "fit"
        fit_loaders = {"train_dataloaders": train_dataloaders, "val_dataloaders": val_dataloaders}
        other_loaders = {"dataloaders": dataloaders}
        wrong = [name for name, value in (other_loaders if fitting else fit_loaders).items() if value is not None]
        if wrong:
            right = "train_dataloaders` and `val_dataloaders" if fitting else "dataloaders"
            raise MisconfigurationException(
                f"In tuner with method={method!r}, loaders are passed as `{right}`.",
                got=", ".join(wrong),
                fix=f"Pass `{right}` instead.",
            )
        if model is None:
            raise MisconfiguredType("The Tuner needs a model.", fix="Pass the module: `tuner.lr_find(model)`.")
        return Job(TrainerFn(method), model, datamodule, fit_loaders if fitting else other_loaders)


def _owners(job: Job) -> tuple[Any, Any]:
    among_loaders = [one for one in job.loaders.values() if hasattr(one, "prepare_data")]  # if others assembled the run
    return unwrap(job.model), among_loaders[0] if among_loaders else job.datamodule


def _sweep(finder: LearningRateFinder, trainer: Trainer, job: Job) -> LRFinder:
    """Makes a learning rate range test of a run that is not made."""
    with rehearsal(trainer, job) as module:
        if finder._update_attr:
            finder.setting(module, trainer.datamodule)
        return finder.sweep(trainer, trainer.trial())
