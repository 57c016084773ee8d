from __future__ import annotations

import gc
from types import ModuleType

import pytest

from .scenarios import quiet


@pytest.fixture(scope="session")
def lightning() -> ModuleType:
    """PyTorch Lightning, the reference."""
    with quiet():
        module: ModuleType = pytest.importorskip("pytorch_lightning", reason="the reference of the parity tests")
    gc.collect()
    gc.freeze()  # as the conftest above does after its imports
    return module


@pytest.fixture(scope="session")
def fulmen() -> ModuleType:
    """The package under test."""
    import fulmen

    return fulmen
