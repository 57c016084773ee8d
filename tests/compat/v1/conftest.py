"""What the tests of 1.x share: the dialect is forgotten after each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fulmen.compat.v1 import speech
from fulmen.utilities import rank_zero


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(rank_zero, "_seen", set())
    monkeypatch.delenv("FULMEN_DIALECT", raising=False)
    yield
    speech.forget()
