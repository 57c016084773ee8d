from __future__ import annotations

import pathlib

import pytest

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.registry import Registry, closest


class Thing:
    def __init__(self, size: int = 1) -> None:
        self.size = size


@pytest.fixture
def registry():
    return Registry("thing")


def test_makes_what_was_registered_with_its_arguments(registry):
    assert registry.add("big", Thing, None, False, {"size": 9}) is Thing
    assert registry.make("big").size == 9
    assert registry["big"]["description"] == "Thing"
    assert "big" in str(registry)


def test_decorates(registry):
    decorated = registry.add("small", None, "a small one", False, {})(Thing)
    assert decorated is Thing
    assert registry["small"] == {
        "description": "a small one",
        "init_params": {},
        "thing": Thing,
        "thing_name": "small",
    }


def test_a_taken_name_needs_override(registry):
    registry.add("one", Thing, None, False, {})
    with pytest.raises(MisconfigurationException, match="override=True"):
        registry.add("one", Thing, None, False, {"size": 2})
    registry.add("one", Thing, None, True, {"size": 3})
    assert registry.make("one").size == 3


def test_a_name_is_a_string(registry):
    with pytest.raises(MisconfigurationException, match=r'register\("my_thing", MyClass\)'):
        registry.add(Thing, None, None, False, {})


def test_removes(registry):
    registry.add("one", Thing, None, False, {})
    registry.remove("one")
    assert not registry
    with pytest.raises(KeyError):
        registry.make("one")


@pytest.mark.parametrize(
    "name, expected", [("cudda", "Did you mean 'cuda'? "), ("CPU", "Did you mean 'cpu'? "), ("zebra", ""), (3, "")]
)
def test_offers_the_closest_name(name, expected):
    assert closest(name, ["cuda", "cpu"]) == expected


def test_a_class_given_by_its_place_is_imported_when_it_is_read(registry):
    registry.add("path", "pathlib:PurePath")
    assert registry["path"]["description"] == "PurePath"
    assert registry["path"]["thing"] is pathlib.PurePath
    assert isinstance(registry.make("path"), pathlib.PurePath)
