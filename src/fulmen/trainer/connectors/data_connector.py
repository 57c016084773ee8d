"""Says where a Trainer's loaders come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.data.loaders import prepare
from fulmen.loops.watch import watch_hook
from fulmen.utilities.states import RunningStage

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class _DataConnector:
    """A Trainer's loaders.

    Args:
        trainer: The Trainer.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def attach_data(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        test_dataloaders: Any = None,
        predict_dataloaders: Any = None,
        datamodule: Any = None,
    ) -> None:
        """Decides for every stage where its loaders come from.

        Args:
            model: May make loaders.
            train_dataloaders: Loaders of a stage; None where model or data module make them.
            val_dataloaders: The same for validation.
            test_dataloaders: The same for testing.
            predict_dataloaders: The same for prediction.
            datamodule: May make loaders.
        """
        trainer = self.trainer
        if model._trainer is None:
            model.trainer = trainer
        if datamodule is not None:
            datamodule.trainer = trainer
        trainer.datamodule = datamodule
        trainer.fit_loop.data.attach(train_dataloaders, model, datamodule)
        for loop, given in (
            (trainer.fit_loop.validation, val_dataloaders),
            (trainer.validate_loop, val_dataloaders),
            (trainer.test_loop, test_dataloaders),
            (trainer.predict_loop, predict_dataloaders),
        ):
            loop.data.attach(given, model, datamodule)

    def attach_dataloaders(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        test_dataloaders: Any = None,
        predict_dataloaders: Any = None,
    ) -> None:
        """See :meth:`attach_data`; the data module stays."""
        loaders = train_dataloaders, val_dataloaders, test_dataloaders, predict_dataloaders
        self.attach_data(model, *loaders, datamodule=self.trainer.datamodule)

    def attach_datamodule(self, model: Any, datamodule: Any = None) -> None:
        """See :meth:`attach_data`."""
        if datamodule is not None:
            self.attach_data(model, datamodule=datamodule)

    def prepare_data(self) -> None:
        """Calls the hooks of that name."""
        for owner in (self.trainer.datamodule, self.trainer.lightning_module):
            if owner is not None:
                watch_hook(self.trainer, owner, "prepare_data")()

    def _prepare_dataloader(self, dataloader: Any, shuffle: bool, mode: RunningStage) -> Any:
        stage = mode.dataloader_prefix or "train"
        overfit = self.trainer.overfit_batches > 0
        return prepare(dataloader, stage=stage, overfit=overfit, rank=self.trainer.global_rank)

    def _requires_distributed_sampler(self, dataloader: Any) -> bool:
        return False
