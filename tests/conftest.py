"""What all tests share: one thread, a clean process, short or long counts, and no GPU tests without a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from fulmen.utilities import rank_zero

SOAK = os.environ.get("FULMEN_SOAK") == "1"
SOAK_FACTOR = 10

# Times vary on a shared machine, so no example has a deadline. The short run draws the same examples every time; the
# long one draws new ones.
settings.register_profile("quick", max_examples=25, derandomize=True, deadline=None)
settings.register_profile(
    "soak", max_examples=25 * SOAK_FACTOR, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("soak" if SOAK else "quick")


def pytest_configure(config: pytest.Config) -> None:
    """Gives each worker one thread: the workers share the cores."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Chooses the tests: without FULMEN_SOAK the short ones, with it the properties and what is marked `soak`."""
    left_out = []
    for item in items.copy():
        long = item.get_closest_marker("soak") is not None
        if long != SOAK and not (SOAK and _lengthen(item)):
            items.remove(item)
            left_out.append(item)
        elif item.get_closest_marker("gpu") and not torch.accelerator.is_available():
            item.add_marker(pytest.mark.skip(reason="torch.accelerator reports no device"))
    config.hook.pytest_deselected(items=left_out)


def _lengthen(item: pytest.Item) -> bool:
    """Gives a property test its long count, also where it names a count of its own; False for other tests."""
    test = getattr(item, "obj", None)
    if not getattr(test, "is_hypothesis_test", False):
        return False
    function = getattr(test, "__func__", test)
    own = getattr(function, "_hypothesis_internal_use_settings", None)
    if own is not None:
        function._hypothesis_internal_use_settings = settings(
            own, max_examples=own.max_examples * SOAK_FACTOR, derandomize=False
        )
    return True


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
