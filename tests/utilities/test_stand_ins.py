"""Files that name what is not there, or may not be called: the rest of them is read."""

from __future__ import annotations

import enum
import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fulmen.utilities.codec import decode_checkpoint
from fulmen.utilities.safe_load import UnsafeCheckpointError, load
from fulmen.utilities.stand_ins import is_gone
from fulmen.utilities.unresolved import Unresolved

pytestmark = pytest.mark.filterwarnings("ignore:.*names classes or functions")


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Options:
    width: int = 3


class _Home(ModuleType):
    """A module that is there while a file is written, with classes by their names."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str, **classes: type) -> None:
        super().__init__(name)
        for inner, cls in classes.items():
            setattr(self, inner, type(inner, (cls,), {"__module__": name}))
        for end in range(1, name.count(".") + 2):
            patch.setitem(sys.modules, ".".join(name.split(".")[:end]), self)


def written(path: Path, value: Callable[[Any], Any], version: str = "1.8.0", **classes: type) -> None:
    with pytest.MonkeyPatch.context() as patch:
        home = _Home(patch, "gone_for_good.inner", **classes)
        torch.save({"pytorch-lightning_version": version, "x": value(home)}, path)


def read(path: Path, weights_only: bool | None = None) -> Any:
    return decode_checkpoint(load(path, weights_only=weights_only), weights_only is False)["x"]


@pytest.mark.parametrize("trusted", [None, False])
def test_what_is_filled_is_plain_data(tmp_path: Path, trusted: bool | None) -> None:
    """Classes that derive from dictionaries and lists."""
    path = tmp_path / "a.ckpt"
    written(path, lambda home: [home.Box(a=1, b=home.Row([2, 3]))], Box=dict, Row=list)
    assert read(path, trusted) == [{"a": 1, "b": [2, 3]}]


KNOWN: dict[str, tuple[Any, Any]] = {
    "a number of numpy": (np.float64(0.1), np.float64(0.1)),
    "an array": (np.arange(6, dtype=np.int16).reshape(2, 3), np.arange(6).reshape(2, 3)),
    "a dtype": (np.dtype("float32"), np.dtype("float32")),
    "a class of torch": (torch.optim.Adam, torch.optim.Adam),
    "a member of an enum": (Colour.RED, Colour.RED),
    "a data class": (Options(5), Options(5)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_is_made(name: str, tmp_path: Path) -> None:
    value, expected = KNOWN[name]
    torch.save({"pytorch-lightning_version": "1.9.0", "x": value}, tmp_path / "a.ckpt")
    found = read(tmp_path / "a.ckpt")
    assert type(found) is type(expected) and np.array_equal(found, expected)


def test_a_partial(tmp_path: Path) -> None:
    made = functools.partial(torch.optim.SGD, lr=0.1)
    torch.save({"pytorch-lightning_version": "1.9.0", "x": made}, tmp_path / "a.ckpt")
    found = read(tmp_path / "a.ckpt")
    assert (found.func, found.args, found.keywords) == (torch.optim.SGD, (), {"lr": 0.1})
    torch.save({"pytorch-lightning_version": "1.9.0", "x": functools.partial(print, 1)}, tmp_path / "b.ckpt")
    assert type(read(tmp_path / "b.ckpt")) is Unresolved


@pytest.mark.skipif("omegaconf" in sys.modules, reason="its own classes would be used")
def test_a_configuration_of_omegaconf_is_plain_data(tmp_path: Path) -> None:
    """Also where the package is not installed."""

    def config(nodes: Any, lists: Any, dicts: Any) -> Any:
        def made(cls: type, **state: Any) -> Any:
            one = object.__new__(cls)
            one.__dict__.update(_metadata=None, _parent=None, **state)
            return one

        node = made(nodes.AnyNode, _val=3)
        return made(dicts.DictConfig, _content={"a": node, "b": made(lists.ListConfig, _content=[node])})

    with pytest.MonkeyPatch.context() as patch:
        nodes = _Home(patch, "omegaconf.nodes", AnyNode=object)
        lists = _Home(patch, "omegaconf.listconfig", ListConfig=object)
        dicts = _Home(patch, "omegaconf.dictconfig", DictConfig=object)
        content = {"pytorch-lightning_version": "1.4.0", "x": config(nodes, lists, dicts)}
        torch.save(content, tmp_path / "a.ckpt")
    assert read(tmp_path / "a.ckpt") == {"a": 3, "b": [3]}


plain = st.recursive(
    st.one_of(st.integers(-(2**31), 2**31 - 1), st.text(max_size=3), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plain, plain, st.booleans(), st.booleans())
def test_data_around_it_are_what_was_saved(tmp_path: Path, before: Any, inside: Any, zipped: bool, new: bool) -> None:
    """In files of either format, and of any version if the class is gone."""

    def value(home: Any) -> Any:
        thing = home.Thing()
        thing.inside = inside
        return [before, thing, before, thing]

    with pytest.MonkeyPatch.context() as patch:
        home = _Home(patch, "gone_for_good.inner", Thing=object)
        content = {"pytorch-lightning_version": "2.6.6" if new else "1.3.0", "x": value(home)}
        torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    first, thing, second, again = read(tmp_path / "a.ckpt")
    assert first == second == before
    assert type(thing) is Unresolved and again is thing
    assert thing._what == "left `gone_for_good.inner:Thing`" and thing._values["state"] == {"inside": inside}


def test_what_is_there_is_refused_in_newer_files(tmp_path: Path) -> None:
    torch.save({"pytorch-lightning_version": "2.6.0", "x": os.getcwd}, tmp_path / "a.ckpt")
    torch.save({"pytorch-lightning_version": "2.5.0", "x": Path.touch}, tmp_path / "b.ckpt")
    torch.save({"pytorch-lightning_version": "2.6.0", "x": Path.touch}, tmp_path / "c.ckpt")
    for name in ("a", "c"):
        with pytest.raises(UnsafeCheckpointError, match="weights_only=False"):
            load(tmp_path / f"{name}.ckpt")
    assert type(read(tmp_path / "b.ckpt")) is Unresolved


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("os.getcwd", False), ("builtins.eval", False), ("__builtin__.eval", False), ("commands.Popen", False),
        ("json.no_such_thing", True), ("no_such_package.Thing", True), ("no_such_package.inner.Thing", True),
        ("xml.no_such_module.Thing", True), ("torch.hub.load", False), ("wave.open", False),
    ],
)  # fmt: skip
def test_whether_a_name_is_gone(name: str, gone: bool) -> None:
    before = set(sys.modules)
    assert is_gone(name) is gone
    assert set(sys.modules) == before


def test_modules_in_the_oldest_format(tmp_path: Path) -> None:
    """It keeps the source code of modules beside them, which is passed over."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    plain = {"module": torch.nn.ReLU, "a": "b", "c": ("module", 1, "x", "y")}
    for version in ("1.8.0", "2.6.6"):
        content = {"pytorch-lightning_version": version, "state_dict": net.state_dict(), "x": [net, plain, net]}
        torch.save(content, tmp_path / f"{version}.ckpt", _use_new_zipfile_serialization=False)
    found = load(tmp_path / "1.8.0.ckpt")
    assert all(map(torch.equal, found["state_dict"].values(), net.state_dict().values()))
    first, plain_found, again = decode_checkpoint(found)["x"]
    assert type(first) is Unresolved and again is first
    assert "torch.nn.modules.container:Sequential" in first._what
    assert plain_found == plain and all(type(key) is str for key in plain_found)
    with pytest.raises(UnsafeCheckpointError, match="weights_only=False"):
        load(tmp_path / "2.6.6.ckpt")


def _break_in() -> None:
    Path("broken_in").touch()


class _Breaks(torch.nn.Module):
    """Would write a file, were it made or told apart by its source code."""

    dump_patches = True

    def __reduce__(self) -> Any:
        return _break_in, ()


def test_the_oldest_format_runs_nothing(tmp_path: Path) -> None:
    evil = {"pytorch-lightning_version": "1.8.0", "w": torch.ones(2), "x": [_Breaks, _Breaks(), torch.nn.ReLU()]}
    torch.save(evil, tmp_path / "a.ckpt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.ckpt").read_bytes()
    changed = content.replace(b"Would write a file", b"Would write 1 file")
    assert changed != content
    (tmp_path / "a.ckpt").write_bytes(changed)
    before = sorted(os.listdir("."))
    found = load(tmp_path / "a.ckpt")
    assert torch.equal(found["w"], torch.ones(2)) and sorted(os.listdir(".")) == before
