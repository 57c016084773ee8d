from __future__ import annotations

import inspect
from typing import Any

import pytest

from fulmen.utilities.class_only import class_only


class Base:
    @class_only
    def make(cls, size: int = 1) -> Any:
        """Makes one."""
        return cls, size


class Child(Base):
    @classmethod
    def make(cls, size: int = 2) -> Any:
        return super().make(size + 1)


def test_works_on_the_class_and_through_super() -> None:
    assert Base.make(3) == (Base, 3)
    assert Child.make(3) == (Child, 4)
    assert list(inspect.signature(Base.make).parameters) == ["size"]


def test_an_instance_may_be_looked_at_but_not_called() -> None:
    base = Base()
    assert base.make.__doc__ == "Makes one."
    with pytest.raises(TypeError, match=r"(?s)cannot be called on an instance.*model = Base.make"):
        base.make()
