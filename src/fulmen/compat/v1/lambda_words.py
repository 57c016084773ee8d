"""What Lightning 1.x's ``LambdaCallback`` has beyond today's."""

from __future__ import annotations

from typing import Any

from fulmen.compat import v1
from fulmen.compat.v1.speech import before


class WORDS:
    """Names that today's class does not have."""


class SIGNATURES:
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in v1.KEYWORDS["LambdaCallback"] & kwargs.keys():
            function = kwargs.pop(name)
            if function is not None:
                setattr(self, name, function)
        before("LambdaCallback", "__init__")(self, *args, **kwargs)
