"""Finds a learning rate before training, or at points of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.lr_search import MODES, LRFinder, RateSweep, check_search, set_rate
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredAttribute
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.setting import Setting, first_setting

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer
    from fulmen.utilities.types import LRSchedulerConfig

# Entries of a parameter group, and with them what schedulers go by, that are rates.
_RATES = ("lr", "initial_lr", "max_lr", "min_lr")


class LearningRateFinder(Callback):
    """Runs a learning rate range test when `fit` begins, and trains with the rate that it suggests.

    The test leaves no trace: training is the same as with that rate written into the module. A run that goes on from
    a checkpoint keeps the rate that was found; from one of a run without the finder, the test is made there.

    Subclasses may call :meth:`lr_find` at other hooks, for example at the start of some epochs.

    Args:
        min_lr: Where the test begins.
        max_lr: Where it ends.
        num_training_steps: How many optimizer steps it takes.
        mode: ``"exponential"`` or ``"linear"``, how the rate rises.
        early_stop_threshold: The test stops when the loss rises above this multiple of its best; None for never.
        update_attr: Whether the suggestion is used: set where `attr_name` is, and trained with.
        attr_name: What the module, its hyper-parameters or those of the data module call the rate; where it is empty,
            ``"lr"`` or ``"learning_rate"``.

    Attributes:
        optimal_lr: The result of the last test, with `results`, `suggestion` and `plot`.

    Raises:
        MisconfigurationException: If the arguments make no sense together, or, when the test begins, if nothing of
            that name is there or there are several optimizers.
    """

    SUPPORTED_MODES = MODES

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        check_search(min_lr, max_lr, num_training_steps, mode, early_stop_threshold)
        self._min_lr = min_lr
        self._max_lr = max_lr
        self._num_training_steps = num_training_steps
        self._mode = mode
        self._early_stop_threshold = early_stop_threshold
        self._update_attr = update_attr
        self._attr_name = attr_name
        self.optimal_lr: LRFinder | None = None
        self._found: dict[str, Any] = {}
        self._resumed = self._due = False

    def lr_find(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the test, and sets the rate that it suggests.

        Args:
            trainer: A Trainer in `fit`.
            pl_module: Its module.
        """
        if trainer.fast_dev_run:
            rank_zero_warn("Skipping learning rate finder since `fast_dev_run` is enabled.")
            return
        setting = self.setting(pl_module, trainer.datamodule) if self._update_attr else None
        trial = trainer.trial()
        self.optimal_lr = finder = self.sweep(trainer, trial)
        rate = finder.suggestion() if setting is not None else None
        if setting is None or rate is None:
            return
        setting.set(rate)
        before = _rates(trainer.optimizers)
        remade = trial.remake_optimizers()
        if not remade or _rates(trainer.optimizers) == before != [rate] * len(before):
            rescale(trainer.optimizers[0], trainer.lr_scheduler_configs, rate)
        self._found = {"name": setting.name, "lr": rate}
        rank_zero_info(f"Learning rate set to {rate}")

    def setting(self, *owners: Any) -> Setting:
        """Where the rate is kept.

        Args:
            *owners: The module, and the data module or None.

        Raises:
            MisconfigurationException: If nobody has such a value.
        """
        names = (self._attr_name,) if self._attr_name else ("lr", "learning_rate")
        setting = first_setting(names, *owners)
        if setting is None:
            raise MisconfiguredAttribute(
                "The learning rate finder sets an attribute of the module, or one of its hyper-parameters, from which "
                "`configure_optimizers` takes the rate.",
                got=f"none of them is called {' or '.join(map(repr, names))}",
                fix="Write `self.lr = lr` or `self.save_hyperparameters()` in `__init__`, name yours with "
                "`attr_name=...`, or pass `update_attr=False` and set the suggestion yourself.",
            )
        return setting

    def sweep(self, trainer: Trainer, trial: Any) -> LRFinder:
        """Makes the test and sets nothing.

        Args:
            trainer: The Trainer.
            trial: What ``trainer.trial()`` gave.

        Returns:
            What was found.

        Raises:
            MisconfigurationException: If there are several optimizers.
        """
        count = len(trainer.optimizers)
        if count != 1:
            raise MisconfigurationException(
                "The learning rate finder raises the rate of one optimizer.",
                got=f"{count} optimizers from `configure_optimizers`",
                fix="Search with one of them at a time: return it alone, and hold the others' parameters fixed.",
            )
        finder = LRFinder(self._mode, self._min_lr, self._max_lr, self._num_training_steps)
        sweep = RateSweep(finder, self._early_stop_threshold, show=_has_bar(trainer))
        try:
            trial.run(sweep)
        finally:
            sweep.close()
        finder._total_batch_idx = trial.loop.progress.batches - 1
        if finder.stopped:
            rank_zero_info(f"The learning rate finder is done: {finder.stopped}.")
        elif len(finder.results["lr"]) < finder.num_training:
            rank_zero_warn(
                f"The learning rate finder took {len(finder.results['lr'])} of {finder.num_training} steps: the "
                "training loader gave no more batches, or no optimizer step was taken in a whole epoch. See that the "
                "loader can be read again, and that `training_step` leads to optimizer steps."
            )
        return finder

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the test, unless the run goes on from a checkpoint."""
        resumed, self._resumed = self._resumed and trainer.ckpt_path is not None, False
        self._due = not resumed and trainer.ckpt_path is not None
        if not resumed and not self._due:
            self.lr_find(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the test, with the optimizer as it was in a checkpoint that knows of no finder."""
        if self._due:
            self._due = False
            self.lr_find(trainer, pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Sets the rate that was found in the run that goes on, before the optimizer is made."""
        found = checkpoint.get("callbacks", {}).get(self.state_key, {}).get("found")
        if found:
            first = first_setting((found["name"],), pl_module, trainer.datamodule)
            if first is not None:
                first.set(found["lr"])

    def state_dict(self) -> dict[str, Any]:
        """What was found, once there is something."""
        if not self._found or self.optimal_lr is None:
            return {}
        finder = self.optimal_lr
        bounds = [finder.mode, finder.lr_min, finder.lr_max, finder.num_training]
        results = {name: list(values) for name, values in finder.results.items()}
        return {"found": dict(self._found), "bounds": bounds, "results": results}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self._found = dict(state_dict["found"])
        self.optimal_lr = LRFinder(*state_dict["bounds"])
        self.optimal_lr.results = state_dict["results"]
        self._resumed = True


def _has_bar(trainer: Trainer) -> bool:
    return trainer.progress_bar_callback is not None and trainer.is_global_zero


def _rates(optimizers: list[Optimizer]) -> list[float]:
    return [float(group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]


def rescale(optimizer: Optimizer, configs: list[LRSchedulerConfig], rate: float) -> None:
    """Gives an optimizer in use another rate: groups keep their ratio, and schedulers go on from there.

    Args:
        optimizer: The optimizer; its group with the highest rate gets this one.
        configs: Its schedulers.
        rate: The rate.
    """
    highest = max(_rates([optimizer]))
    for group in optimizer.param_groups:
        leads = float(group["lr"]) == highest
        if highest:
            for key in _RATES:
                if key in group:
                    set_rate(group, key, float(group[key]) * (rate / highest))
        if leads:  # without the error of a rounded quotient
            set_rate(group, "lr", rate)
    if highest:
        for config in configs:
            _rescale_scheduler(config.scheduler, rate / highest)


def _rescale_scheduler(scheduler: Any, factor: float) -> None:
    if hasattr(scheduler, "base_lrs"):
        scheduler.base_lrs = [base * factor for base in scheduler.base_lrs]
    for inner in getattr(scheduler, "_schedulers", ()):
        _rescale_scheduler(inner, factor)
