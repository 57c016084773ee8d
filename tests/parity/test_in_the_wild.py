"""The snippets of ``tests/compat/wild_snippets.py`` find under PyTorch Lightning what they find under Fulmen."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from .scenarios import quiet

_PATH = Path(__file__).parents[1] / "compat" / "wild_snippets.py"
_SPEC = importlib.util.spec_from_file_location("wild_snippets_of_lightning", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
wild = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(wild)


@pytest.mark.parametrize("name", wild.SNIPPETS)
def test_a_snippet(lightning: ModuleType, name: str) -> None:
    snippet, expected = wild.SNIPPETS[name]
    torch.manual_seed(0)
    with quiet():
        assert snippet(lightning) == expected
