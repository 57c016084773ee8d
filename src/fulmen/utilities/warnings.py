"""Warnings of what may be meant just so."""

from __future__ import annotations

import warnings


class PossibleUserWarning(UserWarning):
    """What looks like a mistake, and may be on purpose."""


def disable_possible_user_warnings(module: str = "") -> None:
    """Silences all warnings of the category :class:`PossibleUserWarning`.

    Args:
        module: Only where the warning is about a module whose name matches this regular expression; everywhere where
            it is empty.

    Example:
        >>> disable_possible_user_warnings()
        >>> warnings.warn("quiet", PossibleUserWarning)
    """
    warnings.filterwarnings("ignore", module=module, category=PossibleUserWarning)
