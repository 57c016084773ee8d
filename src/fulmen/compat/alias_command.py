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
from fulmen.compat.site_alias import Found, install, interrupted, kept_aside, look, remove
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun

_DESCRIPTION = """Lets `pytorch_lightning`, `lightning` and `lightning_fabric` mean Fulmen in everything that this
environment runs: as importable packages with metadata, which libraries, pip and other tools find.

  install   puts the packages into the environment; where those of Lightning are installed, there or in
            another folder of Python's path, only with --replace
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
    parser.add_argument(
        "--replace", action="store_true", help="move Lightning's own packages aside, or hide those elsewhere"
    )
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(list(words))
    folder: Path = asked.target or Path(sysconfig.get_paths()["purelib"])
    in_use = asked.target is None
    try:
        sys.stdout.write(_run(asked.action, folder, asked.replace, in_use))
    except MisconfigurationException as error:
        sys.stderr.write(f"{_status(folder, in_use)}\n{error}\n")
        raise SystemExit(1) from None
    except PermissionError as error:
        sys.stderr.write(
            f"The environment's folder cannot be written: {error.filename}\n"
            "What to do: Use an environment of your own (`python -m venv`), or `fulmen run script.py`.\n"
        )
        raise SystemExit(1) from None


def _run(action: str, folder: Path, replace: bool, in_use: bool) -> str:
    if action == "status":
        return _status(folder, in_use)
    if action == "remove":
        back = remove(folder)
        return f"{_status(folder, in_use)}{_listed('Put back', back)}"
    if in_use:
        _refuse_hidden(folder)
    aside = install(folder, replace, _elsewhere(_places(folder)[1]) if in_use else ())
    return f"{_status(folder, in_use)}{_listed('Kept aside', aside)}"


def _status(folder: Path, in_use: bool) -> str:
    here = look(folder)
    lines = [f"{folder}", *(_line(one) for one in here)]
    if in_use:
        ours = [one.distribution for one in here if one.kind == "ours"]
        before, after = _places(folder)
        lines += [f"{_line(one)}, in {one.place}" for one in _elsewhere(before)]
        for one in _elsewhere(after):
            lines.append(f"{_line(one)}, in {one.place}{', hidden' if one.distribution in ours else ''}")
    aside = [name for name in kept_aside(folder) if name.endswith("-info")]
    if aside:
        lines.append(f"  kept aside: {', '.join(aside)}; `fulmen alias remove` puts back what was there")
    if interrupted(folder):
        lines.append("  An earlier call did not come to its end; `fulmen alias remove` or `install` completes it.")
    return "\n".join(lines) + "\n"


def _line(one: Found) -> str:
    return f"  {one.distribution:<18} {one.version or '':<10} {_KINDS[one.kind]}"


def _listed(what: str, names: list[str]) -> str:
    return f"{what}: {', '.join(names)}\n" if names else ""


def _places(folder: Path) -> tuple[list[str], list[str]]:
    """The folders that Python looks through before a folder of packages, and those after it."""
    own, places = os.path.realpath(folder), [os.path.realpath(place or os.getcwd()) for place in sys.path]
    at = places.index(own) if own in places else len(places)
    return places[:at], [place for place in dict.fromkeys(places[at:]) if place not in places[:at] and place != own]


def _elsewhere(places: list[str]) -> list[Found]:
    """Lightning's own packages in folders that Python looks through."""
    found = [one for place in places for one in look(Path(place)) if one.kind == "real"]
    # without metadata: of a checkout, unless it is some folder of this name
    return [
        one for one in found if one.version or (one.place / DISTRIBUTIONS[one.distribution] / "__init__.py").is_file()
    ]


def _refuse_hidden(folder: Path) -> None:
    """What lies in a folder that Python looks through before, as the user's own, would hide the packages."""
    hiding = [
        f"{found.metadata['Name']} {found.version} in {place}"
        for place in _places(folder)[0]
        for found in importlib.metadata.distributions(path=[place])
        if normalized(found.metadata["Name"] or "") in DISTRIBUTIONS
    ]
    if hiding:
        raise MisconfiguredRun(
            f"Packages in {folder} would not be found: others of these names come first.",
            got=hiding,
            fix="Uninstall those, or use an environment without them.",
        )
