from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fulmen.utilities import imports
from fulmen.utilities.imports import available, require


def test_available_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazy_package_for_a_test.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert available("lazy_package_for_a_test")
    assert "lazy_package_for_a_test" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.part", "json.no_such_part"])
def test_not_available(name: str) -> None:
    assert not available(name)


def test_require_imports() -> None:
    assert require("json", "extra", "A test") is json
    assert require("os.path", "extra", "A test").join("a", "b") == str(Path("a/b"))


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.part"])
def test_what_is_missing_names_the_extra(name: str) -> None:
    with pytest.raises(
        ModuleNotFoundError, match=r"A test needs.*\nWhat to do: `pip install fulmen\[some\]`"
    ) as caught:
        require(name, "some", "A test")
    assert caught.value.name == "no_such_package"


def test_an_import_that_fails_inside_the_package_is_its_own_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package_for_a_test.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_package'$"):
        require("broken_package_for_a_test", "some", "A test")


def test_flags() -> None:
    assert imports._RICH_AVAILABLE is imports.available("rich")
    assert imports._TORCH_GREATER_EQUAL_2_8 is True
    assert imports._TORCH_GREATER_EQUAL_99 is False
    with pytest.raises(AttributeError, match="_TORCH_LESS_2"):
        imports._TORCH_LESS_2  # noqa: B018


def test_a_flag_of_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "available", lambda package: False)
    assert imports._TORCHMETRICS_GREATER_EQUAL_1_0_0 is imports._OMEGACONF_AVAILABLE is False


@pytest.mark.parametrize(
    ("version", "other", "expected"),
    [
        ("1.6", "1.6.0", True),
        ("2.0.0rc1", "2.0.0", True),
        ("1.10", "1.9", True),
        ("1.9.5", "2", False),
        ("x", "0.1", False),
    ],
)
def test_versions(version: str, other: str, expected: bool) -> None:
    assert imports.at_least(version, other) is expected
