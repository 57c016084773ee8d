"""Exceptions that users of Fulmen meet."""

from __future__ import annotations

from typing import Any

_NOTHING = object()


class MisconfigurationException(Exception):
    """A mistake in how something was set up or called.

    The message is built from three parts, so that every error of this kind reads the same way: the rule that was
    broken, what came instead, and what to do about it.

    Args:
        rule: The rule that was broken, as one sentence.
        got: What came instead. Shown with ``repr`` unless it is a string.
        fix: What to write or do instead.

    Example:
        >>> print(MisconfigurationException("`max_epochs` must be -1 or more.", got=-3, fix="Pass `max_epochs=10`."))
        `max_epochs` must be -1 or more.
        Received: -3
        What to do: Pass `max_epochs=10`.
    """

    def __init__(self, rule: str = "", got: Any = _NOTHING, fix: str | None = None) -> None:
        lines = [rule]
        if got is not _NOTHING:
            lines.append(f"Received: {got if isinstance(got, str) else repr(got)}")
        if fix is not None:
            lines.append(f"What to do: {fix}")
        super().__init__("\n".join(lines))


class SIGTERMException(SystemExit):
    """Raised in the main loop after the process was asked to end with ``SIGTERM``; exits with status 143."""

    def __init__(self) -> None:
        super().__init__(143)


class MisconfiguredValue(MisconfigurationException, ValueError):
    """A mistake that is also a ``ValueError``."""


class MisconfiguredType(MisconfigurationException, TypeError):
    """A mistake that is also a ``TypeError``."""


class MisconfiguredRun(MisconfigurationException, RuntimeError):
    """A mistake that is also a ``RuntimeError``."""


class MisconfiguredHook(MisconfigurationException, NotImplementedError):
    """A hook that there is no more; also a ``NotImplementedError``."""


class MisconfiguredAttribute(MisconfigurationException, AttributeError):
    """A mistake that is also an ``AttributeError``."""
