"""The state of numpy's generator: read quickly where nothing was drawn, and in a form for checkpoints."""

from __future__ import annotations

import ctypes
from typing import Any

import torch

# The bits of numpy's Mersenne twister: 624 words and the position among them.
_TWISTER_BYTES = 625 * 4


class _Noted:
    """The state that was read last: to read it anew costs more than to see that nothing was drawn since."""

    bits: bytes | None = None
    state: Any = None


def numpy_state() -> dict[str, Any]:
    """The state of numpy's generator, as ``numpy.random.get_state(legacy=False)`` gives it; not to be changed."""
    import numpy

    bits = _bits(numpy.random)
    # A normal number may be kept for the next call, which then draws no bits.
    if bits is not None and bits == _Noted.bits and not _Noted.state["has_gauss"]:
        known: dict[str, Any] = _Noted.state
        return known
    state = numpy.random.get_state(legacy=False)
    assert isinstance(state, dict)
    _Noted.bits, _Noted.state = bits, state
    return state


def _bits(module: Any) -> bytes | None:
    find = getattr(module, "get_bit_generator", None)
    generator: Any = None if find is None else find()
    if type(generator).__name__ != "MT19937":
        return None
    return ctypes.string_at(generator.ctypes.state_address, _TWISTER_BYTES)


def set_numpy_state(state: dict[str, Any]) -> None:
    """Gives numpy's generator a state."""
    import numpy

    numpy.random.set_state(state)
    _Noted.bits = None  # it may differ from the state read last in the number that is kept alone


def plain_numpy_state(found: dict[str, Any]) -> dict[str, Any]:
    """A state of numpy's generator as tensors and plain values, which a safe load reads back."""
    return {**found, "state": {name: _to_tensor(value) for name, value in found["state"].items()}}


def whole_numpy_state(state: dict[str, Any]) -> dict[str, Any]:
    """What :func:`plain_numpy_state` took apart, as numpy takes it."""
    import numpy

    inner = {
        name: value.numpy().astype(numpy.uint32) if isinstance(value, torch.Tensor) else value
        for name, value in state["state"].items()
    }
    return {**state, "state": inner}


def _to_tensor(value: Any) -> Any:
    import numpy

    # int64 holds every uint32; a tensor can be read back without pickled code.
    return torch.from_numpy(value.astype(numpy.int64)) if isinstance(value, numpy.ndarray) else int(value)
