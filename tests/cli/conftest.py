from __future__ import annotations

import sys

import pytest

pytest.importorskip("jsonargparse", reason="the command line is built on it")


@pytest.fixture(autouse=True)
def _no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without words, seed and terminal width of its own."""
    monkeypatch.setattr(sys, "argv", ["main.py"])
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
