"""The loader of training: where it comes from, how long it is, and when validation falls due in it."""

from __future__ import annotations

import copy
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.clock import is_time
from fulmen.data.feed import Feed
from fulmen.data.loaders import check_loader, length_of, planned_batches, prepare, processed
from fulmen.data.pace import Pace
from fulmen.loops.schedule import ValidationPlan
from fulmen.loops.source import LoaderSource
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_warn, warn_once

if TYPE_CHECKING:
    from fulmen.data.division import Division
    from fulmen.trainer.trainer import Trainer


class TrainingData:
    """Holds the training loader.

    Args:
        trainer: Whose limits.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.source = LoaderSource("train_dataloader")
        self.original: Any = None
        self.loader: Any = None
        self.whole: Any = None  # the loader before it is shared out
        self.max_batches: int | float = float("inf")
        self.loaded_at: int | None = None
        self.division: Division | None = None  # among several processes
        self._ordinary: tuple[int | float, Division | None] | None = None  # of other epochs, where one is a rest

    def attach(self, *owners: Any) -> None:
        """Takes note of where the loader comes from; see ``LoaderSource.attach``."""
        self.source.attach(*owners)
        self.original, self.loader, self.loaded_at = None, None, None
        self.max_batches = float("inf")

    def load(self) -> bool:
        """Asks for the loader where that was not done yet or it is to be made anew.

        Returns:
            Whether it was asked for.
        """
        trainer = self.trainer
        every = trainer.reload_dataloaders_every_n_epochs
        epoch = trainer.current_epoch
        if self.loaded_at is not None and not (every and epoch - self.loaded_at >= every):
            return False
        self.loaded_at, self._ordinary = epoch, None
        self.original = self.source.request(trainer)
        check_loader(self.original, self.source.hook)
        read_once = hasattr(self.original, "__next__") and not isinstance(self.original, CombinedLoader)
        if read_once and not every and trainer.max_epochs != 1:
            rank_zero_warn(
                f"`{self.source.hook}` is an iterator, which can be read once: epochs after the first will have no "
                "batches. Make it a `DataLoader`, a list or an object with `__iter__`, or pass "
                "`Trainer(reload_dataloaders_every_n_epochs=1)` to have the hook called anew."
            )
        loader = self.original
        if isinstance(loader, (list, tuple, dict)):
            loader = CombinedLoader(loader, "max_size_cycle")
        if isinstance(loader, CombinedLoader) and loader.mode == "sequential":
            raise MisconfiguredValue(
                "Training takes one batch of each loader at a time, so its `CombinedLoader` cannot be sequential.",
                got='CombinedLoader(..., mode="sequential")',
                fix='Use "min_size", "max_size" or "max_size_cycle"; or join the data sets with `ConcatDataset`.',
            )
        loader = prepare(loader, stage="train", overfit=trainer.overfit_batches > 0, rank=trainer.global_rank)
        self.whole = self.loader = processed(loader, trainer.strategy)
        if trainer.world_size > 1 and trainer.use_distributed_sampler:
            self.loader = self._share(self.loader)
        flag = "overfit_batches" if trainer.overfit_batches > 0 else "limit_train_batches"
        if trainer.world_size > 1:
            self.division = self._divide(flag)
            self.max_batches = self.division.rounds
        else:
            self.max_batches = planned_batches(length_of(self.loader), trainer.limit_train_batches, flag)
        return True

    def _divide(self, flag: str) -> Division:
        """Finds out, with the other processes, which batches are whose."""
        from fulmen.data.division import Division  # one process has no use for it

        trainer = self.trainer
        return Division(
            self.loader, trainer.strategy, trainer.limit_train_batches, flag, trainer.use_distributed_sampler
        )

    @property
    def uneven(self) -> bool:
        """Whether processes may have different numbers of batches."""
        return self.division is not None and self.division.how != "even"

    @property
    def alike(self) -> bool:
        """Whether batches have the same sizes on all processes by the way that they are made."""
        division = self.division
        made_here = self.trainer.fit_loop.transfer is None  # else a hook of the user's may change them
        return division is not None and division.how == "even" and division.alike and made_here

    def _share(self, loader: Any) -> Any:
        """This process's part of the loaders."""
        from fulmen.data.distributed import share_training  # one process has no use for it

        rank, world = self.trainer.global_rank, self.trainer.world_size
        if not isinstance(loader, CombinedLoader):
            return share_training(loader, rank, world)
        loader = copy.copy(loader)
        loader.flattened = [share_training(one, rank, world) for one in loader.flattened]
        return loader

    def reopened(self, saved: dict[str, Any] | None) -> tuple[Any, dict[str, Any] | None, int | float]:
        """What to read in an epoch.

        Args:
            saved: Where an earlier run was in it; None where it begins.

        Returns:
            The loader, the place for its ``Feed``, and the most batches to read.
        """
        if saved is None:
            return self.loader, saved, self.max_batches
        from fulmen.data.leftover import reopened  # only what is left of an epoch goes this way

        rank, world = self.trainer.global_rank, self.trainer.world_size
        loader, place, is_rest = reopened(self.loader, self.whole, saved, rank, world)
        if not is_rest:
            return loader, place, self.max_batches
        self._ordinary = self.max_batches, self.division
        if world > 1:
            from fulmen.data.division import Division

            strategy, deals = self.trainer.strategy, self.trainer.use_distributed_sampler
            self.division = Division(loader, strategy, 1.0, "limit_train_batches", deals)
            self.division.put_behind(-place["shift"])
        return loader, place, float("inf")

    def begin_rest(self, feed: Feed, plan: ValidationPlan) -> ValidationPlan:
        """Takes note that an epoch has another number of steps, since other processes, or other batches, began it.

        Args:
            feed: The pass.
            plan: When validation falls due otherwise.

        Returns:
            When it falls due in this epoch: after the same parts of the data, if it is a fraction of it.
        """
        self.max_batches = feed.total
        interval, pace = self.trainer.val_check_interval, (feed.saved or {}).get("pace")
        if pace is None or not isinstance(interval, float) or plan.interval == float("inf"):
            return plan
        pace = Pace(*pace)
        every = self.trainer.check_val_every_n_epoch
        return ValidationPlan(max(int(pace.whole * interval), 1), every, enabled=plan.enabled, pace=pace)

    def end_rest(self) -> bool:
        """Goes back to ordinary epochs.

        Returns:
            Whether the last one was none.
        """
        if self._ordinary is None:
            return False
        (self.max_batches, self.division), self._ordinary = self._ordinary, None
        return True

    def warn_if_short(self, batches: int) -> None:
        """Warns of a loader that gave fewer batches than its length says, or none at all."""
        if self.max_batches == float("inf"):
            warn_once(
                "The training loader gave no batch, so the epoch was empty. See that its data set yields samples each "
                "time it is iterated."
            )
        elif self.max_batches == length_of(self.loader):
            warn_once(
                f"The training loader has a length of {self.max_batches} and gave {batches} batches: none was known to "
                "be the last, so what comes with the last one (validation, schedulers by epochs) was left out. Correct "
                "its `__len__`, or remove it."
            )

    def validation_plan(self, enabled: bool) -> ValidationPlan:
        """When validation falls due, for the loader as it is now.

        Args:
            enabled: Whether there is any validation.

        Raises:
            MisconfigurationException: If the interval does not suit the loader.
        """
        interval = self.trainer.val_check_interval
        every = self.trainer.check_val_every_n_epoch
        if isinstance(interval, timedelta):
            trainer = self.trainer
            clock = None if trainer.world_size == 1 else partial(is_time, trainer, "validation")
            return ValidationPlan(float("inf"), every, interval.total_seconds(), enabled=enabled, clock=clock)
        if isinstance(interval, int):
            if interval > self.max_batches and every is not None and self.max_batches != float("inf"):
                raise MisconfiguredValue(
                    "`val_check_interval` counts training batches of one epoch, and the epoch is shorter.",
                    got=f"val_check_interval={interval}, {self.max_batches} training batches",
                    fix="Choose a smaller interval, or `check_val_every_n_epoch=None` to count across epochs.",
                )
            return ValidationPlan(interval, every, enabled=enabled)
        if self.max_batches == float("inf"):
            if interval == 1.0:
                return ValidationPlan(float("inf"), every, enabled=enabled)
            raise MisconfigurationException(
                "A fraction of a training loader without a length is unknown.",
                got=f"val_check_interval={interval}",
                fix='Give a number of batches such as `val_check_interval=100`, a time such as "00:00:10:00", or '
                "1.0 for the end of the epoch.",
            )
        return ValidationPlan(max(int(self.max_batches * interval), 1), every, enabled=enabled)
