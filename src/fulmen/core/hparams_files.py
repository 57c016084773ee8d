"""Hyper-parameters in files of their own: ``hparams.yaml`` and ``meta_tags.csv``."""

from __future__ import annotations

import argparse
import ast
import csv
import dataclasses
import os
from collections.abc import Mapping, MutableMapping
from enum import Enum
from typing import Any

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun, MisconfiguredType
from fulmen.utilities.imports import available, require
from fulmen.utilities.rank_zero import rank_zero_warn


def convert(val: str) -> Any:
    """Reads a Python literal; text that is none stays text.

    Args:
        val: The text.

    Returns:
        The value.

    Example:
        >>> convert("[1, 2]"), convert("relu")
        ([1, 2], 'relu')
    """
    try:
        return ast.literal_eval(val)
    except (ValueError, SyntaxError):
        return val


def update_hparams(hparams: MutableMapping[str, Any], updates: Mapping[str, Any]) -> None:
    """Puts values into hyper-parameters, into nested dictionaries key by key.

    Args:
        hparams: Changed in place.
        updates: The new values.
    """
    for name, value in updates.items():
        old = hparams.get(name)
        if isinstance(old, MutableMapping) and isinstance(value, Mapping):
            update_hparams(old, value)
        else:
            hparams[name] = value


def load_hparams_from_tags_csv(tags_csv: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads hyper-parameters from a CSV file with the columns ``key`` and ``value``.

    Args:
        tags_csv: The file.

    Returns:
        Values by name; empty, with a warning, where there is no such file.
    """
    if not _exists(tags_csv):
        return {}
    with open(tags_csv, newline="", encoding="utf-8") as file:
        return {row["key"]: convert(row["value"]) for row in csv.DictReader(file)}


def save_hparams_to_tags_csv(tags_csv: str | os.PathLike[str], hparams: Mapping[str, Any] | argparse.Namespace) -> None:
    """Writes hyper-parameters to a CSV file with the columns ``key`` and ``value``.

    Args:
        tags_csv: The file.
        hparams: Values by name.

    Raises:
        MisconfiguredRun: If its folder does not exist.
    """
    _need_folder(tags_csv)
    with open(tags_csv, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("key", "value"))
        writer.writerows(_items(hparams).items())


def load_hparams_from_yaml(config_yaml: str | os.PathLike[str], use_omegaconf: bool = True) -> Any:
    """Reads hyper-parameters from a YAML file.

    Args:
        config_yaml: The file.
        use_omegaconf: Whether to return an OmegaConf container, where that package is installed.

    Returns:
        Values by name; empty, with a warning, where there is no such file.

    Raises:
        MisconfigurationException: If the file asks for Python objects to be built.
    """
    if not _exists(config_yaml):
        return {}
    yaml = require("yaml", "all", "Reading hyper-parameters from YAML")
    with open(config_yaml, encoding="utf-8") as file:
        try:
            # of Python's own things this loader knows tuples and what is imported already, and it builds no objects
            hparams = yaml.full_load(file)
        except yaml.constructor.ConstructorError as error:
            raise MisconfigurationException(
                "Hyper-parameters in YAML are plain values.",
                got=f"{os.fspath(config_yaml)}: {error.problem}",
                fix="Write the value as text, a number, a list or a mapping.",
            ) from error
    if use_omegaconf and hparams and available("omegaconf"):
        return require("omegaconf", "omegaconf", "Hyper-parameters of OmegaConf").OmegaConf.create(hparams)
    return hparams


def save_hparams_to_yaml(
    config_yaml: str | os.PathLike[str], hparams: Mapping[str, Any] | argparse.Namespace, use_omegaconf: bool = True
) -> None:
    """Writes hyper-parameters to a YAML file.

    Args:
        config_yaml: The file.
        hparams: Values by name. What YAML has no form for is written as its text, and a member of an enumeration as
            its name.
        use_omegaconf: Whether OmegaConf containers are written with their interpolations as they are.

    Raises:
        MisconfiguredRun: If its folder does not exist.
        MisconfiguredType: If there are no names with values.
    """
    _need_folder(config_yaml)
    if use_omegaconf and available("omegaconf"):
        omegaconf = require("omegaconf", "omegaconf", "Hyper-parameters of OmegaConf").OmegaConf
        if omegaconf.is_config(hparams):
            omegaconf.save(hparams, config_yaml)
            return
    yaml = require("yaml", "all", "Writing hyper-parameters to YAML")
    text = yaml.dump(_plain(_items(hparams)), Dumper=_dumper(yaml))
    with open(config_yaml, "w", encoding="utf-8") as file:
        file.write(text)


def _dumper(yaml: Any) -> Any:
    dumper: Any = type("HparamsDumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
    dumper.add_representer(tuple, lambda self, data: self.represent_sequence("tag:yaml.org,2002:python/tuple", data))
    return dumper


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, argparse.Namespace):
        return _plain(vars(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return (tuple if isinstance(value, tuple) else list)(_plain(item) for item in value)
    if isinstance(value, (set, frozenset)):
        return {_plain(item) for item in value}
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if hasattr(value, "__qualname__"):
        # a function's text would hold its address
        return f"{getattr(value, '__module__', type(value).__name__)}.{value.__qualname__}"
    return None if value is None else str(value)


def _items(hparams: Any) -> Mapping[str, Any]:
    if isinstance(hparams, argparse.Namespace):
        return vars(hparams)
    if isinstance(hparams, Mapping):
        return hparams
    raise MisconfiguredType(
        "Hyper-parameters are values by name.", got=hparams, fix="Pass a dictionary or an `argparse.Namespace`."
    )


def _exists(path: str | os.PathLike[str]) -> bool:
    if os.path.exists(path):
        return True
    rank_zero_warn(f"There is no file `{os.fspath(path)}`: no hyper-parameters were read from it.")
    return False


def _need_folder(path: str | os.PathLike[str]) -> None:
    folder = os.path.dirname(os.fspath(path))
    if folder and not os.path.isdir(folder):
        raise MisconfiguredRun("The folder of the file must exist.", got=folder, fix=f"`os.makedirs({folder!r})`")
