from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

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


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The models are tiny, and a sum over one thread has one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
