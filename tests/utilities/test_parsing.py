from __future__ import annotations

import copy
import inspect
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.core.hparams import HyperparametersMixin
from fulmen.utilities.parsing import (
    AttributeDict,
    clean_namespace,
    collect_init_args,
    get_init_args,
    is_picklable,
    lightning_getattr,
    lightning_hasattr,
    lightning_setattr,
    parse_class_init_keys,
    save_hyperparameters,
    str_to_bool,
)

names = st.text("abcxyz_", min_size=1, max_size=8).filter(lambda name: not hasattr(dict, name))


@given(st.dictionaries(names, st.integers() | st.text()))
def test_keys_are_attributes(items: dict[str, Any]) -> None:
    hparams = AttributeDict(items)
    assert {name: getattr(hparams, name) for name in items} == items == hparams
    for copied in (copy.copy(hparams), copy.deepcopy(hparams), pickle.loads(pickle.dumps(hparams))):
        assert type(copied) is AttributeDict
        assert copied == hparams
    for name in items:
        setattr(hparams, name, 0)
        assert hparams[name] == 0
        delattr(hparams, name)
    assert hparams == {}


def test_a_missing_key_is_a_missing_attribute() -> None:
    hparams = AttributeDict(lr=1)
    for act in (lambda: hparams.no, lambda: delattr(hparams, "no")):
        with pytest.raises(AttributeError, match="no attribute 'no'"):
            act()


def test_prints_in_columns() -> None:
    assert repr(AttributeDict({"b": 2, "long": [1], 3: None})) == '"3":    None\n"b":    2\n"long": [1]'
    assert repr(AttributeDict()) == ""


def test_is_picklable() -> None:
    assert is_picklable({"a": torch.ones(1)})
    assert not is_picklable(lambda: 1)


def test_clean_namespace_says_what_it_removes() -> None:
    hparams = {"lr": 1, "fn": lambda: 1}
    with pytest.warns(UserWarning, match=r"`fn` was removed.*ignore=\['fn'\]"):
        clean_namespace(hparams)
    assert hparams == {"lr": 1}


@given(st.sampled_from(["y", "yes", "t", "true", "on", "1"]), st.sampled_from(["n", "no", "f", "false", "off", "0"]))
def test_str_to_bool(yes: str, no: str) -> None:
    assert str_to_bool(yes) is str_to_bool(yes.upper()) is True
    assert str_to_bool(no) is str_to_bool(no.upper()) is False


def test_str_to_bool_refuses_the_rest() -> None:
    with pytest.raises(ValueError, match="Write `true` or `false`"):
        str_to_bool("maybe")


def test_parse_class_init_keys() -> None:
    class Full:
        def __init__(this, a: int, *rest: int, b: int = 1, **more: int) -> None: ...

    class Bare:
        def __init__(self) -> None: ...

    assert parse_class_init_keys(Full) == ("this", "rest", "more")
    assert parse_class_init_keys(Bare) == ("self", None, None)


def _here() -> Any:
    frame = inspect.currentframe()
    assert frame is not None
    return frame.f_back


class Parent:
    def __init__(self, a: int, *rest: int, b: int = 2, **more: int) -> None:
        self.own = get_init_args(_here())
        self.path = collect_init_args(_here(), [])
        self.filtered = collect_init_args(_here(), [], classes=(dict,))


class Child(Parent):
    def __init__(self, c: int, **more: int) -> None:
        super().__init__(c + 1, 9, **more)


class Holder:
    def __init__(self, x: int) -> None:
        self.inner = Child(x, z=7)


def test_init_args_of_one_object_only() -> None:
    inner = Holder(3).inner
    assert inner.own == {"a": 4, "b": 2, "z": 7}
    assert inner.path == [{"a": 4, "b": 2, "z": 7}, {"c": 3, "z": 7}]
    assert inner.filtered == []


def test_there_are_none_outside_of_init() -> None:
    assert get_init_args(_here()) == {}
    assert collect_init_args(_here(), [{"was": 1}])[0] == {"was": 1}


def test_the_function_works_without_a_frame_and_with_given_values() -> None:
    class Free(HyperparametersMixin):
        def __init__(self, a: int, given: dict[str, int] | None = None) -> None:
            save_hyperparameters(self, "a", given_hparams=given)

    assert Free(3).hparams == {"a": 3}
    assert Free(3, {"a": 5}).hparams == {"a": 5}


def _model(**attributes: Any) -> SimpleNamespace:
    data = SimpleNamespace(lr=50, hparams=AttributeDict(lr=60, only_data=1))
    model = SimpleNamespace(hparams=AttributeDict(lr=2, only_hparams=3), _trainer=SimpleNamespace(datamodule=data))
    vars(model).update(attributes)
    return model


def test_attributes_are_found_wherever_they_are() -> None:
    model = _model(lr=1, only_model=4)
    for name, value in {"lr": 60, "only_model": 4, "only_hparams": 3, "only_data": 1}.items():
        assert lightning_hasattr(model, name)
        assert lightning_getattr(model, name) == value
    lightning_setattr(model, "lr", 9)
    data = model._trainer.datamodule
    assert [model.lr, model.hparams.lr, data.lr, data.hparams.lr] == [9] * 4
    assert lightning_hasattr(SimpleNamespace(lr=1), "lr")


def test_an_attribute_that_nobody_has() -> None:
    assert not lightning_hasattr(_model(), "no")
    for act in (lambda: lightning_getattr(_model(), "no"), lambda: lightning_setattr(_model(), "no", 1)):
        with pytest.raises(AttributeError, match=r"self.no = ...` in `__init__`"):
            act()
