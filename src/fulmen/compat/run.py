"""``fulmen run``: a program in which Lightning's import names mean Fulmen, with every process that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

USAGE = """usage: fulmen run script.py [arguments]
       fulmen run -m module [arguments]

Runs a program as Python does. In it, and in every process that it starts, `pytorch_lightning`, `lightning` and
`lightning_fabric` are Fulmen. Nothing is changed on the disk.
"""


def environment() -> dict[str, str]:
    """The environment of a program in which Lightning's names mean Fulmen."""
    startup = str(Path(__file__).parent / "startup")
    before = os.environ.get("PYTHONPATH", "")
    folders = [startup, *(folder for folder in before.split(os.pathsep) if folder and folder != startup)]
    return {**os.environ, "FULMEN_ALIAS": "1", "PYTHONPATH": os.pathsep.join(folders)}


def run(words: Sequence[str]) -> NoReturn:
    """Runs a program.

    Args:
        words: What follows `python` on its command line.

    Raises:
        SystemExit: With the program's code where it has to be run in another process; else this one becomes it.
    """
    if not words or words[0] in ("-h", "--help"):
        (sys.stdout if words else sys.stderr).write(USAGE)
        raise SystemExit(0 if words else 2)
    command = [sys.executable, *words]
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(sys.executable, command, environment())
    raise SystemExit(subprocess.run(command, env=environment(), check=False).returncode)
