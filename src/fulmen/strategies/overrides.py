"""What somebody's own strategy overrides, which runs go through; all others know the shorter way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.strategies.strategy import Strategy


def override(owner: Any, name: str) -> Callable[..., Any] | None:
    """A method of a strategy, or of its launcher, where somebody wrote it anew, else None.

    Args:
        owner: Whose method.
        name: The method's name.
    """
    method: Callable[..., Any] = getattr(owner, name)
    return None if str(getattr(method, "__module__", "")).startswith("fulmen.") else method


def through(strategy: Strategy, name: str, inner: Callable[..., Any], *parts: str) -> Callable[..., Any]:
    """What a run calls for something that a strategy may do in another way.

    Args:
        strategy: The strategy.
        name: Its method.
        inner: What the run does without it, and the method of that name in `Strategy` with it.
        *parts: Methods that the one in `Strategy` calls, and that may be overridden in its place.

    Returns:
        The method where one of these is overridden, else `inner` itself.
    """
    if not any(override(strategy, one) for one in (name, *parts)):
        return inner
    method, inside = getattr(strategy, name), strategy._inside

    def call(*args: Any, **kwargs: Any) -> Any:
        inside[name] = inner
        try:
            return method(*args, **kwargs)
        finally:
            inside.pop(name, None)

    return call


def then(first: Callable[..., Any], second: Callable[..., Any] | None) -> Callable[..., Any]:
    """Calls one function after another with the same arguments, and returns what the first returned.

    Args:
        first: The first.
        second: The second; where it is None, the first alone is handed back.
    """
    if second is None:
        return first

    def both(*args: Any) -> Any:
        answer = first(*args)
        second(*args)
        return answer

    return both
