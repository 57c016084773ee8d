from __future__ import annotations

import pytest

from fulmen.callbacks.progress import clocked_bar, refresh, rich_columns

from .runs import Time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The bars' clock, stopped."""
    time = Time()
    for module in (clocked_bar, refresh, rich_columns):
        monkeypatch.setattr(module, "monotonic", time)
    return time
