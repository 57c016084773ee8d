"""Python processes that need not import torch: they are forked off one that has.

To import torch takes seconds, and Lightning more; a fork takes none. What a test gets is a process of its own all the
same, with exit code, signals, files and the end of the interpreter. Tests of imports start a Python of their own.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_started: dict[tuple[str, ...], subprocess.Popen[str]] = {}


def run(
    code: str,
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    modules: tuple[str, ...] = ("torch", "fulmen"),
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Runs ``python -c code arguments``, and waits for its end.

    Args:
        code: A script.
        *arguments: Its ``sys.argv[1:]``.
        cwd: Its folder.
        env: Its environment; None for that of this process.
        modules: What is imported already.
        timeout: Seconds after which it is killed, and counts as killed.
    """
    process = _started.get(modules)
    if process is None or process.poll() is not None:
        process = _started[modules] = _start(modules)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        request = {
            "code": code, "argv": ["-c", *arguments], "cwd": str(cwd), "env": dict(os.environ if env is None else env),
            "out": str(out), "err": str(err), "timeout": timeout,
        }  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        code_of_exit = int(process.stdout.readline())
        texts = [file.read_text(errors="replace") for file in (out, err)]
    return subprocess.CompletedProcess(["python", "-c", code, *arguments], code_of_exit, *texts)


def _start(modules: tuple[str, ...]) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    atexit.register(_stop, process)
    return process


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()  # closes its pipes


def _serve(modules: list[str]) -> dict[str, Any]:
    """Forks a process for each request. Returns in that, with the request."""
    import gc
    import importlib
    import signal
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    gc.freeze()
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            return request
        signal.signal(signal.SIGALRM, lambda *_, child=child: os.kill(child, signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, request["timeout"])
        _, status = os.waitpid(child, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()
    os._exit(0)


def _become(request: dict[str, Any]) -> dict[str, Any]:
    """Makes this process what a Python that was just started would be. Returns the names of ``__main__``."""
    import signal
    import types

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    tempfile.tempdir = None  # where the environment says
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, file, mode in ((0, os.devnull, os.O_RDONLY), (1, request["out"], flags), (2, request["err"], flags)):
        opened = os.open(file, mode, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = request["argv"]
    sys.path.insert(0, "")
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    return main.__dict__


if __name__ == "__main__":
    _request = _serve(sys.argv[1:])
    exec(compile(_request["code"], "<string>", "exec"), _become(_request))
