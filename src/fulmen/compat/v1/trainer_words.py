"""What Lightning 1.x's ``Trainer`` has beyond today's."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.shown import TRAINER
from fulmen.compat.v1.trainer_parts import PARTS
from fulmen.compat.v1.views import view

if TYPE_CHECKING:
    from fulmen.core.datamodule import LightningDataModule
    from fulmen.core.module import LightningModule


def _argparse() -> Any:
    return importlib.import_module("fulmen.compat.v1.argparse")


class WORDS(PARTS):
    """Names that today's class does not have."""

    @classmethod
    def add_argparse_args(cls: Any, parent_parser: Any, use_argument_group: bool = True, **kwargs: Any) -> Any:
        """Adds the Trainer's arguments to a command line, those of 1.x and those of today."""
        return _argparse().add_argparse_args(cls, parent_parser, use_argument_group, **kwargs)

    @classmethod
    def from_argparse_args(cls: Any, args: Any, **kwargs: Any) -> Any:
        """Makes a Trainer from a parsed command line; `kwargs` go before it."""
        return _argparse().from_argparse_args(cls, args, **kwargs)

    @classmethod
    def parse_argparser(cls: Any, arg_parser: Any) -> Any:
        """Parses a command line."""
        return _argparse().parse_argparser(cls, arg_parser)

    @classmethod
    def match_env_arguments(cls: Any) -> Any:
        """Arguments from variables of the environment such as ``PL_TRAINER_GPUS``."""
        return _argparse().match_env_arguments(cls)

    @classmethod
    def default_attributes(cls: Any) -> dict[str, Any]:
        """The arguments with their defaults."""
        return {name: default for name, _, default in _argparse().arguments_and_types(cls)}

    @classmethod
    def get_deprecated_arg_names(cls: Any) -> list[str]:
        """The arguments that are gone."""
        from fulmen.compat import v1

        return sorted(v1.ARGUMENTS)

    def tune(
        self: Any,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        scale_batch_size_kwargs: dict[str, Any] | None = None,
        lr_find_kwargs: dict[str, Any] | None = None,
        method: str = "fit",
        train_dataloader: Any = None,
    ) -> dict[str, Any]:
        """Searches for what `auto_scale_batch_size` and `auto_lr_find` ask for, and sets it."""
        from fulmen.compat.v1.tuning import tune

        if hasattr(dataloaders, "prepare_data"):  # the order of 1.5
            dataloaders, datamodule = None, dataloaders
        return tune(
            self, model, scale_batch_size_kwargs, lr_find_kwargs, method=method, datamodule=datamodule,
            train_dataloaders=train_dataloaders if train_dataloader is None else train_dataloader,
            val_dataloaders=val_dataloaders, dataloaders=dataloaders,
        )  # fmt: skip

    @view
    def tuner(self: Any) -> Any:
        """The finders of rates and batch sizes; they set nothing unless asked to."""
        from fulmen.compat.v1.tuning import FormerTuner

        hint("`trainer.tuner`", "`Tuner(trainer)` from `fulmen.tuner`.")
        return FormerTuner(self)

    def lr_find(self: Any, model: LightningModule, *given: Any, **named: Any) -> Any:
        """Makes a learning rate range test, as ``trainer.tuner.lr_find`` does."""
        return self.tuner.lr_find(model, *given, **named)

    def scale_batch_size(self: Any, model: LightningModule, *given: Any, **named: Any) -> Any:
        """Looks for the largest batch size, as ``trainer.tuner.scale_batch_size`` does."""
        return self.tuner.scale_batch_size(model, *given, **named)

    @property
    def tuning(self: Any) -> bool:
        """Whether `tune` runs."""
        return bool(self.__dict__.get("_tuning"))

    @tuning.setter
    def tuning(self: Any, val: bool) -> None:
        self.__dict__["_tuning"] = val

    def run_stage(self: Any) -> Any:
        """Runs again what ran last, with the same model and data."""
        from fulmen.compat.v1.trainer_calls import run_again

        return run_again(self)

    def call_hook(self: Any, hook_name: str, *args: Any, pl_module: Any = None, **kwargs: Any) -> Any:
        """Calls a hook of all callbacks, then of the module."""
        from fulmen.compat.v1.trainer_calls import call_hook

        return call_hook(self, hook_name, args, pl_module, kwargs)

    def determine_data_use_amount(self: Any, overfit_batches: int | float) -> None:
        """Limits training and validation to the batches that are overfitted."""
        self.overfit_batches = overfit_batches
        if overfit_batches > 0:
            self.limit_train_batches = self.limit_val_batches = overfit_batches

    def reset_train_dataloader(self: Any, model: LightningModule | None = None) -> None:
        """Asks for the training loader anew."""
        from fulmen.compat.v1.trainer_calls import reset_loader

        reset_loader(self, self.fit_loop.data, model)

    def reset_val_dataloader(self: Any, model: LightningModule | None = None) -> None:
        """Asks for the validation loaders anew."""
        from fulmen.compat.v1.trainer_calls import reset_loader

        reset_loader(self, self._validation_data, model)

    def reset_test_dataloader(self: Any, model: LightningModule | None = None) -> None:
        """Asks for the test loaders anew."""
        from fulmen.compat.v1.trainer_calls import reset_loader

        reset_loader(self, self.test_loop.data, model)

    def reset_predict_dataloader(self: Any, model: LightningModule | None = None) -> None:
        """Asks for the prediction loaders anew."""
        from fulmen.compat.v1.trainer_calls import reset_loader

        reset_loader(self, self.predict_loop.data, model)

    def reset_train_val_dataloaders(self: Any, model: LightningModule | None = None) -> None:
        """Asks for the loaders of `fit` anew."""
        self.reset_train_dataloader(model)
        self.reset_val_dataloader(model)


class SIGNATURES(TRAINER):
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""

    def fit(
        self: Any,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: Any = None,
        weights_only: bool | None = None,
        *,
        train_dataloader: Any = None,
    ) -> None:
        """Trains a model; see ``fulmen.Trainer.fit``."""
        from fulmen.trainer.execute import Job, execute
        from fulmen.utilities.states import TrainerFn

        if ckpt_path is not None and not isinstance(ckpt_path, (str, os.PathLike)):  # the order of 1.5
            train_dataloader, ckpt_path = ckpt_path, weights_only
            weights_only = None
        former = self.__dict__.get("_former")
        if train_dataloader is not None or former:
            from fulmen.compat.v1.trainer_calls import fit_arguments

            train_dataloaders, ckpt_path = fit_arguments(former, train_dataloaders, train_dataloader, ckpt_path)
        loaders = {"train_dataloaders": train_dataloaders, "val_dataloaders": val_dataloaders}
        execute(self, Job(TrainerFn.FITTING, model, datamodule, loaders, ckpt_path, weights_only))

    def validate(
        self: Any,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: Any = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
        *,
        val_dataloaders: Any = None,
    ) -> list[dict[str, float]]:
        """Runs the validation loop once; see ``fulmen.Trainer.validate``."""
        from fulmen.trainer.execute import Job, execute
        from fulmen.utilities.states import TrainerFn

        if val_dataloaders is not None:
            hint("`trainer.validate(val_dataloaders=...)`", "`trainer.validate(dataloaders=...)`.")
            dataloaders = val_dataloaders
        job = Job(TrainerFn.VALIDATING, model, datamodule, {"dataloaders": dataloaders}, ckpt_path, weights_only)
        results: list[dict[str, float]] = execute(self, job)
        return self._report(results, "Validate") if verbose else results

    def test(
        self: Any,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: Any = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
        *,
        test_dataloaders: Any = None,
    ) -> list[dict[str, float]]:
        """Runs the test loop once; see ``fulmen.Trainer.test``."""
        from fulmen.trainer.execute import Job, execute
        from fulmen.utilities.states import TrainerFn

        if test_dataloaders is not None:
            hint("`trainer.test(test_dataloaders=...)`", "`trainer.test(dataloaders=...)`.")
            dataloaders = test_dataloaders
        job = Job(TrainerFn.TESTING, model, datamodule, {"dataloaders": dataloaders}, ckpt_path, weights_only)
        results: list[dict[str, float]] = execute(self, job)
        return self._report(results, "Test") if verbose else results

    @property
    def current_epoch(self: Any) -> int:
        """The number of epochs that are complete."""
        return int(self.progress.epoch)

    @current_epoch.setter
    def current_epoch(self: Any, epoch: int) -> None:
        self.progress.epoch = epoch

    @property
    def global_step(self: Any) -> int:
        """The number of optimizer steps taken."""
        return int(self.progress.steps)

    @global_step.setter
    def global_step(self: Any, step: int) -> None:
        self.progress.steps = step

    @property
    def model(self: Any) -> Any:
        """The module as the strategy has wrapped it."""
        return self.strategy.model

    @model.setter
    def model(self: Any, model: Any) -> None:
        self.strategy.model = model
