"""What loaders remember from one pass to the next: their generators, states of their own, and workers that live on."""

from __future__ import annotations

from itertools import chain, repeat
from typing import Any

from fulmen.data.parts import flat, generators_of, remembering_parts
from fulmen.data.worker_stream import inheritance_of
from fulmen.utilities import rng


def dump_loaders(loaders: list[Any], inherited: list[Any] | None = None) -> list[dict[str, Any]]:
    """What loaders remember, as tensors and plain values.

    Args:
        loaders: Loaders, among them combined ones.
        inherited: What :func:`load_loaders` gave, as far as no pass has made use of it yet.

    Returns:
        For each single loader.
    """
    return [
        {
            "generators": rng.note_generators(generators_of(loader)),
            "parts": [part.state_dict() for part in remembering_parts(loader)],
            "workers": inheritance_of(loader) or heir,
        }
        for loader, heir in zip(flat(loaders), chain(inherited or (), repeat(None)), strict=False)
    ]


def load_loaders(loaders: list[Any], states: list[dict[str, Any]]) -> list[Any]:
    """Gives loaders back what :func:`dump_loaders` found.

    Args:
        loaders: The loaders.
        states: What was found.

    Returns:
        What is to be known of workers that live on, for each single loader; see ``Feed(inherited=)``.
    """
    inherited = []
    for loader, state in zip(flat(loaders), states, strict=False):
        rng.put_generators(generators_of(loader), state["generators"])
        for part, own in zip(remembering_parts(loader), state["parts"], strict=False):
            part.load_state_dict(own)
        inherited.append(state["workers"] or ({"loaded": True} if state["parts"] else None))
    return inherited
