from __future__ import annotations

import importlib

import pytest


@pytest.mark.parametrize(
    "place",
    [
        "plugins",
        "plugins.precision",
        "plugins.environments",
        "plugins.io",
        "plugins.io.async_plugin",
        "plugins.io.wrapper",
    ],
)
def test_names_are_those_defined_elsewhere(place):
    package = importlib.import_module(f"fulmen.{place}")
    assert package.__all__ == dir(package)
    for name in package.__all__:
        value = getattr(package, name)
        assert value.__name__ == name
        home = importlib.import_module(value.__module__)
        assert getattr(home, name) is value
        assert ".plugins" not in value.__module__


def test_an_unknown_name_is_an_attribute_error():
    plugins = importlib.import_module("fulmen.plugins")
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = plugins.Nothing
