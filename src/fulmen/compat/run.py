"""``fulmen run``: a program in which Lightning's import names mean Fulmen, with every process that it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

USAGE = """usage: fulmen run script.py [arguments]
       fulmen run -m module [arguments]
       fulmen run command [arguments]

Runs a program as Python does, or a command such as `torchrun`. In it, and in every process that it starts,
`pytorch_lightning`, `lightning` and `lightning_fabric` are Fulmen. Nothing is changed on the disk.

A process inherits that through the variables FULMEN_ALIAS and PYTHONPATH: one that is started without them, or with
`python -I` or `-E`, has none of it. `fulmen alias install` makes it true for all that an environment runs.
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
        words: What follows `python` on its command line, or a command that is no file here.

    Raises:
        SystemExit: With the program's code where it has to be run in another process; else this one becomes it.
    """
    if not words or words[0] in ("-h", "--help"):
        (sys.stdout if words else sys.stderr).write(USAGE)
        raise SystemExit(0 if words else 2)
    command = _command(words)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(command[0], command, environment())
    raise SystemExit(subprocess.run(command, env=environment(), check=False).returncode)


def _command(words: Sequence[str]) -> list[str]:
    """The command line: Python's for all that it can run, and another one's where there is no such file."""
    first = words[0]
    if not first.startswith("-") and not os.path.exists(first):
        program = shutil.which(
            first, path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        )
        if program is not None:
            return [program, *words[1:]]
    return [sys.executable, *words]
