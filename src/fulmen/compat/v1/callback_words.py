"""What Lightning 1.x's ``Callback`` has beyond today's."""

from __future__ import annotations

from fulmen.compat.v1.hook_words import CALLBACK as HOOKS
from fulmen.compat.v1.hook_words import add_hooks
from fulmen.compat.v1.super_words import CALLBACK


@add_hooks(HOOKS)
class WORDS:
    """Names that today's class does not have."""


class SIGNATURES(CALLBACK):
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""
