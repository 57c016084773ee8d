from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import inspect
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.core.hparams import HyperparametersMixin
from fulmen.core.module import LightningModule
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.parsing import AttributeDict


class Model(HyperparametersMixin):
    def __init__(self, a: Any, b: Any = 2, *rest: Any, c: Any = 3, **more: Any) -> None:
        self.save_hyperparameters()


@given(
    st.integers(),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["c", "x", "y"]), st.integers()),
)
def test_saves_what_it_was_called_with(a: int, rest: list[int], named: dict[str, int]) -> None:
    model = Model(a, *rest, **named)
    assert model.hparams == {"a": a, "b": rest[0] if rest else 2, "c": 3, **named}
    assert model.hparams == model.hparams_initial
    assert type(model.hparams) is AttributeDict
    assert model._hparams_name == "kwargs"
    assert model._log_hyperparams


def test_later_changes_reach_hparams_and_not_the_initial_ones() -> None:
    model = Model([1])
    model.hparams.a.append(2)
    model.hparams.b = 9
    assert model.hparams == {"a": [1, 2], "b": 9, "c": 3}
    assert model.hparams_initial == {"a": [1], "b": 2, "c": 3}
    model.hparams_initial["a"].append(7)
    assert model.hparams_initial["a"] == [1]


def test_what_cannot_be_copied_is_shared() -> None:
    generator = (i for i in "ab")
    layer = torch.nn.Linear(1, 1)
    with pytest.warns(UserWarning, match="`b` is an `nn.Module`"):
        model = Model(generator, layer)
    assert model.hparams_initial["a"] is generator
    assert model.hparams_initial["b"] is layer


def test_nothing_saved_is_empty() -> None:
    class Bare(HyperparametersMixin):
        def __init__(self) -> None:
            pass

    assert Bare().hparams == Bare().hparams_initial == {}
    assert not Bare()._log_hyperparams


def make(*args: Any, **kwargs: Any) -> type[Any]:
    class Some(HyperparametersMixin):
        def __init__(self, a: Any, b: Any = 2) -> None:
            self.save_hyperparameters(*args, **kwargs)

    return Some


@pytest.mark.parametrize(
    ("args", "kwargs", "kept"),
    [
        (("a",), {}, {"a": 1}),
        (("b", "a"), {}, {"a": 1, "b": 2}),
        ((), {"ignore": "a"}, {"b": 2}),
        ((), {"ignore": ["a", "b", "zz"]}, {}),
        ((), {"ignore": ("zz",)}, {"a": 1, "b": 2}),
        (({"x": 1, "y": 2},), {"ignore": "x"}, {"y": 2}),
        ((argparse.Namespace(x=1, y=2),), {"ignore": {"y"}}, {"x": 1}),
        ((None,), {}, {}),
        (({},), {}, {}),
    ],
)
def test_names_ignored_and_objects(args: Any, kwargs: Any, kept: Any) -> None:
    assert make(*args, **kwargs)(1).hparams == kept


def test_a_misspelled_name_is_an_error() -> None:
    with pytest.raises(MisconfigurationException, match="Did you mean `learning_rate`"):

        class Typo(HyperparametersMixin):
            def __init__(self, learning_rate: float) -> None:
                self.save_hyperparameters("learning_rte")

        Typo(0.1)
    with pytest.raises(MisconfigurationException, match="nothing at all to save every argument"):
        make("a", ignore="a")(1)


@dataclasses.dataclass
class Config:
    x: int = 1


@pytest.mark.parametrize("bad", [5, True, 0.5, [1], Config()])
def test_an_object_without_names_is_an_error(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"dataclasses.asdict\(config\)"):
        make(bad)(1)


def test_the_argument_that_holds_them_is_remembered() -> None:
    class Holder(HyperparametersMixin):
        def __init__(self, size: int, conf: Any) -> None:
            self.save_hyperparameters(conf if size else dict(conf))

    for conf in ({"x": 1}, argparse.Namespace(x=1), AttributeDict(x=1)):
        assert Holder(1, conf).hparams == {"x": 1}
        assert Holder(1, conf)._hparams_name == "conf"
    assert Holder(0, {"x": 1})._hparams_name == "conf"
    assert make({"x": 1})(1)._hparams_name is None
    tensors = Holder(0, {"x": torch.ones(2)})
    assert tensors._hparams_name == "conf"
    user = Holder(1, collections.UserDict(x=1))
    assert type(user.hparams) is collections.UserDict
    assert user.hparams_initial == {"x": 1}


def test_objects_and_names_together_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="without \\['a'\\]"):
        assert make("a", {"x": 1})(1).hparams == {"x": 1}
    with pytest.warns(UserWarning, match="2 objects and saves none"):
        assert make({"x": 1}, {"y": 1})(1).hparams == {}


class Parent(HyperparametersMixin):
    def __init__(self, a: Any = 1, b: Any = 2, **more: Any) -> None:
        self.save_hyperparameters()


def test_a_subclass_adds_its_arguments_and_its_values() -> None:
    class Child(Parent):
        def __init__(self, c: int, a: int = 5, **more: Any) -> None:
            super().__init__(a=a + 10, **more)

    class Saving(Child):
        def __init__(self, d: int, **more: Any) -> None:
            super().__init__(**more)
            self.save_hyperparameters("d", logger=False)

    assert Child(9, z=3).hparams == {"a": 5, "b": 2, "c": 9, "z": 3}
    saving = Saving(8, c=9)
    assert saving.hparams == saving.hparams_initial == {"a": 5, "b": 2, "c": 9, "d": 8}
    assert not saving._log_hyperparams


def test_a_subclass_can_drop_what_its_base_saved() -> None:
    class Child(Parent):
        def __init__(self, net: Any) -> None:
            super().__init__()
            self.save_hyperparameters(ignore="net")

    assert Child("net").hparams == {"a": 1, "b": 2}


def test_another_object_on_the_way_is_left_out() -> None:
    """An owner's arguments are none of the parts that it makes."""

    class Part(HyperparametersMixin):
        def __init__(self, x: int) -> None:
            self.save_hyperparameters()

    class Whole(HyperparametersMixin):
        def __init__(self, y: int, x: int = 0) -> None:
            self.save_hyperparameters()
            self.part = Part(5)

    whole = Whole(1)
    assert whole.hparams == {"y": 1, "x": 0}
    assert whole.part.hparams == {"x": 5}


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_decorators_and_other_functions_on_the_way_do_not_matter() -> None:
    class Base(HyperparametersMixin):
        @decorated
        def __init__(this, a: int) -> None:
            this.save_later()

        def save_later(self) -> None:
            self.save_hyperparameters()

    class Child(Base):
        def __init__(self, a: int, c: int) -> None:
            Base.__init__(self, a)

    assert Child(1, 3).hparams == {"a": 1, "c": 3}


def test_a_frame_can_be_given() -> None:
    class Framed(HyperparametersMixin):
        def __init__(self, a: int) -> None:
            frame = inspect.currentframe()
            (lambda: self.save_hyperparameters(frame=frame))()

    assert Framed(4).hparams == {"a": 4}


def test_positional_only_arguments_count() -> None:
    class Strict(HyperparametersMixin):
        def __init__(self, a: int, /, b: int) -> None:
            self.save_hyperparameters()

    assert Strict(1, b=2).hparams == {"a": 1, "b": 2}


@dataclasses.dataclass
class DataModel(LightningModule):
    width: int = 1
    name: str = "x"
    made: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="name")


def test_a_data_class_saves_its_fields() -> None:
    assert DataModel(3).hparams == {"width": 3}


def test_works_on_a_module_and_beside_one() -> None:
    class Model(LightningModule):
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Plain(torch.nn.Module, HyperparametersMixin):
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()

    assert Model().hparams.lr == Plain().hparams.lr == 0.1
    with pytest.raises(AttributeError):
        Model().hparams = {}
