"""Hyper-parameters of the checkpoint that a command line names become the defaults of its model's arguments."""

from __future__ import annotations

import importlib
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from fulmen.cli.types import jsonargparse
from fulmen.core.class_paths import check_names, nothing_new
from fulmen.core.saving import CHECKPOINT_HYPER_PARAMS_KEY
from fulmen.utilities.codec import decode_checkpoint, is_trusted
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.given import CLASS_PATH, INSTANTIATOR, MARKS
from fulmen.utilities.migration.utils import pl_legacy_patch
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.safe_load import load
from fulmen.utilities.unresolved import is_whole
from fulmen.utilities.whole_files import is_remote

if TYPE_CHECKING:
    from fulmen.cli.lightning_cli import LightningCLI

_WORDS = ("best", "last", "auto", "hpc", "registry")


def restored(cli: LightningCLI, args: Any) -> None:
    """Parses again with the hyper-parameters of the checkpoint as defaults, where ``--ckpt_path`` names one.

    What the command line, a file or a variable says goes before what the checkpoint holds.

    Args:
        cli: The command line, parsed once.
        args: What was parsed.
    """
    if cli.subcommand is None:
        return
    path = cli.config[cli.subcommand].get("ckpt_path")
    if path is None or str(path) in _WORDS or str(path).startswith("registry:"):
        return
    path = os.fspath(path)
    parser = cli._parser(cli.subcommand)
    if not is_remote(path) and not os.path.exists(path):
        parser.error(
            f"There is no checkpoint `{path}`.\nWhat to do: Give the path of one, or `last`, `best` or `auto`."
        )
    weights_only = cli.config[cli.subcommand].get("weights_only")
    try:
        with pl_legacy_patch():
            checkpoint = decode_checkpoint(load(path, "meta", weights_only), is_trusted(weights_only))
    except MisconfigurationException as error:
        parser.error(str(error), error)
    hparams = checkpoint.get(CHECKPOINT_HYPER_PARAMS_KEY)
    if not isinstance(hparams, dict) or not hparams:
        return
    defaults = _defaults(cli, dict(hparams), is_trusted(weights_only), path)
    if defaults:
        _parse_again(cli, args, defaults, is_trusted(weights_only))


def _defaults(cli: LightningCLI, hparams: dict[str, Any], trusted: bool, path: str) -> dict[str, Any]:
    """Those of the hyper-parameters that the model takes as arguments, and that a safe load brings back."""
    made = hparams.pop(INSTANTIATOR, None) in MARKS
    chosen = hparams.pop(CLASS_PATH, None) if made else None
    cls = _class_of(cli)
    if cls is None or (chosen is not None and cli.subclass_mode_model and chosen != _path_of(cli)):
        return {}
    accepted = _accepted(cli, cls)
    defaults, left = {}, []
    for name, value in hparams.items():
        if name not in accepted:
            continue
        try:
            if not trusted:
                check_names(cls, name, value)
            if is_whole(value):
                defaults[name] = value
                continue
        except MisconfiguredType:
            pass
        left.append(name)
    if left:
        rank_zero_warn(
            f"These hyper-parameters of `{path}` are not read without running code, and keep their defaults: "
            f"{', '.join(left)}. Give them, or, for a file that you trust, `--weights_only=false`."
        )
    return defaults


def _path_of(cli: LightningCLI) -> str | None:
    model = cli.config[cli.subcommand].get("model")
    return None if model is None else str(model.get("class_path"))


def _class_of(cli: LightningCLI) -> Any:
    """The class of the model; None where there is none, or a function makes it."""
    if not cli.subclass_mode_model:
        return cli._model_class if isinstance(cli._model_class, type) else None
    path = _path_of(cli)
    if path is None:
        return None
    place, _, name = path.rpartition(".")
    return getattr(importlib.import_module(place), name)


def _accepted(cli: LightningCLI, cls: type) -> set[str]:
    """The arguments of the model that the command line takes, without those that links fill."""
    parser = cli._parser(cli.subcommand)
    linked = {action.target[0] for action in parser._actions if type(action).__name__ == "ActionLink"}
    prefix = "model.init_args." if cli.subclass_mode_model else "model."
    if cli.subclass_mode_model:
        scratch = jsonargparse.ArgumentParser()
        scratch.add_class_arguments(cls, "model.init_args", fail_untyped=False)
        parser = scratch
    names = {action.dest for action in parser._actions} - linked
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def _parse_again(cli: LightningCLI, args: Any, defaults: dict[str, Any], trusted: bool) -> None:
    parser = cli._parser(cli.subcommand)
    if cli.subclass_mode_model:
        parser.set_defaults({"model": {"class_path": _path_of(cli), "init_args": defaults}})
    else:
        parser.set_defaults({f"model.{name}": value for name, value in defaults.items()})
    with nullcontext() if trusted else nothing_new(defaults):
        cli.parse_arguments(cli.parser, args)
    model = cli.config[cli.subcommand]["model"]
    used = model.get("init_args", model) if cli.subclass_mode_model else model
    for name, value in defaults.items():
        if isinstance(value, (bool, int, float, str)) and used.get(name) != value:
            rank_zero_info(f"`model.{name}` is {used.get(name)!r}, as it was given; the checkpoint has {value!r}.")
