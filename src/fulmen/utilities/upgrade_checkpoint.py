"""The command ``fulmen upgrade-checkpoint``: rewrites files of old versions of Lightning."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
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
        files = list(_files(path, options.extension))
        if not files:
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


def _files(path: Path, extension: str) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob(f"*{extension}") if file.is_file())
    elif path.exists():
        yield path


def upgrade(file: Path, map_location: str | None = None, trust: bool = False, keep: bool = True) -> str:
    """Rewrites one checkpoint.

    Args:
        file: Where it lies.
        map_location: Where tensors go.
        trust: Whether code that the file names may run.
        keep: Whether to keep the original.

    Returns:
        What was done, in words.

    Raises:
        MisconfigurationException: If the file cannot be read without running code, is damaged, or is no checkpoint.
    """
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
    try:
        with open(part, "wb") as raw:
            sealing = Sealing(raw)
            torch.save(checkpoint, cast("IO[bytes]", sealing))
            sealing.seal(int(checkpoint.get("global_step", -1)), "optimizer_states" in checkpoint)
            raw.flush()
            os.fsync(raw.fileno())
        if backup is not None:
            _keep(file, backup)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _keep(file: Path, backup: Path) -> None:
    try:
        os.link(file, backup)
    except OSError:  # not every file system has links
        shutil.copy2(file, backup)


if __name__ == "__main__":
    main()
