"""Finds the largest batch size that fits into memory, before anything else is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import BatchSampler, DataLoader

from fulmen.callbacks.batch_size_search import MODES, Search, check_search
from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.memory import garbage_collection_cuda, is_oom_error
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.setting import Setting
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class BatchSizeFinder(Callback):
    """Tries batch sizes when a run begins, and goes on with the largest that fits.

    The trials leave no trace: the run is the same as with that size written into the module or data module. A run
    that goes on from a checkpoint keeps the size that was found.

    Subclasses may call :meth:`scale_batch_size` at other hooks, for example in `on_validation_start` during `fit`.

    Args:
        mode: ``"power"`` doubles the size until it does not fit; ``"binsearch"`` then looks between the last two.
        steps_per_trial: How many batches (in training: optimizer steps) are run with a size.
        init_val: The size to begin with.
        max_trials: How many sizes are tried at most.
        batch_arg_name: What the module, its hyper-parameters or those of the data module call the size; a path such
            as ``"data.batch_size"`` goes into attributes and mappings.
        margin: The part of the size found that is given up to be safe, in the mode ``"binsearch"``.
        max_val: The largest size that is tried.

    Attributes:
        optimal_batch_size: What was found.

    Raises:
        MisconfigurationException: If the arguments make no sense; or when the trials begin, if nothing of that name is
            there, loaders were passed to the Trainer, the loaders do not use it, or no size fits.
    """

    SUPPORTED_MODES = MODES

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> None:
        mode = mode.lower()
        check_search(mode, steps_per_trial, init_val, max_trials, margin, max_val)
        self.optimal_batch_size: int | None = init_val
        self._mode = mode
        self._steps_per_trial = steps_per_trial
        self._init_val = init_val
        self._max_trials = max_trials
        self._batch_arg_name = batch_arg_name
        self._margin = margin
        self._max_val = max_val
        self._found: dict[str, Any] = {}
        self._resumed = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        """Complains of several processes, of which each would find a size of its own.

        Raises:
            MisconfigurationException: If there are several.
        """
        if trainer.world_size > 1:
            raise MisconfigurationException(
                "The batch size finder works on one process.",
                got=f"{trainer.world_size} processes",
                fix="Find the size with `Trainer(devices=1)`, and write it into the module.",
            )

    def scale_batch_size(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds a size for what the Trainer does at the moment, and sets it.

        Args:
            trainer: A Trainer in a run.
            pl_module: Its module.
        """
        if trainer.fast_dev_run:
            rank_zero_warn("Skipping batch size scaler since `fast_dev_run` is enabled.")
            return
        setting = self.setting(pl_module, trainer.datamodule)
        trial = trainer.trial()
        size = self.search(trial, setting)
        changed = setting.get() != size
        setting.set(size)
        self.optimal_batch_size = size
        self._found = {"name": setting.name, "size": size}
        if changed:
            trial.reload_data()
            if trial.trains:
                trial.remake_optimizers()  # their schedules may depend on the number of batches
        rank_zero_info(f"Finished batch size finder, will continue with full run using batch size {size}")

    def setting(self, *owners: Any) -> Setting:
        """Where the size is kept.

        Args:
            *owners: The module, and the data module or None.

        Raises:
            MisconfigurationException: If nobody has such a value.
        """
        setting = Setting(self._batch_arg_name, *owners)
        if not setting.exists:
            raise MisconfigurationException(
                f"Field {self._batch_arg_name} not found in `model`, `datamodule`, nor their `hparams` attributes.",
                fix="Write `self.batch_size = batch_size` or `self.save_hyperparameters()` in `__init__` and use it in "
                "the loader hooks, or name yours with `batch_arg_name=...`.",
            )
        return setting

    def search(self, trial: Any, setting: Setting) -> int:
        """Finds a size and sets nothing.

        Args:
            trial: What ``trainer.trial()`` gave.
            setting: Where the size is kept.

        Returns:
            The size.

        Raises:
            MisconfigurationException: If loaders were passed, do not use the size, or no size fits.
        """
        if trial.source.owner is None:
            raise MisconfigurationException(
                "The batch size finder makes loaders of several sizes, which it cannot do with loaders that were "
                f"passed to the Trainer as `{trial.source.name}`.",
                fix=f"Make the loader in `{trial.source.hook}` of the module or a `LightningDataModule`, with "
                f"`batch_size=self.{setting.name}`.",
            )
        attempts = _Attempts(trial, setting, self._steps_per_trial)
        search = Search(attempts.attempt, attempts.samples, self._max_val)
        return search.run(self._mode, self._init_val, self._max_trials, self._margin)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds a size for training, unless the run goes on with one that was found."""
        resumed, self._resumed = self._resumed and trainer.ckpt_path is not None, False
        if not resumed:
            self.scale_batch_size(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds a size for `validate`; validation during `fit` is left alone."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.scale_batch_size(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds a size for `test`."""
        self.scale_batch_size(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds a size for `predict`."""
        self.scale_batch_size(trainer, pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Sets the size that was found in the run that goes on, before its loaders are made."""
        found = checkpoint.get("callbacks", {}).get(self.state_key, {}).get("found")
        if found and trainer.state.fn == TrainerFn.FITTING:
            Setting(found["name"], pl_module, trainer.datamodule).set(found["size"])

    def state_dict(self) -> dict[str, Any]:
        """What was found, once there is something."""
        return {"found": dict(self._found)} if self._found else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self._found = dict(state_dict["found"])
        self.optimal_batch_size = self._found["size"]
        self._resumed = True


class _Attempts:
    """Trials of sizes."""

    def __init__(self, trial: Any, setting: Setting, steps: int) -> None:
        self.trial, self.setting, self.steps = trial, setting, steps
        self._count: int | None = None
        self._before: tuple[int, list[Any]] | None = None

    def samples(self) -> int | None:
        """How many samples the loaders have, once that is known."""
        return self._count

    def attempt(self, size: int) -> bool:
        """Runs some steps with a size; whether memory sufficed.

        Raises:
            MisconfigurationException: If the loaders do not use the size.
        """
        try:
            self.setting.set(size)
            self._run()
        except Exception as error:
            if not is_oom_error(error):
                raise
            fits = False
        else:
            fits = True
        self._look_at_loaders(size)
        if not fits:
            garbage_collection_cuda()
        return fits

    def _run(self) -> None:
        steps = self.steps
        limits = {f"limit_{stage}_batches": steps for stage in ("val", "test", "predict")}
        self.trial.run(
            Callback(), steps, limit_train_batches=1.0, overfit_batches=0.0, val_check_interval=1.0, **limits
        )

    def _look_at_loaders(self, size: int) -> None:
        loaders = [one for one in self.trial.loaders if isinstance(one, DataLoader)]
        counts = [count for one in loaders if (count := _samples_of(one)) is not None]
        self._count = max(counts) if len(counts) == len(self.trial.loaders) and counts else None
        sizes = [one.batch_size for one in loaders]
        if self._before is not None and sizes and None not in sizes:
            before, known = self._before
            if known == sizes and before != size:
                raise MisconfigurationException(
                    f"The batch size finder changes `{self.setting.name}`, and the loaders do not follow.",
                    got=f"loaders with batch_size={sizes[0]} where `{self.setting.name}` is {before} and {size}",
                    fix=f"Write `DataLoader(..., batch_size=self.{self.setting.name})` in `{self.trial.source.hook}`.",
                )
        self._before = (size, sizes)


def _samples_of(loader: DataLoader[Any]) -> int | None:
    batches = loader.batch_sampler
    sampler: Any = batches.sampler if type(batches) is BatchSampler else None
    try:
        return len(sampler)
    except TypeError:  # streams do not know
        return None
