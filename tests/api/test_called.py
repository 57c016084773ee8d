"""Every callable of the list is called: what the scenarios leave out is named."""

from __future__ import annotations

import threading
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from fulmen.utilities.imports import available

from . import calls, elsewhere, listing, scenarios


@pytest.fixture(scope="module")
def wanted() -> dict[CodeType, tuple[str, FunctionType]]:
    """The functions that implement the list, once each."""
    found: dict[CodeType, tuple[str, FunctionType]] = {}
    for entry in listing.wanted():
        for name, function in calls.implementations(entry):
            found.setdefault(function.__code__, (name, function))
    return found


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not all(map(available, elsewhere.PACKAGES.values())), reason="their loggers are to be called")
def test_everything_is_called(wanted: dict[CodeType, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real runs first; then hooks that nobody overrides, and that do nothing, once each."""
    ran: set[CodeType] = set()
    for number, scenario in enumerate(scenarios.ALL):
        folder = tmp_path / f"{number}_{scenario.__name__}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        with calls.recording(ran):
            scenario(folder)
    for code, (_, function) in wanted.items():
        if code not in ran and calls.does_nothing(function):
            with calls.recording(ran):
                calls.call_with_nothing(function)
    for names in scenarios.ELSEWHERE:
        folder = tmp_path / names[0]
        folder.mkdir()
        there = elsewhere.called(names, folder)
        ran |= {code for code in wanted if elsewhere.places([code]) <= there}
    missing = [name for code, (name, _) in wanted.items() if code not in ran]
    assert not missing, f"{len(missing)} of {len(wanted)} never called: {missing}"


def test_what_is_written_is_what_counts(wanted: dict[CodeType, Any]) -> None:
    """Most functions are real ones: the helper for those that do nothing must not carry the test."""
    idle = [name for name, function in wanted.values() if calls.does_nothing(function)]
    assert len(wanted) > 500
    assert len(idle) < len(wanted) / 3


class Base:
    @property
    def value(self) -> int:
        return self.helper()

    def helper(self) -> int:
        return 1

    def nothing(self, one: Any, two: Any = 3) -> None:
        """Nothing."""


def test_recording_sees_calls_in_threads_and_forgets_them_after() -> None:
    ran: set[CodeType] = set()
    with calls.recording(ran):
        thread = threading.Thread(target=Base().helper)
        thread.start()
        thread.join()
    assert Base.helper.__code__ in ran
    ran.clear()
    Base().helper()
    assert not ran


def test_what_does_nothing() -> None:
    assert calls.does_nothing(Base.nothing)  # type: ignore[arg-type]
    assert not calls.does_nothing(Base.value.fget)  # type: ignore[attr-defined]


def test_where_a_function_is_found() -> None:
    """In a base, behind a property, a decorator, a class method and a lazy re-export; and not in torch."""
    found = {
        name.rpartition(".")[2]: function.__qualname__
        for entry in listing.wanted()
        if entry.path == "fulmen.LightningModule"
        for name, function in calls.implementations(entry)
    }
    assert found["hparams"] == "HyperparametersMixin.hparams"
    assert found["load_from_checkpoint"] == "LightningModule.load_from_checkpoint"
    assert found["toggled_optimizer"] == "OptimizationMixin.toggled_optimizer"
    assert "cpu" not in found
