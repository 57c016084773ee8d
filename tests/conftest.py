"""What all tests share: one thread, a clean process, short or long counts, no GPU tests without a GPU."""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from fulmen.utilities import rank_zero

SOAK = os.environ.get("FULMEN_SOAK") == "1"
SOAK_FACTOR = 10

# Times vary on a shared machine, so no example has a deadline. Both runs draw the same examples every time, so
# that a failure is one of the change and not of the draw; the long run draws more.
settings.register_profile("quick", max_examples=25, derandomize=True, deadline=None)
settings.register_profile(
    "soak",
    max_examples=25 * SOAK_FACTOR,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("soak" if SOAK else "quick")


def few(cases: Iterable[Any], count: int) -> list[Any]:
    """Cases of a long grid: all in the long run, else a sample, which is the same one every time."""
    cases = list(cases)
    return cases if SOAK else random.Random(len(cases)).sample(cases, count)


def pytest_configure(config: pytest.Config) -> None:
    """Gives each worker one thread: the workers share the cores."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what runs long, or gives it its long count; skips what needs a device that is not there."""
    if SOAK:
        _lengthen({getattr(item.obj, "__func__", item.obj) for item in items if isinstance(item, pytest.Function)})
    else:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("soak")])
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
    if not torch.accelerator.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="torch.accelerator reports no device"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spares the garbage collector what the imports have made: it would go through a million objects each time."""
    gc.collect()
    gc.freeze()


def _lengthen(functions: set[Any]) -> None:
    """Gives property tests that name a count of their own, and so take none from the profile, the long one, too."""
    for function in functions:
        own = getattr(function, "_hypothesis_internal_use_settings", None)
        if own is not None and own.max_examples != settings.default.max_examples:
            count = own.max_examples * SOAK_FACTOR
            function._hypothesis_internal_use_settings = settings(own, max_examples=count, derandomize=True)


@pytest.fixture(autouse=True)
def _clean_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs each test in a folder of its own, and takes back what a Trainer leaves in the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rank_zero, "_seen", set())
    environment = dict(os.environ)
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the setter imports the whole of inductor
        torch.use_deterministic_algorithms(deterministic)
    os.environ.clear()
    os.environ.update(environment)
    if "fulmen.compat.v1.speech" in sys.modules:  # code of Lightning 1.x has been run
        sys.modules["fulmen.compat.v1.speech"].forget()
