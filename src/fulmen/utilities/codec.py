"""Plain data for checkpoints: what a safe load accepts, and forms for values that it does not.

A form is a dictionary with the key ``"__fulmen__"``, which says of what kind the value is. Making a value of a form
runs no code that a file could choose; what cannot be made so becomes an ``Unresolved``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fulmen.utilities.decoding import Decoder
from fulmen.utilities.encoding import Encoder
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.places import Section, Text
from fulmen.utilities.rank_zero import warn_once
from fulmen.utilities.safe_load import too_deep

ARGUMENTS = ("hyper_parameters", "datamodule_hyper_parameters")
_TRUE = ("1", "y", "yes", "true")


def encode(value: Any, name: str = "") -> tuple[Any, list[str]]:
    """Turns a value into one that ``torch.load(weights_only=True)`` accepts.

    What has no form by value is pickled into bytes, which only a load that trusts the file reads. What is plain already
    is not copied, and what is encoded already stays as it is.

    Args:
        value: A leaf, or a nest of collections, data classes and the like.
        name: What the value is called.

    Returns:
        The value to store, and for each part that cannot be stored its name and type, as ``"net (app.Lock)"``; a form
        that says so stands in its place.
    """
    encoder = Encoder()
    return encoder.encode(value, (None, Text(name)) if name else None), encoder.refused


def encode_checkpoint(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Encodes a whole checkpoint.

    Args:
        checkpoint: What is to be saved, by key.

    Returns:
        The same with plain data alone; tensors are not copied.

    Raises:
        MisconfigurationException: If a part cannot be stored; names it.
    """
    encoder, stored = Encoder(), {}
    for key, value in checkpoint.items():
        stored[key] = encoder.encode(value, (None, key if key in ARGUMENTS else Section(key)))
    if encoder.refused:
        raise MisconfigurationException(
            "A checkpoint holds data, and what can be pickled.",
            got=", ".join(encoder.refused),
            fix="Leave it out of what `state_dict` or `on_save_checkpoint` gives. In place of a function that is made "
            "in another one, give one at the top level of a module.",
        )
    if encoder.pickled:
        warn_once(
            f"These parts of the checkpoint are no data, and are stored as pickles: {', '.join(encoder.pickled)}. They "
            "come back only where the file is loaded with `weights_only=False`. Store what they are made of instead, "
            "in `state_dict` or `on_save_checkpoint`."
        )
    return stored


def decode(value: Any, trusted: bool = False, name: str = "") -> Any:
    """Turns back what :func:`encode` gave; everything else stays as it is.

    Args:
        value: What was stored.
        trusted: Whether code may run: modules are imported and pickles are read.
        name: What the value is called.

    Returns:
        The value, with an ``Unresolved`` in place of each part that could not be made.
    """
    return Decoder(trusted).decode(value, (None, Text(name)) if name else None)


def decode_checkpoint(checkpoint: Mapping[str, Any], trusted: bool = False) -> dict[str, Any]:
    """Turns back what :func:`encode_checkpoint` gave.

    Args:
        checkpoint: What was loaded.
        trusted: Whether code may run, as :func:`is_trusted` says.

    Returns:
        The checkpoint.

    Raises:
        MisconfiguredRun: If a part is nested too deep.
    """
    decoder, made = Decoder(trusted), {}
    for key, value in checkpoint.items():
        try:
            made[key] = decoder.decode(value, None if key in ARGUMENTS else (None, Section(key)))
        except RecursionError:
            raise too_deep(f"`{key}`") from None  # the frames of the walk would fill pages
    return made


def is_trusted(weights_only: bool | None) -> bool:
    """Whether a load may run code: by its argument, or by torch's own switches in the environment."""
    if os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "").lower() in _TRUE:
        return False
    if weights_only is None:
        return os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "").lower() in _TRUE
    return not weights_only
