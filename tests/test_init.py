"""The facade: what it offers is there, and is the same object as where it is defined."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import fulmen

DEFINED_IN = {
    "Trainer": "fulmen.trainer.trainer",
    "LightningModule": "fulmen.core.module",
    "LightningDataModule": "fulmen.core.datamodule",
    "Callback": "fulmen.callbacks.callback",
    "seed_everything": "fulmen.utilities.seed",
}


def test_names_are_the_objects_of_their_modules() -> None:
    for name, module in DEFINED_IN.items():
        assert getattr(fulmen, name) is getattr(importlib.import_module(module), name)


def test_every_offered_name_is_there() -> None:
    assert set(DEFINED_IN) <= set(fulmen.__all__)
    assert dir(fulmen) == fulmen.__all__
    for name in fulmen.__all__:
        assert getattr(fulmen, name) is not None


def test_every_name_of_every_package_is_there() -> None:
    for name in fulmen.__all__:
        package = getattr(fulmen, name)
        for offered in getattr(package, "__all__", ()):
            assert getattr(package, offered) is not None, f"fulmen.{name}.{offered}"


def test_folders_are_reached_without_importing_them() -> None:
    code = "import fulmen as pl; print(pl.callbacks.ModelCheckpoint, pl.loggers.CSVLogger, pl.trainer.Trainer)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fulmen' has no attribute 'Trainr'"):
        _ = fulmen.Trainr
