from __future__ import annotations

import enum
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import fulmen
from fulmen.utilities import registered as names
from fulmen.utilities.codec import decode, encode
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.registered import NOTHING, imported, register, registered, registered_name


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(names, "_own", {})
    monkeypatch.setattr(names, "_own_names", {})
    yield


def test_is_a_decorator_with_and_without_a_name() -> None:
    @fulmen.checkpoint.register
    def plain(x: int) -> int:
        return x

    @register(name="named")
    def other(x: int) -> int:
        return x

    scale = register(lambda x: 2 * x, name="scale")
    assert registered(f"{__name__}:{plain.__qualname__}") is plain
    assert registered("named") is other
    assert decode(encode({"f": [plain, other, scale]})[0]) == {"f": [plain, other, scale]}


def test_a_class_made_in_a_function_can_be_registered() -> None:
    @register(name="colour")
    class Colour(enum.Enum):
        RED = 1

    stored, refused = encode(Colour.RED)
    assert refused == []
    assert decode(stored) is Colour.RED


def test_a_name_stands_for_one_thing_but_a_cell_may_run_again() -> None:
    def first() -> None: ...

    def second() -> None: ...

    register(first, name="x")
    with pytest.raises(ValueError, match=r"Choose another name: `register\(obj, name='\.\.\.'\)`"):
        register(second, name="x")
    again = types.FunctionType(first.__code__, {}, "first")
    again.__qualname__, again.__module__ = first.__qualname__, first.__module__
    assert register(again, name="x") is registered("x")


@pytest.mark.parametrize("wrong", [3, "name", torch.ones(1)], ids=repr)
def test_data_needs_no_registration(wrong: Any) -> None:
    with pytest.raises(MisconfigurationException, match="Data needs no registration"):
        register(wrong)


def test_what_is_there_from_the_start_is_harmless() -> None:
    found, by_object = names._common()
    assert {"torch.nn:Linear", "torch.optim:AdamW", "torch.optim.lr_scheduler:StepLR", "torch:relu"} <= found.keys()
    assert registered_name(torch.nn.ReLU) == "torch.nn:ReLU"
    for name in found:
        assert callable(found[name])
        for harmful in ("load", "save", "exec", "eval", "compile", "open", "import", "jit", "hub", "getattr", "type"):
            assert name.partition(":")[2].lower() != harmful
    for forbidden in (exec, eval, compile, open, getattr, setattr, type, map, torch.load, torch.save, torch.compile):
        assert id(forbidden) not in by_object
    assert not any(value is type or isinstance(value, types.ModuleType) for value in found.values())


def test_nothing_is_imported_or_run_to_find_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loud(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    class Kind:
        class Inner:
            pass

        @property
        def shown(self) -> None:
            raise AssertionError

    loud = Loud("loud_module")
    types.ModuleType.__setattr__(loud, "Kind", Kind)
    monkeypatch.setitem(sys.modules, "loud_module", loud)
    monkeypatch.setitem(sys.modules, "no_module", Kind())  # type: ignore[arg-type]
    assert imported("loud_module:Kind") is Kind
    assert imported("loud_module:Kind.Inner") is Kind.Inner
    for name in ("loud_module:Kind.shown", "loud_module:None", "no_module:Inner", "antigravity:fly", "Kind", ":", ""):
        assert imported(name) is None
    assert "antigravity" not in sys.modules
    assert registered("loud_module:Kind") is NOTHING
