"""Programs that would start themselves again and again: those without ``if __name__ == "__main__":``."""

from __future__ import annotations

import multiprocessing
import os

from fulmen.utilities.exceptions import MisconfiguredRun


class Bootstrap:
    """Notices that a new process came to a launcher before it had begun with its work.

    Args:
        folder: Where the new processes leave a note; they find it in a variable.
    """

    VARIABLE = "FULMEN_LAUNCH_FOLDER"

    def __init__(self, folder: str) -> None:
        self._note = _note(folder)

    def check(self) -> None:
        """Raises if one did.

        Raises:
            MisconfiguredRun: If so.
        """
        if os.path.exists(self._note):
            raise _error()


def check_main_guard() -> None:
    """Ends a process that imports the program that it is to help, and would start processes in doing so.

    Raises:
        MisconfiguredRun: If this is one, and the process that started it is not waiting for a note.
    """
    if not getattr(multiprocessing.current_process(), "_inheriting", False):
        return
    folder = os.environ.get(Bootstrap.VARIABLE)
    if folder is None or not os.path.isdir(folder):
        raise _error()
    with open(_note(folder), "w", encoding="utf-8"):
        pass
    os._exit(1)  # the other process says it, once


def _note(folder: str) -> str:
    return os.path.join(folder, "no_main_guard")


def _error() -> MisconfiguredRun:
    return MisconfiguredRun(
        "New processes import the program, and so must not start the run again by that.",
        got="a run that starts while the program is imported",
        fix='Put what starts the run into a function `main()`, and end the file with `if __name__ == "__main__": '
        "main()`.",
    )
