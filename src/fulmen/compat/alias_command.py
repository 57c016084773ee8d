"""``fulmen alias``: Lightning's import names mean Fulmen in everything that an environment runs."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from fulmen.compat.paths import DISTRIBUTIONS, normalized
from fulmen.compat.site_alias import install, interrupted, kept_aside, look, remove
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun

_DESCRIPTION = """Lets `pytorch_lightning`, `lightning` and `lightning_fabric` mean Fulmen in everything that this
environment runs: as importable packages with metadata, which libraries, pip and other tools find.

  install   puts the packages into the environment; where those of Lightning are installed, only with --replace
  remove    takes them out again, and puts back what was there before
  status    says what is there
"""
_KINDS = {"nothing": "not installed", "ours": "Fulmen", "real": "Lightning's own"}


def alias(words: Sequence[str]) -> None:
    """Runs the subcommand.

    Args:
        words: The words after `fulmen alias`.

    Raises:
        SystemExit: With 1 where nothing was done, and with 2 where the words cannot be read.
    """
    parser = argparse.ArgumentParser(
        "fulmen alias", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["install", "remove", "status"])
    parser.add_argument("--replace", action="store_true", help="move Lightning's own packages aside, and keep them")
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(list(words))
    folder: Path = asked.target or Path(sysconfig.get_paths()["purelib"])
    try:
        sys.stdout.write(_run(asked.action, folder, asked.replace, asked.target is None))
    except MisconfigurationException as error:
        sys.stderr.write(f"{_status(folder)}\n{error}\n")
        raise SystemExit(1) from None
    except PermissionError as error:
        sys.stderr.write(
            f"The environment's folder cannot be written: {error.filename}\n"
            "What to do: Use an environment of your own (`python -m venv`), or `fulmen run script.py`.\n"
        )
        raise SystemExit(1) from None


def _run(action: str, folder: Path, replace: bool, in_use: bool) -> str:
    if action == "status":
        return _status(folder)
    if action == "remove":
        back = remove(folder)
        return f"{_status(folder)}{_listed('Put back', back)}"
    if in_use:
        _refuse_hidden(folder)
    aside = install(folder, replace)
    return f"{_status(folder)}{_listed('Kept aside', aside)}"


def _status(folder: Path) -> str:
    lines = [f"{folder}"]
    lines += [f"  {one.distribution:<18} {one.version or '':<10} {_KINDS[one.kind]}" for one in look(folder)]
    aside = [name for name in kept_aside(folder) if name.endswith("-info")]
    if aside:
        lines.append(f"  kept aside: {', '.join(aside)}; `fulmen alias remove` puts back what was there")
    if interrupted(folder):
        lines.append("  An earlier call did not come to its end; `fulmen alias remove` or `install` completes it.")
    return "\n".join(lines) + "\n"


def _listed(what: str, names: list[str]) -> str:
    return f"{what}: {', '.join(names)}\n" if names else ""


def _refuse_hidden(folder: Path) -> None:
    """What lies in a folder that Python looks through before, as the user's own, would hide the packages."""
    before: list[str] = []
    for place in sys.path:
        if os.path.realpath(place or os.getcwd()) == os.path.realpath(folder):
            break
        before.append(place)
    hiding = [
        f"{found.metadata['Name']} {found.version} in {place}"
        for place in before
        for found in importlib.metadata.distributions(path=[place])
        if normalized(found.metadata["Name"] or "") in DISTRIBUTIONS
    ]
    if hiding:
        raise MisconfiguredRun(
            f"Packages in {folder} would not be found: others of these names come first.",
            got=hiding,
            fix="Uninstall those, or use an environment without them.",
        )
