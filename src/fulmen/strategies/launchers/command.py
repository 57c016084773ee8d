"""The command that started this program, so that it can be started again."""

from __future__ import annotations

import multiprocessing.process
import os
import subprocess
import sys
from typing import Any

from fulmen.utilities.exceptions import MisconfiguredRun


def is_interactive() -> bool:
    """Whether somebody sits at a prompt or a notebook, whose lines no other process could run."""
    ipython = sys.modules.get("IPython")
    return hasattr(sys, "ps1") or (ipython is not None and ipython.get_ipython() is not None)


def began_in() -> str | None:
    """The folder in which the program was started, as far as it is known; None for the present one.

    What a program does before a run, such as `os.chdir`, it does again in each process. Python takes note of the folder
    when torch or Fulmen is first imported.
    """
    folder: str | None = getattr(multiprocessing.process, "ORIGINAL_DIR", None)
    return folder if folder is not None and os.path.isdir(folder) else None


def own_command() -> list[str]:
    """The command line of this program, with Python's own options.

    Raises:
        MisconfiguredRun: If the program is in no file.
    """
    main: Any = sys.modules["__main__"]
    if is_interactive():
        raise MisconfiguredRun(
            '`strategy="ddp"` starts the program again for each process, which a notebook or a prompt cannot do.',
            fix='`Trainer(strategy="ddp_notebook")`, or put the code into a file and run that.',
        )
    if (getattr(main, "__file__", None) or "<").startswith("<"):  # "<stdin>"
        raise MisconfiguredRun(
            '`strategy="ddp"` starts the program again for each process, and this one is in no file.',
            got="a program that came with `python -c` or through a pipe",
            fix='Put the code into a file and run that, or pass `strategy="ddp_fork"`.',
        )
    if "--multiprocessing-fork" in sys.orig_argv:  # a process of multiprocessing has a command line of its own
        options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        return [sys.executable, *options, *_program(main), *sys.argv[1:]]
    return [sys.executable, *(_absolute(main, word) for word in sys.orig_argv[1:])]


def _program(main: Any) -> list[str]:
    spec = main.__spec__
    if spec is None or not spec.name or spec.name in ("__main__", "__mp_main__"):
        return [os.path.abspath(main.__file__)]
    return ["-m", spec.name.removesuffix(".__main__")]


def _absolute(main: Any, word: str) -> str:
    """A word of the command line; the script's own, whole, since the program may be in another folder by now."""
    is_script = main.__spec__ is None and word.endswith(os.path.basename(main.__file__)) and not os.path.isabs(word)
    if is_script and os.path.normpath(main.__file__).endswith(os.path.normpath(word).lstrip("./")):
        return os.path.abspath(str(main.__file__))
    return word
