"""A module or data module made of a checkpoint, and its hyper-parameters put into one."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Mapping
from typing import IO, Any

from torch import Tensor, nn

from fulmen.core.class_paths import chosen_class, made_of, realized, settings_of
from fulmen.core.hparams_files import convert as convert
from fulmen.core.hparams_files import load_hparams_from_tags_csv as load_hparams_from_tags_csv
from fulmen.core.hparams_files import load_hparams_from_yaml as load_hparams_from_yaml
from fulmen.core.hparams_files import save_hparams_to_tags_csv as save_hparams_to_tags_csv
from fulmen.core.hparams_files import save_hparams_to_yaml as save_hparams_to_yaml
from fulmen.core.hparams_files import update_hparams as update_hparams
from fulmen.utilities.cloud_io import _load as pl_load
from fulmen.utilities.cloud_io import get_filesystem as get_filesystem
from fulmen.utilities.codec import decode_checkpoint, is_trusted
from fulmen.utilities.encoding import Encoder
from fulmen.utilities.exceptions import (
    MisconfigurationException,
    MisconfiguredRun,
    MisconfiguredType,
    MisconfiguredValue,
)
from fulmen.utilities.imports import require
from fulmen.utilities.migration.utils import is_old, migrate_checkpoint, pl_legacy_patch
from fulmen.utilities.parsing import AttributeDict
from fulmen.utilities.rank_zero import rank_zero_warn, warn_once
from fulmen.utilities.safe_load import MapLocation, describe, where_it_was
from fulmen.utilities.suggest import did_you_mean
from fulmen.utilities.unresolved import is_whole, placeholders

CHECKPOINT_HYPER_PARAMS_KEY = "hyper_parameters"
CHECKPOINT_HYPER_PARAMS_NAME = "hparams_name"
CHECKPOINT_HYPER_PARAMS_TYPE = "hparams_type"

_PAST_KEYS = ("hparams", "module_arguments")

# These take any argument, for the sake of classes that share a base with others, and use none.
_BASES = ("fulmen.core.module", "fulmen.core.datamodule")


def load_from_checkpoint(
    cls: Any,
    checkpoint_path: str | os.PathLike[str] | IO[bytes],
    map_location: MapLocation = None,
    hparams_file: str | os.PathLike[str] | None = None,
    strict: bool | None = None,
    weights_only: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Makes a module or a data module of a checkpoint.

    Args:
        cls: The class to make.
        checkpoint_path: A path, an address that fsspec knows, or an open binary file.
        map_location: Where the weights go; see ``torch.load``.
        hparams_file: A YAML or CSV file with hyper-parameters, in place of those in the checkpoint.
        strict: Whether every key must match; None takes the module's ``strict_loading``.
        weights_only: None and True run no code that the file holds, wherever it lies; False does: for files you
            trust. What is stored as a pickle, or belongs to a class that is not imported, needs it, or is passed again.
        **kwargs: Arguments of ``__init__`` that the checkpoint does not hold, or that replace its own.

    Returns:
        The new object, a module with its weights and on their device.
    """
    with pl_legacy_patch():
        checkpoint = pl_load(checkpoint_path, map_location, weights_only)
    place = describe(checkpoint_path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        keys = f" with the keys {list(checkpoint)[:5]}" if isinstance(checkpoint, dict) else ""
        raise MisconfigurationException(
            f"A checkpoint is a dictionary with the key 'state_dict', and `{place}` is none.",
            got=f"a {type(checkpoint).__name__}{keys}",
            fix="If the file holds weights alone: `model.load_state_dict(torch.load(path))`.",
        )
    trusted = is_trusted(weights_only)
    checkpoint = decode_checkpoint(checkpoint, trusted)
    if is_old(checkpoint):
        migrate_checkpoint(checkpoint)
    return _made_of(cls, checkpoint, _hparams_of(cls, checkpoint, hparams_file), strict, trusted, place, kwargs)


def _made_of(
    cls: Any, checkpoint: dict[str, Any], hparams: Any, strict: bool | None, trusted: bool, place: str, kwargs: Any
) -> Any:
    settings = settings_of(hparams, kwargs)
    cls = chosen_class(cls, hparams, trusted)
    hparams.update(kwargs)
    if hparams:
        checkpoint[cls.CHECKPOINT_HYPER_PARAMS_KEY] = hparams
    hparams = realized(cls, hparams, kwargs, trusted)
    with made_of(cls, settings):
        obj = _instantiate(cls, checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_NAME), hparams, kwargs)
    if isinstance(obj, nn.Module):
        _load_weights(obj, checkpoint, strict, place)
    elif cls.__qualname__ in checkpoint:
        obj.load_state_dict(checkpoint[cls.__qualname__])
    return obj


# Names that other libraries import.

_load_from_checkpoint = load_from_checkpoint


def _load_state(cls: Any, checkpoint: dict[str, Any], strict: bool | None = None, **cls_kwargs_new: Any) -> Any:
    """Makes a module or a data module of a checkpoint that was read already."""
    checkpoint = decode_checkpoint(dict(checkpoint), trusted=False)
    hparams = _hparams_of(cls, checkpoint, None)
    return _made_of(cls, checkpoint, hparams, strict, False, "the checkpoint", cls_kwargs_new)


def _default_map_location(storage: Any, location: str) -> Any:
    """Leaves tensors where they were, or on the CPU where that device is not there."""
    return where_it_was(storage, location)


def dump_hparams(obj: Any) -> dict[str, Any]:
    """The entries with which the hyper-parameters of a module or data module go into a checkpoint.

    Args:
        obj: The module or data module.

    Returns:
        The entries; none where there are no hyper-parameters. A warning names values that have no form by value: they
        are stored as pickles, or left out where even that fails.
    """
    hparams = obj.hparams
    if not hparams:
        return {}
    entries: dict[str, Any] = {}
    if hasattr(obj, "_hparams_name"):
        entries[obj.CHECKPOINT_HYPER_PARAMS_NAME] = obj._hparams_name
    if "omegaconf" in sys.modules and sys.modules["omegaconf"].OmegaConf.is_config(hparams):
        entries[obj.CHECKPOINT_HYPER_PARAMS_TYPE] = f"{type(hparams).__module__}.{type(hparams).__name__}"
        hparams = sys.modules["omegaconf"].OmegaConf.to_container(hparams)
    encoder = Encoder()
    marks = getattr(obj, "_hparams_marks", {})  # of an object that the command line has made
    left = getattr(obj, "_hparams_left", ())
    kept = {name: value for name, value in dict(hparams).items() if name not in left}
    entries[obj.CHECKPOINT_HYPER_PARAMS_KEY] = encoder.encode({**kept, **marks}, None)
    _warn_of(type(obj).__name__, encoder.pickled, encoder.refused)
    return entries


def _warn_of(owner: str, pickled: list[str], refused: list[str]) -> None:
    """Says which hyper-parameters a safe load will not bring back; training goes on, as its weights matter more."""
    if not pickled and not refused:
        return
    names = sorted({part.split(" ")[0].split(".")[0].split("[")[0].split("{")[0] for part in pickled + refused})
    kinds = {"are stored as pickles, which only `weights_only=False` reads": pickled, "are left out": refused}
    found = ", and ".join(f"{what}: {', '.join(parts)}" for what, parts in kinds.items() if parts)
    warn_once(
        f"Hyper-parameters are stored in checkpoints as plain data; these of `{owner}` are not and {found}. Say so "
        f"with `self.save_hyperparameters(ignore={names})`, and hand them over again when loading: "
        f"`{owner}.load_from_checkpoint(path, {names[0]}=...)`. Classes and functions may be registered instead: "
        "`fulmen.checkpoint.register`."
    )


def _hparams_of(cls: Any, checkpoint: dict[str, Any], hparams_file: str | os.PathLike[str] | None) -> Any:
    if hparams_file is not None:
        return AttributeDict(_read_hparams_file(os.fspath(hparams_file)))
    hparams = _with_past(cls, checkpoint)
    kind = checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_TYPE)
    if isinstance(kind, str) and kind.startswith("omegaconf.") and is_whole(hparams):
        return require("omegaconf", "omegaconf", "This checkpoint").OmegaConf.create(hparams)
    return AttributeDict(hparams) if isinstance(hparams, dict) else hparams


def _with_past(cls: Any, checkpoint: dict[str, Any]) -> Any:
    """The hyper-parameters of a checkpoint, with those under the keys of versions before 0.9."""
    hparams = checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_KEY, {})
    if isinstance(hparams, argparse.Namespace):
        hparams = vars(hparams)
    past = [checkpoint[key] for key in _PAST_KEYS if checkpoint.get(key)] if issubclass(cls, nn.Module) else []
    if not past or not isinstance(hparams, Mapping):
        return hparams
    merged: dict[str, Any] = {}
    for found in (*past, hparams):
        merged.update(vars(found) if isinstance(found, argparse.Namespace) else found)
    return merged


def _read_hparams_file(path: str) -> dict[str, Any]:
    extension = os.path.splitext(path)[1].lower()
    if extension in (".yaml", ".yml"):
        return load_hparams_from_yaml(path, use_omegaconf=False) or {}
    if extension == ".csv":
        return load_hparams_from_tags_csv(path)
    raise MisconfiguredValue(
        "`hparams_file` is a file that ends in .csv, .yml or .yaml.", got=path, fix="Convert it to YAML."
    )


def _instantiate(cls: Any, holder: str | None, hparams: Any, kwargs: Mapping[str, Any]) -> Any:
    """Calls the class with what it takes of the hyper-parameters.

    Args:
        cls: The class.
        holder: The argument that takes all hyper-parameters as one; ``"kwargs"`` or None where each is its own.
        hparams: The hyper-parameters, `kwargs` among them.
        kwargs: What the user gave.

    Returns:
        The object.
    """
    signature = inspect.signature(cls.__init__)
    parameters = list(signature.parameters.values())[1:]
    anything = {parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD}
    if getattr(cls.__init__, "__module__", None) in _BASES:
        anything = set()
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = {parameter.name for parameter in parameters if parameter.kind not in starred}
    given = dict(hparams)
    if holder in names:
        given = {holder: hparams, **kwargs}
    elif not anything:
        for name in sorted(set(kwargs) - names):
            rank_zero_warn(
                f"`{cls.__name__}.__init__` takes no argument `{name}`: it was ignored. {did_you_mean(name, names)}"
            )
    if not anything:
        given = {name: value for name, value in given.items() if name in names}
    _refuse_placeholders(cls, {name: value for name, value in given.items() if name not in kwargs})
    positional = [
        given.pop(parameter.name)
        for parameter in parameters
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in given
    ]
    try:
        signature.replace(parameters=parameters).bind(*positional, **given)
    except TypeError as error:
        raise MisconfiguredType(
            f"The checkpoint does not hold every argument that `{cls.__name__}.__init__` needs.",
            got=str(error),
            fix=f"Pass it along: `{cls.__name__}.load_from_checkpoint(path, name=value)`. For checkpoints to come, "
            "call `self.save_hyperparameters()` in `__init__`.",
        ) from error
    return cls(*positional, **given)


def _refuse_placeholders(cls: Any, given: Mapping[str, Any]) -> None:
    found = {name: next(placeholders(value), None) for name, value in given.items()}
    left = {name: placeholder for name, placeholder in found.items() if placeholder is not None}
    if left:
        hints = dict.fromkeys(str(placeholder._fix) for placeholder in left.values())
        raise MisconfiguredType(
            f"`{cls.__name__}.__init__` takes arguments that were not made when the checkpoint was loaded.",
            got="; ".join(f"{name!r} ({value._what}): {value._why}" for name, value in left.items()),
            fix=f"`{cls.__name__}.load_from_checkpoint(path, {', '.join(f'{name}=...' for name in left)})`. In detail: "
            + " ".join(hints),
        )


def _load_weights(module: Any, checkpoint: dict[str, Any], strict: bool | None, place: str) -> None:
    chosen = getattr(module, "_strict_loading", None)
    if strict is not None and chosen is not None and strict != chosen:
        name = type(module).__name__
        raise MisconfiguredValue(
            f"`{name}` sets `strict_loading`, and `load_from_checkpoint(..., strict=)` says the opposite.",
            got=f"strict_loading={chosen}, strict={strict}",
            fix="Leave `strict` out, or set both to the same value.",
        )
    strict = module.strict_loading if strict is None else strict
    module.configure_model()
    module.on_load_checkpoint(checkpoint)
    weights = checkpoint["state_dict"]
    try:
        keys = module.load_state_dict(weights, strict=strict)
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise MisconfiguredRun(
            f"The weights in `{place}` do not fit `{type(module).__name__}`.",
            got=str(error),
            fix="Build the model as it was when the checkpoint was written: hand over the same arguments, as in "
            "`load_from_checkpoint(path, hidden=64)`. For keys that are missing or too many on purpose, pass "
            "`strict=False`.",
        ) from error
    # an override of `load_state_dict` may return nothing
    for attribute, where in (("missing_keys", "the model only"), ("unexpected_keys", "the checkpoint only")):
        if getattr(keys, attribute, None):
            rank_zero_warn(f"Loaded `{place}` with strict=False; keys in {where}: {getattr(keys, attribute)}")
    device = next((value.device for value in weights.values() if isinstance(value, Tensor)), None)
    if device is not None:
        module.to(device)
