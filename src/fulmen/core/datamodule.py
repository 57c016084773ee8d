"""``LightningDataModule``: all that has to do with the data of a project, in one class."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from fulmen.core.hooks import DataHooks
from fulmen.core.hparams import HyperparametersMixin
from fulmen.utilities.class_only import class_only
from fulmen.utilities.generations import taught

if TYPE_CHECKING:
    from typing_extensions import Self

    from fulmen.trainer.trainer import Trainer
    from fulmen.utilities.safe_load import MapLocation


@taught
class LightningDataModule(DataHooks, HyperparametersMixin):
    """Downloads, splits and loads data, so that every model of a project gets it in the same way.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset, random_split
        >>> class Points(LightningDataModule):
        ...     def __init__(self, batch_size=32):
        ...         super().__init__()
        ...         self.save_hyperparameters()
        ...     def setup(self, stage):
        ...         data = TensorDataset(torch.rand(100, 2), torch.rand(100, 1))
        ...         self.train, self.val = random_split(data, [80, 20])
        ...     def train_dataloader(self):
        ...         return DataLoader(self.train, batch_size=self.hparams.batch_size, shuffle=True)
        ...     def val_dataloader(self):
        ...         return DataLoader(self.val, batch_size=self.hparams.batch_size)
        >>> data = Points()
        >>> data.setup("fit")
        >>> print(data)
        {Train dataloader: size=80}
        {Validation dataloader: size=20}
        {Test dataloader: None}
        {Predict dataloader: None}
    """

    CHECKPOINT_HYPER_PARAMS_KEY = "datamodule_hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "datamodule_hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "datamodule_hparams_type"

    name: str | None = None
    if TYPE_CHECKING:
        trainer: Trainer | None
    trainer = None
    """The Trainer that uses this data module, None until one does."""
    prepare_data_per_node = True
    """Whether ``prepare_data`` runs once on every machine, or once in all."""
    allow_zero_length_dataloader_with_multiple_devices = False
    """Whether a loader may be empty on some of several processes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Any = None,
        val_dataset: Any = None,
        test_dataset: Any = None,
        predict_dataset: Any = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **datamodule_kwargs: Any,
    ) -> Self:
        """Makes a data module around datasets.

        Only the training set is shuffled, and not if it is an ``IterableDataset``.

        Args:
            train_dataset: A dataset; or a list, tuple or mapping of datasets, to get several loaders.
            val_dataset: The same for validation.
            test_dataset: The same for testing.
            predict_dataset: The same for prediction.
            batch_size: Samples in a batch.
            num_workers: Processes that load, for each loader.
            **datamodule_kwargs: For ``__init__``; it gets `batch_size` and `num_workers` too, if it takes them.

        Returns:
            The data module.
        """
        parameters = inspect.signature(cls.__init__).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        sizes = {"batch_size": batch_size, "num_workers": num_workers}
        known = {name: value for name, value in sizes.items() if takes_all or name in parameters}
        datamodule = cls(**{**known, **datamodule_kwargs})
        given = {"train": train_dataset, "val": val_dataset, "test": test_dataset, "predict": predict_dataset}
        for stage, datasets in given.items():
            if datasets is not None:
                make = functools.partial(_loaders, datasets, stage == "train", batch_size, num_workers)
                setattr(datamodule, f"{stage}_dataloader", make)
        return datamodule

    @class_only
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | os.PathLike[str] | IO[bytes],
        map_location: MapLocation = None,
        hparams_file: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Makes a data module of a checkpoint: its hyper-parameters go to ``__init__``, its state is loaded.

        Args:
            checkpoint_path: A path, an address that fsspec knows, or an open binary file.
            map_location: Where tensors go; see ``torch.load``.
            hparams_file: A YAML or CSV file with hyper-parameters, in place of those in the checkpoint.
            weights_only: None and True read tensors and plain data alone; False may run code: for files you trust.
            **kwargs: Arguments of ``__init__`` that the checkpoint does not hold, or that replace its own.

        Returns:
            The data module.
        """
        from fulmen.core import saving

        return saving.load_from_checkpoint(
            cls,
            checkpoint_path,
            map_location=map_location,
            hparams_file=hparams_file,
            weights_only=weights_only,
            **kwargs,
        )

    def state_dict(self) -> dict[str, Any]:
        """What goes into checkpoints besides the hyper-parameters."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""

    def on_exception(self, exception: BaseException) -> None:
        """Called when a run ends with an exception, Ctrl-C included."""

    def __str__(self) -> str:
        stages = {"Train": "train", "Validation": "val", "Test": "test", "Predict": "predict"}
        return "\n".join(f"{{{title} dataloader: {self._sizes(stage)}}}" for title, stage in stages.items())

    def _sizes(self, stage: str) -> str:
        try:
            loaders = getattr(self, f"{stage}_dataloader")()
        except Exception:  # before `setup`, most loaders cannot be made yet
            return "None"
        return _describe(loaders)


def _loaders(datasets: Any, shuffle: bool, batch_size: int, num_workers: int) -> Any:
    if isinstance(datasets, Mapping):
        return {name: _loaders(dataset, shuffle, batch_size, num_workers) for name, dataset in datasets.items()}
    if isinstance(datasets, (list, tuple)):
        return type(datasets)(_loaders(dataset, shuffle, batch_size, num_workers) for dataset in datasets)
    if not hasattr(datasets, "__getitem__"):
        return datasets  # a loader already
    return DataLoader(
        datasets,
        batch_size=batch_size,
        shuffle=shuffle and not isinstance(datasets, IterableDataset),
        num_workers=num_workers,
        pin_memory=_can_pin(),
    )


def _can_pin() -> bool:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator is not None and accelerator.type != "mps"


def _describe(loaders: Any) -> str:
    if loaders is None:
        return "None"
    if isinstance(loaders, Mapping):
        return " ; ".join(f"{name}. {_describe(loader)}" for name, loader in loaders.items())
    if isinstance(loaders, (list, tuple)):
        return " ; ".join(f"{i}. {_describe(loader)}" for i, loader in enumerate(loaders, start=1))
    data = getattr(loaders, "dataset", loaders)
    try:
        return f"size={len(data)}"
    except (TypeError, ValueError, NotImplementedError):
        return "size=NA"
