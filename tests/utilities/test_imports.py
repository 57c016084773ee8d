from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

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
