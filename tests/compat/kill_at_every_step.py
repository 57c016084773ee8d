"""Run as a program: packages are put in place and taken out, and the process is killed before every change of the disk.

With `FULMEN_SOAK`, that is; without it before every renaming, whose order is what counts, and before some of the
others. Prints how many places there were. What must hold after each kill is asserted here, in a process without
threads, so that it can fork.
"""

import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from fulmen.compat.site_alias import install, interrupted, kept_aside, look, remove

CHANGES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove"}
EVERY = 1 if os.environ.get("FULMEN_SOAK") else 11
Tree = dict[str, str]


def tree(folder: Path) -> Tree:
    """All that is in a folder, with digests."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "/"
        for path in folder.rglob("*")
    }


def killed(action: Callable[[], object], at: int) -> bool:
    """Runs something in a child that is killed before its n-th change of the disk; whether there was one."""
    child = os.fork()
    if child == 0:
        seen = 0
        others: list[bool] = []

        def hook(event: str, args: tuple[object, ...]) -> None:
            nonlocal seen
            writes = event == "open" and isinstance(args[1], str) and "w" in args[1]
            others.append(event in CHANGES or writes)
            if event == "os.rename" or (others[-1] and sum(others) % EVERY == 0):
                seen += 1
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            action()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def course(start: Path, folder: Path, action: Callable[[], object], check: Callable[[], None]) -> int:
    """Kills an action at every step, each time from the same start, and checks what is left."""
    at = 0
    while True:
        at += 1
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(start, folder)
        if not killed(action, at):
            return at - 1
        check()


def main(work: Path) -> None:
    os.fsync = lambda file: None  # a killed process loses nothing that it wrote; a machine without power would
    real, folder, with_ours = work / "real", work / "packages", work / "ours"
    for name in (
        "pytorch_lightning/callbacks/__pycache__",
        "pytorch_lightning-2.5.1.dist-info",
        "lightning_fabric",
        "x",
    ):
        (real / name).mkdir(parents=True)
    (real / "pytorch_lightning" / "__init__.py").write_text("real")
    (real / "pytorch_lightning" / "callbacks" / "__pycache__" / "a.pyc").write_bytes(b"\0\1")
    (real / "pytorch_lightning-2.5.1.dist-info" / "METADATA").write_text("Name: pytorch-lightning\nVersion: 2.5.1\n")
    (real / "lightning_fabric" / "__init__.py").write_text("real fabric")
    before = tree(real)
    (work / "empty").mkdir()
    contents = {digest for digest in before.values() if digest != "/"}

    def nothing_is_lost() -> None:
        assert contents <= set(tree(folder).values())

    def back_to(expected: Tree) -> Callable[[], None]:
        def check() -> None:
            if expected:
                nothing_is_lost()
            state = tree(folder)
            assert interrupted(folder) or not (folder / ".fulmen-alias").exists() or kept_aside(folder), state
            # The next call ends it in either way: here one half goes forth and the other back.
            copy = folder.with_name("copy")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
            remove(copy)
            assert tree(copy) == expected, tree(copy).keys() ^ expected.keys()
            install(folder, replace=True)
            assert [one.kind for one in look(folder)] == ["ours"] * 3
            if expected:
                nothing_is_lost()
            remove(folder)
            assert tree(folder) == expected

        return check

    steps = []
    for start, expected in ((real, before), (work / "empty", {})):
        shutil.rmtree(with_ours, ignore_errors=True)
        shutil.copytree(start, with_ours)
        install(with_ours, replace=True)
        (with_ours / "pytorch_lightning" / "__pycache__").mkdir()
        (with_ours / "pytorch_lightning" / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"\0")
        steps.append(course(start, folder, lambda: install(folder, replace=True), back_to(expected)))
        steps.append(course(with_ours, folder, lambda: remove(folder), back_to(expected)))
    print(*steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
