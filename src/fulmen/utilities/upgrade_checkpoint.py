"""The command ``fulmen upgrade-checkpoint``: rewrites files of old versions of Lightning."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import torch

from fulmen.utilities.codec import decode_checkpoint, encode_checkpoint
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.migration.utils import CURRENT, migrate_checkpoint, pl_legacy_patch
from fulmen.utilities.safe_load import UnsafeCheckpointError, load
from fulmen.utilities.seal import Sealing
from fulmen.utilities.unresolved import placeholders


def main() -> None:
    """Rewrites checkpoints in the layout of today, and keeps each original beside its new file, with ``.bak`` after it.

    Files that have this layout already are left alone. Exits with 1 if one could not be rewritten.
    """
    _run(None, "python -m fulmen.utilities.upgrade_checkpoint")


def _run(words: Sequence[str] | None, prog: str) -> None:
    options = _parser(prog).parse_args(words)
    failed = False
    for path in map(Path.absolute, options.path):
        files, links = _found(path, options.extension)
        for link in links:
            print(
                f"{link}: left as it is, since it leads out of the folder, to {link.resolve()}.\n"
                "What to do: name the file itself to rewrite it."
            )
        if not files and not links:
            there = "with such a name in the folder" if path.exists() else "at"
            _say(
                f"There is nothing {there} {path}.\nWhat to do: pass a checkpoint, or a folder with files that end in "
                f"{options.extension}."
            )
            failed = True
        for file in files:
            try:
                done = upgrade(file, "cpu" if options.map_to_cpu else None, options.trust, not options.no_backup)
            except (MisconfigurationException, OSError) as error:
                _say(f"{file}: left as it is.\n{error}")
                failed = True
            except Exception as error:  # whatever is wrong with one file, the others have their turn
                unknown = MisconfigurationException(
                    "A checkpoint is rewritten if all of it can be read and written.",
                    got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
                    fix="Leave the file out, or see with `torch.load` what is in it.",
                )
                _say(f"{file}: left as it is.\n{unknown}")
                failed = True
            else:
                print(f"{file}: {done}")
    if failed:
        raise SystemExit(1)


def command(words: Sequence[str]) -> None:
    """Runs ``fulmen upgrade-checkpoint``."""
    _run(words, "fulmen upgrade-checkpoint")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Rewrites checkpoints of old versions of PyTorch Lightning in the layout of today. The originals "
        "are kept beside them, with .bak after their name.",
    )
    parser.add_argument("path", type=Path, nargs="+", help="a checkpoint, or a folder in which all are rewritten")
    parser.add_argument("--extension", "-e", default=".ckpt", help="how the files of a folder end (default: .ckpt)")
    parser.add_argument("--map-to-cpu", action="store_true", help="put all tensors on the CPU")
    parser.add_argument("--no-backup", action="store_true", help="keep no originals")
    parser.add_argument(
        "--trust", action="store_true", help="read files that hold more than data; runs the code that they name"
    )
    return parser


def _found(path: Path, extension: str) -> tuple[list[Path], list[Path]]:
    """The files that a path stands for, and the links among them that lead out of the folder.

    A file that links in the folder lead to is there once, by its own name.
    """
    if not path.is_dir():
        return [_real(path)] if path.exists() else [], []
    files, links, home = set(), [], path.resolve()
    for file in sorted(path.rglob(f"*{extension}")):
        if file.is_file():
            real = file.resolve()
            if real.is_relative_to(home):
                files.add(path / real.relative_to(home))
            else:
                links.append(file)
    return sorted(files), links


def _real(file: Path) -> Path:
    """Where a link leads, so that it stays one; any other path as it was given."""
    return file.resolve() if file.is_symlink() else file


def upgrade(file: Path, map_location: str | None = None, trust: bool = False, keep: bool = True) -> str:
    """Rewrites one checkpoint.

    Args:
        file: Where it lies; a link is followed, and stays.
        map_location: Where tensors go.
        trust: Whether code that the file names may run.
        keep: Whether to keep the original.

    Returns:
        What was done, in words.

    Raises:
        MisconfigurationException: If the file cannot be read without running code, is damaged, or is no checkpoint.
    """
    file = _real(file)
    with pl_legacy_patch():
        try:
            checkpoint: Any = load(file, map_location, weights_only=not trust, whole=True)
        except UnsafeCheckpointError as error:
            raise MisconfigurationException(
                "A checkpoint is read without running code, and this one holds more than tensors and plain data.",
                got=str(error).splitlines()[1].removeprefix("Received: "),
                fix="If you trust the file, pass `--trust`.",
            ) from error
    if not isinstance(checkpoint, dict):
        raise MisconfigurationException(
            "A checkpoint is a dictionary.",
            got=type(checkpoint).__name__,
            fix="Leave the file out: it holds something else.",
        )
    checkpoint = decode_checkpoint(checkpoint, trust)
    version = checkpoint.get("pytorch-lightning_version")
    checkpoint, done = migrate_checkpoint(checkpoint)
    if not done:
        return "has the layout of today"
    left = sorted({placeholder._what for placeholder in placeholders(checkpoint)})
    lacking = f"; kept as data, since nothing has these names: {', '.join(left)}" if left else ""
    upgraded = f"upgraded from the layout of {version} to that of {CURRENT}"
    if not keep:
        _write(encode_checkpoint(checkpoint), file, None)
        return f"{upgraded}{lacking}"
    backup = file.with_name(f"{file.name}.bak")
    count = 0
    while backup.exists():
        count += 1
        backup = file.with_name(f"{file.name}.bak{count}")
    _write(encode_checkpoint(checkpoint), file, backup)
    return f"{upgraded}; the original is {backup.name}{lacking}"


def _write(checkpoint: dict[str, Any], file: Path, backup: Path | None) -> None:
    """Puts a checkpoint into the place of a file, which may be kept under another name; at no time is neither there."""
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)  # of a process that died
    try:
        with _private(part) as raw:
            sealing = Sealing(raw)
            torch.save(checkpoint, cast("IO[bytes]", sealing))
            sealing.seal(int(checkpoint.get("global_step", -1)), "optimizer_states" in checkpoint)
            raw.flush()
            os.fsync(raw.fileno())
        _give_rights(part, file)
        if backup is not None:
            _keep(file, backup)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _keep(file: Path, backup: Path) -> None:
    try:
        os.link(file, backup)
    except OSError:  # not every file system has links
        with open(file, "rb") as source, _private(backup) as target:
            shutil.copyfileobj(source, target)
        shutil.copystat(file, backup)
        _give_rights(backup, file)


def _private(path: Path) -> IO[bytes]:
    """Makes a file that nobody else can read."""
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _give_rights(new: Path, old: Path) -> None:
    """Lets those read and write a file who may do so with another one, and nobody else."""
    status = os.stat(old)
    mode = stat.S_IMODE(status.st_mode)
    if hasattr(os, "chown"):
        with contextlib.suppress(PermissionError):  # only root may give files away
            os.chown(new, status.st_uid, -1)
        try:
            os.chown(new, -1, status.st_gid)
        except PermissionError:  # another group: it may do what all may
            mode &= ~((~mode & stat.S_IRWXO) << 3)
    os.chmod(new, mode)


if __name__ == "__main__":
    main()
