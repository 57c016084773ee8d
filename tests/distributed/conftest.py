"""Groups that many tests share: to fork one takes a while, to use it again takes none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .groups import Group


@pytest.fixture(scope="session")
def together() -> Iterator[Callable[..., Any]]:
    """`together(world_size, function, *args)`: what the function gives on each rank of a group that lives on.

    With `fails=True` a run fails in it: its processes are no group any more, and the next test gets new ones.
    """
    groups: dict[int, Group] = {}

    def call(
        world_size: int, function: Callable[..., Any], *args: Any, timeout: float = 60.0, fails: bool = False
    ) -> Any:
        if world_size not in groups or not groups[world_size].is_alive:
            groups[world_size] = Group(world_size)
        found = groups[world_size].run(function, *args)
        if fails:
            groups.pop(world_size).close(kill=True)
        return found

    yield call
    for group in groups.values():
        group.close()
