"""All of Lightning's public interface is there, as ``make api`` shows it; and the comparison finds what is not."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import fulmen
from fulmen.cli import SaveConfigCallback

from . import comparing, listing, report


@pytest.fixture(scope="module")
def found() -> list[report.Row]:
    return report.rows()


def test_all_is_there(found: list[report.Row]) -> None:
    assert not [(row.module, row.problems) for row in found if row.problems]


def test_the_list_is_whole(found: list[report.Row]) -> None:
    """Neither a name nor a module gets lost on the way to the report."""
    assert {entry.module for entry in listing.entries()} == {row.module for row in found}
    assert sum(row.names + row.left_out for row in found) == len(listing.entries()) > 300


def test_the_command_prints_the_total() -> None:
    done = subprocess.run(
        [sys.executable, report.__file__],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(fulmen.__file__).parents[1]), "PATH": ""},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "100.0%" in done.stdout.splitlines()[-2]
    assert any(line.startswith("fulmen.trainer.trainer ") for line in done.stdout.splitlines())


class Sample:
    kind = "a"

    def __init__(self, size: int, depth: int = 1, *, extra: bool = False) -> None: ...

    @property
    def shape(self) -> NoReturn:
        raise AssertionError("a property is looked at, and not read")

    @functools.cached_property
    def cached(self) -> int:
        return 1

    def method(self, one: Any, two: Any = None, *rest: Any, **named: Any) -> None: ...

    @staticmethod
    def static(one: Any) -> None: ...

    @classmethod
    def of_class(cls, one: Any) -> None: ...


RIGHT: dict[str, Any] = {
    "kind": "attr",
    "shape": "property",
    "cached": "property",
    "method": ["one", "two=None", "*rest", "**named"],
    "static": ["one"],
    "of_class": ["one"],
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name: str) -> None:
    assert not list(comparing.member(Sample, name, RIGHT[name]))


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("gone", ["one"]),
        ("gone", "attr"),
        ("gone", "property"),
        ("method", "property"),
        ("kind", []),
        ("method", ["two=None", "one", "*rest", "**named"]),
        ("method", ["one", "two=0", "*rest", "**named"]),
        ("method", ["one", "two", "*rest", "**named"]),
        ("method", ["one", "two=None"]),
        ("static", ["one", "two"]),
        ("of_class", []),
    ],
)
def test_what_is_wrong_is_found(name: str, listed: Any) -> None:
    assert list(comparing.member(Sample, name, listed))


@pytest.mark.parametrize(
    ("listed", "right"),
    [
        (["size", "depth=1"], True),
        (["size", "depth=1", "extra=False"], True),
        (["size", "depth=..."], True),
        (["size"], False),
        (["size", "depth=1", "extra=True"], False),
        (["*args", "**kwargs"], False),
    ],
)
def test_parameters_of_a_class(listed: list[str], right: bool) -> None:
    assert (not list(comparing.parameters(Sample, listed))) == right


def test_a_required_keyword_is_no_extra() -> None:
    def function(one: Any, *, two: Any) -> None: ...

    assert list(comparing.parameters(function, ["one"]))


@pytest.mark.parametrize(("kind", "right"), [("SaveConfigCallback", True), ("LightningCLI", False), ("Gone", False)])
def test_a_class_as_default_is_ours_of_the_same_path(kind: str, right: bool) -> None:
    def function(kind: Any = SaveConfigCallback) -> None: ...

    listed = f"kind=<class 'pytorch_lightning.cli.{kind}'>"
    assert (not list(comparing.parameters(function, [listed]))) == right


@pytest.mark.parametrize("facts", [{"params": []}, {"init": [], "members": {"fit": []}}])
def test_a_missing_name(facts: dict[str, Any]) -> None:
    for module in ("fulmen.trainer.trainer", "fulmen.nowhere"):
        entry = listing.Entry(module, "Nothing", facts, f"{module}.Nothing")
        assert list(comparing.problems(entry)) == ["missing"]


def _plain(value: int) -> Callable[[], int]:
    return lambda: value


def test_a_function_with_other_parameters() -> None:
    entry = listing.Entry(__name__, "_plain", {"params": ["value=1"]}, f"{__name__}._plain")
    sys.modules.setdefault(__name__, sys.modules[_plain.__module__])
    assert list(comparing.problems(entry)) == ["(value) instead of (value=1)"]
