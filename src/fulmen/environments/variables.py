"""Reading what launchers put into the environment's variables."""

from __future__ import annotations

import os

from fulmen.utilities.exceptions import MisconfiguredRun


def text(variable: str, environment: str, start: str) -> str:
    """The text of a variable.

    Args:
        variable: The variable.
        environment: The class that reads it, for the error text.
        start: How to start the program so that it is there, for the error text.

    Raises:
        MisconfiguredRun: If it is not set.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise MisconfiguredRun(
            f"`{environment}` reads what the launcher puts into `{variable}`.",
            got=f"no {variable}",
            fix=f"{start}, or choose another environment, such as `Trainer(plugins=LightningEnvironment())`.",
        )
    return value


def number(variable: str, environment: str, start: str) -> int:
    """The number in a variable; see :func:`text`.

    Args:
        variable: The variable.
        environment: The class that reads it, for the error text.
        start: How to start the program so that it is there, for the error text.

    Raises:
        MisconfiguredRun: If it is not set, or holds no number.
    """
    value = text(variable, environment, start)
    if not value.isdigit():
        raise MisconfiguredRun(
            f"`{environment}` reads the number that the launcher puts into `{variable}`.",
            got=f"{variable}={value}",
            fix=f"{start}, or choose another environment, such as `Trainer(plugins=LightningEnvironment())`.",
        )
    return int(value)
