"""Paths and names that Lightning has, small things at them, and who is derived from whom."""

from __future__ import annotations

import importlib
import inspect
import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from fulmen.compat import absent, flags, odds
from fulmen.compat.view import find

FACTS = json.loads((Path(__file__).parents[1] / "data" / "lightning-paths.json").read_text(encoding="utf-8"))["2.6"]


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def theirs(path: str, name: str) -> Any:
    return getattr(importlib.import_module(path), name)


def test_the_list_of_facts_is_lightnings(lightning: ModuleType) -> None:
    for path, names in FACTS.items():
        module = importlib.import_module(path)
        assert [name for name in names if not hasattr(module, name)] == [], path


def _classes() -> Iterator[tuple[str, type, type]]:
    """Stand-ins with the classes of Lightning's that they stand for."""
    for path, names in FACTS.items():
        for name in names:
            if name in absent.NAMES and inspect.isclass(found := theirs(path, name)):
                yield f"{path}.{name}", found, getattr(absent, name)


def test_stand_ins_are_derived_as_lightnings_are(lightning: ModuleType) -> None:
    """Code asks `issubclass` and `isinstance`; Fulmen has one class where Lightning has two, Fabric's and the other."""
    bases = ["strategies.Strategy", "strategies.SingleDeviceStrategy", "accelerators.Accelerator", "profilers.Profiler"]
    bases += ["plugins.Precision", "plugins.CheckpointIO", "plugins.TorchCheckpointIO", "loggers.Logger"]
    there: list[tuple[str, type, type]] = []
    for base in bases:
        path, _, name = base.rpartition(".")
        there.append((base, theirs(f"pytorch_lightning.{path}", name), find(path, name)))
    stand_ins = [entry for entry in _classes() if entry[0].startswith("pytorch_lightning")]
    assert len(stand_ins) > 20
    for name, real, ours in stand_ins:
        for base, real_base, our_base in [*there, *stand_ins]:
            if ours is our_base:
                continue
            if issubclass(real, real_base):
                assert issubclass(ours, our_base), f"{name} is a {base} in Lightning"
            elif issubclass(ours, our_base):
                fabric = [kind.__name__ for kind in real.__mro__ if kind.__module__.startswith("lightning_fabric")]
                assert our_base.__name__ in fabric, f"{name} is no {base} in Lightning"


def test_small_things_do_the_same(lightning: ModuleType) -> None:
    fabric = "lightning_fabric.utilities"
    nest = {"a": torch.tensor(1.5), "b": [torch.tensor([2]), 3], "c": "text"}
    scalars = theirs(f"{fabric}.apply_func", "convert_tensors_to_scalars")
    for value in (nest, torch.ones(2), 3, torch.tensor(True)):
        assert outcome(lambda v=value: odds.convert_tensors_to_scalars(v)) == outcome(lambda v=value: scalars(v))
    flat = theirs(f"{fabric}.logger", "_flatten_dict")
    for params in ({"a": {"b": {"c": 1}}, "d": 2}, {1: {2: 3}}, {"a": Namespace(b=1)}, {}):
        assert odds._flatten_dict(params) == flat(params)
        assert odds._flatten_dict(params, ".", "top") == flat(params, ".", "top")
    prefixed = theirs(f"{fabric}.logger", "_add_prefix")
    for prefix in ("", "train"):
        assert odds._add_prefix({"a": 1}, prefix, "-") == prefixed({"a": 1}, prefix, "-")
    message = theirs(f"{fabric}.rank_zero", "rank_prefixed_message")
    assert odds.rank_prefixed_message("text", 3) == message("text", 3)
    finite = theirs("pytorch_lightning.loops.utilities", "check_finite_loss")
    for loss in (None, torch.tensor(1.0), torch.tensor(torch.inf)):
        assert outcome(lambda v=loss: odds.check_finite_loss(v)) == outcome(lambda v=loss: finite(v))
    for name in ("FLOAT16_EPSILON", "FLOAT32_EPSILON", "FLOAT64_EPSILON"):
        assert getattr(odds, name) == pytest.approx(theirs("pytorch_lightning.utilities", name))


def test_parameters_of_hooks(lightning: ModuleType) -> None:
    asked = theirs("pytorch_lightning.utilities.signature_utils", "is_param_in_hook_signature")

    def plain(batch: Any, dataloader_idx: int) -> None: ...
    def anything(*args: Any, **kwargs: Any) -> None: ...

    class Owner:
        def method(self, batch: Any, index: int = 0) -> None: ...

    for hook in (plain, anything, Owner().method):
        for param in ("batch", "dataloader_idx", "index", "self"):
            for options in ({}, {"explicit": True}, {"min_args": 2}, {"explicit": True, "min_args": 3}):
                ours, real = (f(hook, param, **options) for f in (odds.is_param_in_hook_signature, asked))
                assert bool(ours) == bool(real), (hook, param, options)


def test_flags_say_the_same(lightning: ModuleType) -> None:
    for path in ("pytorch_lightning.utilities.imports", "lightning_fabric.utilities.imports"):
        names = [name for name in vars(importlib.import_module(path)) if name.startswith("_") and name.isupper()]
        assert len(names) > 5
        for name in names:
            assert getattr(flags, name) == bool(theirs(path, name)), name
