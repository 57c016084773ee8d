"""``make api``: which of Lightning's public names, parameters and members are there, module by module."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))
    _comparing = importlib.import_module("tests.api.comparing")
    _listing = importlib.import_module("tests.api.listing")
else:
    from . import comparing as _comparing
    from . import listing as _listing


class Row(NamedTuple):
    """The figures of one module.

    Attributes:
        module: The module.
        names: How many names are to be there.
        names_there: How many of them are.
        members: How many parameters lists and members of these names are to be as listed.
        members_there: How many of them are.
        left_out: How many names come later.
        problems: What is not as listed.
    """

    module: str
    names: int
    names_there: int
    members: int
    members_there: int
    left_out: int
    problems: tuple[str, ...]


def rows() -> list[Row]:
    """The figures of all modules."""
    by_module = defaultdict(list)
    for entry in _listing.entries():
        by_module[entry.module].append(entry)
    return [_row(module, found) for module, found in by_module.items()]


def _row(module: str, found: Iterable[_listing.Entry]) -> Row:
    names = there = members = members_there = left_out = 0
    texts: list[str] = []
    for entry in found:
        if entry.later:
            left_out += 1
            continue
        wrong = list(_comparing.problems(entry))
        count = ("params" in entry.facts or "init" in entry.facts) + len(entry.facts.get("members", ()))
        names, members = names + 1, members + count
        there += wrong != ["missing"]
        members_there += 0 if wrong == ["missing"] else count - len({entry.key(text) for text in wrong})
        texts += [f"{entry.name}: {text}" for text in wrong]
    return Row(module, names, there, members, members_there, left_out, tuple(texts))


def table(found: list[Row]) -> str:
    """The figures as text."""
    lines = [f"{'module':<62} {'names':>9} {'signatures':>11} {'later':>6}"]
    for row in found:
        there, members = f"{row.names_there}/{row.names}", f"{row.members_there}/{row.members}"
        lines.append(f"{row.module:<62} {there:>9} {members:>11} {row.left_out or '':>6}")
        lines += [f"    {text}" for text in row.problems]
    names, names_there = sum(row.names for row in found), sum(row.names_there for row in found)
    members, members_there = sum(row.members for row in found), sum(row.members_there for row in found)
    left_out = sum(row.left_out for row in found)
    share = (names_there + members_there) / (names + members)
    lines += [
        "",
        f"names {names_there} of {names}, signatures and members {members_there} of {members}: {share:.1%}",
        f"left out: {left_out} names, which follow with their devices",
    ]
    return "\n".join(lines)


def main() -> int:
    """Prints the table; the exit code says whether all is there."""
    warnings.simplefilter("ignore")
    found = rows()
    print(table(found))
    return int(any(row.problems for row in found))


if __name__ == "__main__":
    sys.exit(main())
