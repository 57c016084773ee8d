"""What Lightning 1.x's ``LightningDataModule`` has beyond today's."""

from __future__ import annotations

from typing import Any

from fulmen.compat.v1.datamodule_state import add_state, begin
from fulmen.compat.v1.hook_words import DATAMODULE, add_hooks


@add_hooks(DATAMODULE)
@add_state
class WORDS:
    """Names that today's class does not have."""


class SIGNATURES:
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""

    def __init__(
        self,
        train_transforms: Any = None,
        val_transforms: Any = None,
        test_transforms: Any = None,
        dims: Any = None,
        **kwargs: Any,
    ) -> None:
        begin(self, {
            "train_transforms": train_transforms, "val_transforms": val_transforms,
            "test_transforms": test_transforms, "dims": dims,
        })  # fmt: skip
