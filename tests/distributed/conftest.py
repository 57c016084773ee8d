"""Groups that many tests share: to fork one takes a while, to use it again takes none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .groups import Group


@pytest.fixture(scope="session")
def together() -> Iterator[Callable[..., Any]]:
    """`together(world_size, function, *args)`: what the function gives on each rank of a group that lives on."""
    groups: dict[int, Group] = {}

    def call(world_size: int, function: Callable[..., Any], *args: Any, timeout: float = 60.0) -> Any:
        if world_size not in groups or not groups[world_size].is_alive:
            groups[world_size] = Group(world_size)
        return groups[world_size].run(function, *args, timeout=timeout)

    yield call
    for group in groups.values():
        group.close()
