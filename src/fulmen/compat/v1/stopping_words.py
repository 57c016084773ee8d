"""What Lightning 1.x's ``EarlyStopping`` has beyond today's."""

from __future__ import annotations

from typing import Any

from fulmen.compat.v1.checkpoint_words import give_state, mode_of, take_state
from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.speech import before


class WORDS:
    """Names that today's class does not have."""

    on_save_checkpoint, on_load_checkpoint = give_state, take_state


class SIGNATURES:
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""

    def __init__(self: Any, monitor: str | None = None, *args: Any, **kwargs: Any) -> None:
        if monitor is None:
            hint("`EarlyStopping()` without a metric", '`EarlyStopping("val_loss")`; it watches "early_stop_on".')
            monitor = "early_stop_on"
        if "mode" in kwargs:
            kwargs["mode"] = mode_of(monitor, kwargs["mode"])
        before("EarlyStopping", "__init__")(self, monitor, *args, **kwargs)
