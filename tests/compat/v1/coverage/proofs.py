"""Tries every entry of the list: it works, or an error says what to do, or it is missing."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import sys
import tempfile
import warnings
from ast import literal_eval
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest

from fulmen import Trainer
from fulmen.compat import v1
from fulmen.compat.v1 import speech
from fulmen.compat.v1.hints import FormerInterfaceWarning
from fulmen.utilities import rank_zero
from fulmen.utilities.exceptions import MisconfigurationException

from . import listing, subjects
from .heard import heard
from .listing import Entry

HOOK_OWNERS = {"ModelHooks": "module", "CheckpointHooks": "module", "LightningModule": "module",
               "DataHooks": "data", "Callback": "callback"}  # fmt: skip
_HOOK_ENDS = ("_epoch_end", "_step_end", "_step", "configure_optimizers")
_NO_HOOKS = ("global_step", "lr_scheduler_step", "optimizer_step")
SLOW = re.compile("WandbLogger|MLFlowLogger|to_onnx|to_torchscript|from_compiled|to_uncompiled|BatchSizeFinder")
# W&B reads this once a process, whoever is first.
OFFLINE = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_ERROR_REPORTING": "false",
           "WANDB_X_DISABLE_STATS": "true"}  # fmt: skip
EXPORTED = ("callbacks", "loggers", "plugins", "profiler")


class Outcome(NamedTuple):
    """What became of an entry.

    Attributes:
        kind: ``"works"``, ``"remedy"`` or ``"missing"``.
        text: What to write today, or what is wrong.
    """

    kind: str
    text: str = ""


@contextlib.contextmanager
def spoken(version: str) -> Iterator[None]:
    """Lets a version be spoken, in a folder that is thrown away, with nothing shown."""
    folder, environment = os.getcwd(), dict(os.environ)
    os.environ.update(OFFLINE, FULMEN_DIALECT=version)
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(place)
        v1.speak()
        try:
            yield
        finally:
            os.chdir(folder)
            speech.forget()
            _shared.cache_clear()
            if "wandb" in sys.modules:
                sys.modules["wandb"].finish()
            os.environ.clear()
            os.environ.update(environment)


def of_hook(entry: Entry) -> bool:
    """Whether an entry is a hook that a run has to call."""
    if entry.owner not in HOOK_OWNERS or not entry.member:
        return False
    return entry.owner != "LightningModule" or (entry.member.endswith(_HOOK_ENDS) and entry.member not in _NO_HOOKS)


def outcome(entry: Entry) -> Outcome:
    """Tries an entry, in the version that is spoken."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rank_zero._seen.clear()
        try:
            _proof(entry)()
        except MisconfigurationException as error:
            text = str(error)
            kind = "remedy" if "What to do: " in text else "missing"
            return Outcome(kind, text.partition("What to do: ")[2] or text)
        except pytest.skip.Exception as reason:
            return Outcome("works", f"not tried: {reason}")
        except Exception as error:
            return Outcome("missing", f"{type(error).__name__}: {str(error)[:150]}")
        for one in caught:
            if issubclass(one.category, FormerInterfaceWarning):
                said.append(str(one.message).rpartition("Today: ")[2])
    return Outcome("works", said[0] if said else "")


def _proof(entry: Entry) -> Callable[[], Any]:
    if entry.owner in EXPORTED:
        return lambda: _exported(entry)
    if of_hook(entry):
        return lambda: _heard(entry)
    if not entry.member:
        return lambda: _made(entry)
    if entry.parameter:
        return lambda: _accepted(entry)
    return lambda: _used(entry)


def _exported(entry: Entry) -> Any:
    kind = listing.found(entry.owner, entry.parameter)
    if inspect.isabstract(kind):
        return kind
    make = subjects.EXPORTS.get(entry.parameter)
    return make(kind) if make else kind()


def _heard(entry: Entry) -> None:
    part = HOOK_OWNERS[entry.owner]
    key = f"{part}.{entry.member}" + (f"({entry.parameter})" if entry.parameter else "")
    steps = entry.owner == "LightningModule" and entry.member.endswith(("_step", "_step_end")) and entry.parameter
    if entry.parameter == "dataloader_idx" and entry.member == "predict_step":
        steps = True  # passed where there are several loaders
    if entry.member in ("state_key", "load_state_dict", "configure_sharded_model"):
        getattr(listing.kind(entry.owner), entry.member)
    elif not steps and not {key, key.replace("data.", "module.")} & heard(entry.version):
        raise LookupError(f"no run calls {key}")


def _made(entry: Entry) -> Any:
    kind = listing.kind(entry.owner)
    if not entry.parameter:
        return kind
    values = subjects.ARGUMENTS.get(entry.owner, {})
    if entry.parameter in values:
        value = values[entry.parameter]
    else:
        given = {listing.named(one): one.partition("=")[2] for one in entry.parameters}[entry.parameter]
        value = literal_eval(given)
    if entry.owner == "LightningLoggerBase":
        kind = subjects._logger_base()
    made = kind(**{**subjects.REQUIRED.get(entry.owner, {}), entry.parameter: value})
    if entry.owner == "Trainer" and entry.parameter in subjects.FITS:
        flags = {**subjects.QUIET, entry.parameter: value, "enable_model_summary": True}
        Trainer(**flags).fit(subjects.Model())
    return made


def _accepted(entry: Entry) -> None:
    method = inspect.getattr_static(listing.kind(entry.owner), entry.member)
    if isinstance(method, property):
        assert method.fset is not None or entry.owner != "Trainer", f"{entry.member} cannot be set"
        return
    method = getattr(method, "__func__", method)
    if not callable(method):
        _used(entry)
        return
    parameters = inspect.signature(method).parameters
    several = any(one.kind == one.VAR_KEYWORD for one in parameters.values())
    if entry.parameter not in parameters and not several:
        raise TypeError(f"{entry.member} has no parameter {entry.parameter}")


def _used(entry: Entry) -> Any:
    if entry.owner == "ModelHooks":
        return getattr(listing.kind(entry.owner), entry.member)
    call = subjects.CALLS.get(f"{entry.owner}.{entry.member}")
    if call is not None:
        return call(subjects.subject(entry.owner))
    value = getattr(_shared(entry.owner, entry.version), entry.member)
    required = [p for p in entry.parameters if not p.startswith("*") and "=" not in p]
    if not inspect.isroutine(value):
        return value
    if required:
        assert entry.owner in ("ModelCheckpoint", "EarlyStopping", "LightningModule"), f"no call of {entry.key}"
        return value  # a hook that is the class's own: runs with such a callback call it
    return value()


@cache
def _shared(owner: str, version: str) -> Any:
    """What is only looked at."""
    return subjects.subject(owner)


def outcomes(version: str, quick: bool = False) -> dict[Entry, Outcome]:
    """What became of all entries of a version.

    Args:
        version: The version.
        quick: Whether to leave out hooks, which take runs, and what imports much.
    """
    with spoken(version):
        return {
            entry: outcome(entry)
            for entry in listing.entries(version)
            if not quick or not (of_hook(entry) or SLOW.search(entry.key))
        }
