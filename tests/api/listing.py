"""The list of Lightning's public names (``tests/data/lightning-2.6.json``), and what of it is to be there.

Names of ``pytorch_lightning.x`` are looked for in ``fulmen.x``; those of ``lightning_fabric.x``, of which the list
holds what third parties import, there too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

LIST = Path(__file__).parents[1] / "data" / "lightning-2.6.json"

# What needs a device or a package of its own follows with it.
LATER = re.compile(r"xla|deepspeed|fsdp|model_?parallel|transformer_?engine|bitsandbytes", re.IGNORECASE)
# These have one of those words in their name, and need neither.
NOW = re.compile(r"model_summary_deepspeed|DistributedDataParallel")


class Entry(NamedTuple):
    """One name of the list.

    Attributes:
        module: The module of Fulmen that it is imported from.
        name: The name.
        facts: What the list says of it: of a re-export what it says of the original.
        origin: The module and name of Fulmen that it re-exports, dotted; its own where it is no re-export.
    """

    module: str
    name: str
    facts: dict[str, Any]
    origin: str

    @property
    def path(self) -> str:
        """Module and name, dotted."""
        return f"{self.module}.{self.name}"

    def key(self, problem: str) -> str:
        """What a problem is about: the name, or ``Class.member``."""
        member = problem.partition(":")[0] if ":" in problem.partition(" ")[0] else ""
        return f"{self.origin.rpartition('.')[2]}{member and '.'}{member}"

    @property
    def later(self) -> bool:
        """Whether it belongs to a device or a package that is not there yet."""
        return any(LATER.search(path) and not NOW.search(path) for path in (self.path, self.origin))


def ours(path: str) -> str:
    """The path in Fulmen for one of the list."""
    path = path.replace("lightning_fabric.plugins.environments.", "lightning_fabric.environments.")
    return re.sub(r"^(pytorch_lightning|lightning_fabric)\b", "fulmen", path)


@cache
def entries() -> tuple[Entry, ...]:
    """All names of the list, in its order."""
    return tuple(_read())


def wanted() -> list[Entry]:
    """The names that are to be there now."""
    return [one for one in entries() if not one.later]


def _read() -> Iterator[Entry]:
    data = json.loads(LIST.read_text(encoding="utf-8"))
    for package in ("pytorch_lightning", "lightning_fabric"):
        modules = data[package]
        for module, names in modules.items():
            for name, facts in names.items():
                origin = f"{module}.{name}"
                while "same_as" in facts:
                    origin = facts["same_as"]
                    home, _, original = origin.rpartition(".")
                    facts = modules[home][original]
                yield Entry(ours(module), name, facts, ours(origin))
