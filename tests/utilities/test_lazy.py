from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = "lazy_package_of_this_test"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package with a lazy class, a lazy module, and a lazy function with the name of its module."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from fulmen.utilities.lazy import attach\n"
        f"names = {{'Thing': '{PACKAGE}.thing', 'part': '{PACKAGE}.part', 'call': '{PACKAGE}.call'}}\n"
        "__getattr__, __dir__, __all__ = attach(__name__, names)\n"
    )
    (folder / "thing.py").write_text("class Thing: pass\n")
    (folder / "part.py").write_text("value = 3\n")
    (folder / "call.py").write_text("def call(): return 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(PACKAGE)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_nothing_is_imported_before_it_is_used(package: ModuleType) -> None:
    assert f"{PACKAGE}.thing" not in sys.modules
    assert package.Thing is sys.modules[f"{PACKAGE}.thing"].Thing
    assert f"{PACKAGE}.part" not in sys.modules


def test_modules_and_namesakes(package: ModuleType) -> None:
    assert package.part.value == 3
    assert package.call() == 7


def test_a_name_is_looked_up_once(package: ModuleType) -> None:
    assert package.Thing is vars(package)["Thing"]


def test_names_are_listed(package: ModuleType) -> None:
    assert dir(package) == ["Thing", "call", "part"]
    assert package.__all__ == ["Thing", "call", "part"]


def test_an_unknown_name(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{PACKAGE}' has no attribute 'Think'"):
        package.Think  # noqa: B018 - asking is the test
