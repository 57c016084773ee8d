"""The random generators of this process's host, noted and put back, cheaply enough to be done often."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from fulmen.utilities.imports import available
from fulmen.utilities.numpy_rng import numpy_state, plain_numpy_state, set_numpy_state, whole_numpy_state


class HostRng(NamedTuple):
    """A state of the generators of Python, PyTorch on the host and numpy; None for numpy where it is not in use."""

    python: Any
    torch: torch.Tensor
    numpy: Any

    def put(self) -> None:
        """Gives the generators this state."""
        random.setstate(self.python)
        torch.set_rng_state(self.torch)
        if self.numpy is not None and "numpy" in sys.modules:
            set_numpy_state(self.numpy)

    def plain(self) -> dict[str, Any]:
        """The state as tensors and plain values."""
        version, words, gauss = self.python
        python = [version, torch.tensor(words, dtype=torch.int64), gauss]
        state: dict[str, Any] = {"python": python, "torch": self.torch}
        if self.numpy is not None:
            state["numpy"] = plain_numpy_state(self.numpy)
        return state

    @classmethod
    def of(cls, plain: dict[str, Any]) -> HostRng:
        """What :meth:`plain` made."""
        version, words, gauss = plain["python"]
        numpy = whole_numpy_state(plain["numpy"]) if "numpy" in plain and available("numpy") else None
        return cls((version, tuple(words.tolist()), gauss), plain["torch"], numpy)


def note() -> HostRng:
    """The present state of the host's generators."""
    return HostRng(random.getstate(), torch.get_rng_state(), numpy_state() if "numpy" in sys.modules else None)


def same(one: HostRng, other: HostRng) -> bool:
    """Whether nothing was drawn between two notes."""
    return (
        one.python == other.python
        and torch.equal(one.torch, other.torch)
        and (one.numpy is other.numpy or _numpy_bytes(one.numpy) == _numpy_bytes(other.numpy))
    )


def _numpy_bytes(state: Any) -> bytes:
    return pickle.dumps(state)


def note_generators(generators: Iterable[torch.Generator]) -> list[torch.Tensor]:
    """The states of torch generators."""
    return [generator.get_state() for generator in generators]


def put_generators(generators: Iterable[torch.Generator], states: Iterable[torch.Tensor]) -> None:
    """Gives torch generators states that were noted, as far as there are both."""
    for generator, state in zip(generators, states, strict=False):
        generator.set_state(state)


def pack(state: HostRng) -> bytes:
    """A state as bytes, to hand it to another process of one's own."""
    return pickle.dumps((state.python, state.torch.numpy().tobytes(), state.numpy))


def unpacked(state: bytes) -> HostRng:
    """What :func:`pack` made."""
    python, bits, numpy = pickle.loads(state)
    return HostRng(python, torch.frombuffer(bytearray(bits), dtype=torch.uint8), numpy)
