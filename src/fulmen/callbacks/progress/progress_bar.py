"""The base of progress bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.generations import taught
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


@taught
class ProgressBar(Callback):
    """What every progress bar knows: the totals, the descriptions, and the values to show.

    Subclass it and draw in the hooks you need. The Trainer has one bar, which works on the first process alone.

    Example:
        >>> class Dots(ProgressBar):
        ...     def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        ...         percent = 100 * (batch_idx + 1) / self.total_train_batches
        ...         print(f"{percent:.0f} percent", self.get_metrics(trainer, pl_module))
    """

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._current_eval_dataloader_idx: int | None = None
        self._enabled = True

    @property
    def trainer(self) -> Trainer:
        """The Trainer that this bar belongs to.

        Raises:
            TypeError: Before the Trainer has set the bar up.
        """
        if self._trainer is None:
            raise TypeError(
                not_yet(f"`{type(self).__name__}.trainer`", "Use it from `setup` on, after `super().setup(...)`.")
            )
        return self._trainer

    @property
    def sanity_check_description(self) -> str:
        """What stands before the bar of the sanity check."""
        return "Sanity Checking"

    @property
    def train_description(self) -> str:
        """What stands before the bar of training, until the first epoch begins."""
        return "Training"

    @property
    def validation_description(self) -> str:
        """What stands before the bar of validation."""
        return "Validation"

    @property
    def test_description(self) -> str:
        """What stands before the bar of testing."""
        return "Testing"

    @property
    def predict_description(self) -> str:
        """What stands before the bar of prediction."""
        return "Predicting"

    @property
    def total_train_batches(self) -> int | float:
        """The number of batches in this epoch, ``float("inf")`` where it is not known.

        Where `max_steps` ends training in this epoch, only the batches until then count.
        """
        trainer = self.trainer
        batches = trainer.num_training_batches
        limited = trainer.max_steps is not None and trainer.max_steps > 0
        # In manual optimization a batch may take any number of steps.
        if limited and getattr(trainer.lightning_module, "automatic_optimization", True):
            left = trainer.max_steps - trainer.global_step
            return min(batches, max(left, 0) * trainer.accumulate_grad_batches)
        return batches

    @property
    def total_val_batches(self) -> int | float:
        """The number of validation batches after this epoch, 0 where none is due."""
        trainer = self.trainer
        every = trainer.check_val_every_n_epoch
        if trainer.training and every is not None and (trainer.current_epoch + 1) % every != 0:
            return 0
        return _sum(trainer.num_val_batches)

    @property
    def total_val_batches_current_dataloader(self) -> int | float:
        """The number of batches of the validation loader, or of the sanity check of it, at which we are."""
        trainer = self.trainer
        return self._of_current(trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches)

    @property
    def total_test_batches_current_dataloader(self) -> int | float:
        """The number of batches of the test loader at which we are."""
        return self._of_current(self.trainer.num_test_batches)

    @property
    def total_predict_batches_current_dataloader(self) -> int | float:
        """The number of batches of the loader for prediction at which we are."""
        return self._of_current(self.trainer.num_predict_batches)

    def _of_current(self, batches: list[int | float] | int | float) -> int | float:
        if isinstance(batches, (int, float)):
            return batches
        return batches[self._current_eval_dataloader_idx or 0] if batches else 0

    def has_dataloader_changed(self, dataloader_idx: int) -> bool:
        """Whether a batch comes from another loader than the last one.

        Args:
            dataloader_idx: The loader that the batch comes from.
        """
        changed = self._current_eval_dataloader_idx != dataloader_idx
        self._current_eval_dataloader_idx = dataloader_idx
        return changed

    def reset_dataloader_idx_tracker(self) -> None:
        """Forgets which loader the last batch came from."""
        self._current_eval_dataloader_idx = None

    def disable(self) -> None:
        """Stops showing the bar, for example on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Shows the bar again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Prints without spoiling the bar; for ``trainer.print`` and ``self.print`` of a module.

        Args:
            *args: As for ``print``.
            **kwargs: As for ``print``.
        """
        print(*args, **kwargs)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._trainer = trainer
        if not trainer.is_global_zero:
            self.disable()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float]:
        """What to show: the run's version and all that was logged with ``prog_bar=True``.

        Values are brought from the device when this is called, which is once a refresh and not once a batch. Override
        it to show more or less.

        Args:
            trainer: The Trainer.
            pl_module: The model.

        Returns:
            Values by name.

        Example:
            ``metrics = super().get_metrics(trainer, pl_module); metrics.pop("v_num", None); return metrics``
        """
        standard = get_standard_metrics(trainer)
        logged = trainer.progress_bar_metrics
        for name in standard.keys() & logged.keys():
            warn_once(
                f"The progress bar shows a value named {name!r} of its own, and the one that was logged with "
                f"`self.log({name!r}, ..., prog_bar=True)` takes its place. Log it under another name to see both."
            )
        return {**standard, **logged}


def get_standard_metrics(trainer: Trainer) -> dict[str, int | str]:
    """What a progress bar shows of its own: as ``v_num`` the version of the run, where a logger has one.

    Args:
        trainer: The Trainer, for its loggers. Several versions are joined with ``_``.

    Returns:
        Values by name. Of a version that is text, the last four characters.
    """
    versions = list(dict.fromkeys(v for logger in trainer.loggers if (v := logger.version) not in (None, "")))
    if not versions:
        return {}
    version = versions[0] if len(versions) == 1 else "_".join(str(v) for v in versions)
    return {"v_num": version if isinstance(version, int) else str(version)[-4:]}


def not_yet(what: str, fix: str) -> str:
    """The text of an error about something that comes into being later."""
    return str(MisconfigurationException(f"{what} is not there yet.", fix=fix))


def _sum(batches: list[int | float] | int | float) -> int | float:
    return batches if isinstance(batches, (int, float)) else sum(batches)
