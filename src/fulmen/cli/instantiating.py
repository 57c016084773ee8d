"""Makes the objects of a command line; a mistake in what was typed ends the program with a message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fulmen.cli.types import jsonargparse
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.given import Given, making

if TYPE_CHECKING:
    from fulmen.cli.lightning_cli import LightningCLI
    from fulmen.trainer.trainer import Trainer


def instantiated(cli: LightningCLI) -> Any:
    """The configuration with objects in place of their settings.

    Args:
        cli: The command line.

    Returns:
        The configuration.
    """
    parser = cli.parser
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    with mistakes_end(cli), making(*_given(cli)):
        return instantiate(cli.config)


def trainer_made(cli: LightningCLI, arguments: dict[str, Any]) -> Trainer:
    """The Trainer.

    Args:
        cli: The command line.
        arguments: The arguments.

    Returns:
        The Trainer.
    """
    with mistakes_end(cli):
        return cli.trainer_class(**arguments)


def _given(cli: LightningCLI) -> Iterator[Given]:
    """The settings of module and data module, for their hyper-parameters."""
    if not cli.load_from_checkpoint_support:
        return
    for key, chosen in (("model", cli._model_class), ("data", cli._datamodule_class)):
        settings = cli.config_dump.get(key)
        in_subclass_mode = cli.subclass_mode_model if key == "model" else cli.subclass_mode_data
        if not isinstance(settings, dict):
            continue
        if in_subclass_mode:
            path = settings["class_path"]
            place, _, name = path.rpartition(".")
            cls = getattr(__import__(place, fromlist=[name]), name)
            settings = {**settings.get("init_args", {}), **settings.get("dict_kwargs", {})}
            yield Given(cls, settings, path)
        elif isinstance(chosen, type):
            yield Given(chosen, settings)


@contextmanager
def mistakes_end(cli: LightningCLI) -> Iterator[None]:
    """A mistake that Fulmen reports inside the block is one of what was typed, unless code of the user made it.

    Args:
        cli: The command line; one that is called with arguments from Python raises the exception.
    """
    try:
        yield
    except Exception as error:
        reported: BaseException | None = error
        while reported is not None and not isinstance(reported, MisconfigurationException):
            reported = reported.__cause__  # jsonargparse wraps what a class raises
        if reported is None:
            raise
        if not cli._typed:
            raise reported from None
        if not _only_ours(reported.__traceback__):
            raise
        cli._parser(cli.subcommand).error(str(reported), error)


def _only_ours(traceback: TracebackType | None) -> bool:
    ours = tuple(
        os.path.join(os.path.dirname(os.path.abspath(path)), "")
        for path in (os.path.dirname(__file__), jsonargparse.__file__, os.__file__)
    )
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(ours) or (
            "site-packages" in file and "jsonargparse" not in file and "fulmen" not in file
        ):
            return False
        traceback = traceback.tb_next
    return True
