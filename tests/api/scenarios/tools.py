"""Utilities and loggers."""

from __future__ import annotations

import inspect
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen import utilities
from fulmen.callbacks.progress.progress_bar import get_standard_metrics
from fulmen.core.mixins.hparams_mixin import HyperparametersMixin
from fulmen.demos.boring_classes import BoringModel
from fulmen.loggers import CSVLogger, TensorBoardLogger
from fulmen.loggers.csv_logs import ExperimentWriter
from fulmen.loggers.logger import DummyLogger, Logger, merge_dicts
from fulmen.strategies import SingleDeviceStrategy
from fulmen.utilities import upgrade_checkpoint
from fulmen.utilities.cloud_io import get_filesystem
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.compile import from_compiled, to_uncompiled
from fulmen.utilities.data import extract_batch_size, has_iterable_dataset, has_len, has_len_all_ranks, sized_len
from fulmen.utilities.exceptions import MisconfigurationException, SIGTERMException
from fulmen.utilities.migration.utils import migrate_checkpoint, pl_legacy_patch
from fulmen.utilities.model_helpers import get_torchvision_model, is_overridden
from fulmen.utilities.parsing import (
    clean_namespace,
    collect_init_args,
    get_init_args,
    is_picklable,
    lightning_getattr,
    lightning_hasattr,
    lightning_setattr,
    parse_class_init_keys,
    save_hyperparameters,
)
from fulmen.utilities.seed import isolate_rng, pl_worker_init_function, reset_seed

from .runs import SMALL


def loaders_and_batches(folder: Path) -> None:
    """Loaders side by side, and questions about them."""
    loader: Any = DataLoader(torch.zeros(4, 2))
    combined = CombinedLoader({"a": loader, "b": loader}, "max_size")
    combined.limits = [1, 2]
    assert [len(part) for part in (combined.flattened, combined.sampler, combined.batch_sampler)] == [2, 2, 2]
    list(combined)
    combined.reset()
    assert combined.iterables and combined.limits
    assert extract_batch_size(torch.zeros(3)) == 3 and has_len(loader) and sized_len(loader) == 4
    assert not has_iterable_dataset(loader) and has_len_all_ranks(loader, SingleDeviceStrategy())
    assert utilities.suggested_max_num_workers(1) >= 1
    utilities.move_data_to_device([torch.zeros(1)], "cpu")
    assert utilities.is_shared_filesystem(SingleDeviceStrategy()) and get_filesystem(folder) is not None


def numbers(folder: Path) -> None:
    """Random numbers and gradients."""
    pl.seed_everything(1)
    with isolate_rng():
        torch.rand(1)
        pl_worker_init_function(0, rank=0)
    reset_seed()
    layer = nn.Linear(1, 1)
    layer(torch.ones(1, 1)).sum().backward()
    assert utilities.grad_norm(layer, 2)


def loggers(folder: Path) -> None:
    """Each logger by hand."""
    for logger in (CSVLogger(folder, name="csv"), TensorBoardLogger(folder, name="board", sub_dir="sub")):
        logger.log_hyperparams({"lr": 0.1})
        logger.log_metrics({"loss": 1.0}, step=1)
        logger.log_graph(BoringModel(), torch.zeros(1, 32))
        logger.save()
        names = "root_dir log_dir save_dir name version experiment group_separator"
        assert all(getattr(logger, name) is not None for name in names.split())
        logger.finalize("success")
    assert TensorBoardLogger(folder, sub_dir="s").sub_dir == "s"
    writer = ExperimentWriter(str(folder / "writer"))
    writer.log_hparams({"lr": 0.1})
    writer.log_metrics({"loss": 1.0})
    writer.save()
    dummy = DummyLogger()
    dummy.experiment.anything()
    dummy.log_metrics({})
    dummy.log_hyperparams({})
    assert dummy[0] is dummy or True
    assert merge_dicts([{"a": 1.0}, {"a": 3.0}]) == {"a": 2.0}
    for method, arguments in (("after_save_checkpoint", (None,)), ("finalize", ("success",)), ("save", ())):
        getattr(Logger, method)(dummy, *arguments)
    trainer = pl.Trainer(**SMALL)
    trainer.fit(BoringModel())
    get_standard_metrics(trainer)


def messages(folder: Path) -> None:
    """What is said, warned of and raised."""
    utilities.rank_zero_info("said")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        utilities.rank_zero_warn("careful")
        utilities.rank_zero_deprecation("gone soon")
        utilities.disable_possible_user_warnings()
    assert utilities.rank_zero_only(lambda: 1)() == 1
    assert SIGTERMException().code == 143 and "rule" in str(MisconfigurationException("rule"))
    pl.cli_lightning_logo()


def old_checkpoints(folder: Path) -> None:
    """A file of an old version becomes one of today."""
    old = {"epoch": 1, "global_step": 2, "pytorch-lightning_version": "1.5.0", "state_dict": {}}
    with pl_legacy_patch():
        torch.save(old, folder / "old.ckpt")
    with mock.patch.object(sys, "argv", ["upgrade_checkpoint", str(folder)]):
        upgrade_checkpoint.main()
    assert torch.load(folder / "old.ckpt")["legacy_pytorch-lightning_version"] == "1.5.0"
    assert migrate_checkpoint(dict(old))[1]


class Keeping(HyperparametersMixin):
    """Keeps its arguments by hand."""

    def __init__(self, width: int, lr: float = 0.1) -> None:
        frame: Any = inspect.currentframe()
        self.found = get_init_args(frame), collect_init_args(frame, [])
        save_hyperparameters(self, "width", frame=frame)


def parsing_arguments(folder: Path) -> None:
    """Arguments of ``__init__``, and attributes that tools look for."""
    assert Keeping(2).found[0]["width"] == 2
    assert parse_class_init_keys(Keeping) == ("self", None, None)
    values = {"a": 1, "b": lambda: None}
    assert is_picklable(1) and not is_picklable(values["b"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clean_namespace(values)
    assert values == {"a": 1}
    model: Any = BoringModel()
    model.rate = 1
    assert lightning_hasattr(model, "rate") and lightning_getattr(model, "rate") == 1
    lightning_setattr(model, "rate", 2)
    assert is_overridden("training_step", model)


def shared_and_compiled(folder: Path) -> None:
    """Parameters in two places, and a module compiled and not."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    utilities.set_shared_parameters(net, utilities.find_shared_parameters(net))
    compiled: Any = torch.compile(BoringModel(), backend="eager")
    to_uncompiled(from_compiled(compiled))
    with suppress(ModuleNotFoundError):
        get_torchvision_model("resnet18")
