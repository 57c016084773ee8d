from __future__ import annotations

from types import ModuleType

import pytest

from .scenarios import quiet


@pytest.fixture(scope="session")
def lightning() -> ModuleType:
    """PyTorch Lightning, the reference."""
    with quiet():
        module: ModuleType = pytest.importorskip("pytorch_lightning", reason="the reference of the parity tests")
    return module


@pytest.fixture(scope="session")
def fulmen() -> ModuleType:
    """The package under test."""
    import fulmen

    return fulmen
