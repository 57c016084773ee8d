"""``make compat``: every name of Lightning 1.5.10 and 1.9.5, whether it works here, and what to write today."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))
    _proofs = importlib.import_module("tests.compat.v1.coverage.proofs")
else:
    from .v1.coverage import proofs as _proofs

VERSIONS = ("1.5", "1.9")


def table(found: dict[Any, Any]) -> str:
    """The entries of a version as text, and the share of them that is there."""
    lines = [f"{entry.key:<62} {outcome.kind:<8} {' '.join(outcome.text.split())}" for entry, outcome in found.items()]
    counts = {kind: sum(outcome.kind == kind for outcome in found.values()) for kind in ("works", "remedy", "missing")}
    there = counts["works"] + counts["remedy"]
    shown = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    lines += ["", f"{there} of {len(found)} entries ({there / len(found):.1%}): {shown}"]
    missing = [f"    {entry.key}: {outcome.text}" for entry, outcome in found.items() if outcome.kind == "missing"]
    return "\n".join([*lines, *missing, ""])


def main() -> int:
    """Prints the tables; the exit code says whether anything is missing."""
    warnings.simplefilter("ignore")
    logging.getLogger("fulmen").setLevel(logging.ERROR)
    missing = 0
    for version in VERSIONS:
        found = _proofs.outcomes(version)
        print(f"Lightning {version}\n\n{table(found)}")
        missing += sum(outcome.kind == "missing" for outcome in found.values())
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
