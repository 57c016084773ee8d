"""What Lightning 1.x's ``LightningDataModule`` has beyond today's."""

from __future__ import annotations

import importlib
from typing import Any

from fulmen.compat.v1.datamodule_state import add_state, begin
from fulmen.compat.v1.hook_words import DATAMODULE, add_hooks
from fulmen.compat.v1.super_words import DATA


def _argparse() -> Any:
    return importlib.import_module("fulmen.compat.v1.argparse")


@add_hooks(DATAMODULE)
@add_state
class WORDS:
    """Names that today's class does not have."""

    @classmethod
    def add_argparse_args(cls: Any, parent_parser: Any, use_argument_group: bool = True, **kwargs: Any) -> Any:
        """Adds the arguments of the class to a command line."""
        return _argparse().add_argparse_args(cls, parent_parser, use_argument_group, **kwargs)

    @classmethod
    def from_argparse_args(cls: Any, args: Any, **kwargs: Any) -> Any:
        """Makes a data module from a parsed command line; `kwargs` go before it."""
        return _argparse().from_argparse_args(cls, args, **kwargs)

    @classmethod
    def parse_argparser(cls: Any, arg_parser: Any) -> Any:
        """Parses a command line."""
        return _argparse().parse_argparser(cls, arg_parser)

    @classmethod
    def get_init_arguments_and_types(cls: Any) -> Any:
        """The arguments with their types and defaults."""
        return _argparse().arguments_and_types(cls)


class SIGNATURES(DATA):
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
