"""The command ``fulmen migrate``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fulmen.compat.migrate import files
from fulmen.compat.migrate.findings import Finding
from fulmen.compat.migrate.project import Project
from fulmen.utilities.imports import require

_ROUNDS = 5  # a rewriting may uncover another; no code that people write needs more


def command(words: Sequence[str]) -> None:
    """Finds what is old, and prints it or rewrites it.

    Args:
        words: What follows ``fulmen migrate``.

    Raises:
        SystemExit: With 1 if something old was found, or is left; 2 if something could not be read.
    """
    options = _parser().parse_args(words)
    missing = [str(path) for path in options.path if not path.exists()]
    if missing:
        print(f"fulmen migrate: there is nothing at {', '.join(missing)}.\nWhat to do: pass files or folders.")
        raise SystemExit(2)
    require("libcst", "migrate", "`fulmen migrate`")
    found, new, unread = look(options.path, options.imports, options.version == "1.x")
    for path, why in unread:
        print(f"{path}: cannot be read: {why}", file=sys.stderr)
    for finding in found:
        print(finding)
    if options.write:
        for path in [path for path in new if not files.lies_within(Path(path), options.path)]:
            print(f"{path}: is not written: it is a link to a file outside of what was passed", file=sys.stderr)
            del new[path]
        for path, content in new.items():
            write(Path(path), content)
        left, _, _ = look(options.path, options.imports, options.version == "1.x")
        print(f"{len(found)} found, {len(found) - len(left)} rewritten in {len(new)} files; {len(left)} left to you.")
    else:
        left = found
        safe = sum(finding.safe for finding in found)
        hint = f"; `--write` rewrites {safe} of them" if safe else ""
        print(f"{len(found)} found{hint}." if found else "Nothing old was found.")
    if left or unread:
        raise SystemExit(2 if unread else 1)


def look(
    paths: Sequence[Path], roots: bool = False, old: bool = True
) -> tuple[list[Finding], dict[str, str], list[tuple[str, str]]]:
    """Looks through a code base; nothing of it is imported, and nothing is written.

    Args:
        paths: Files and folders.
        roots: Whether Lightning's import names become ``fulmen``.
        old: Whether to look at more than imports.

    Returns:
        What was found, the new content of each file that changes, and what could not be read and why.
    """
    from fulmen.compat.migrate.rewrite import rewrite

    found: list[Finding] = []
    new: dict[str, str] = {}
    unread: list[tuple[str, str]] = []
    sources: dict[str, files.Source] = {}
    for path in files.find(paths):
        try:
            if path.suffix in (".yaml", ".yml"):
                text = path.read_text(encoding=files.encoding_of(path))
                notes, content = files.look_at_yaml(str(path), text, roots)
                found += notes
                if content != text:
                    new[str(path)] = content
            else:
                sources[str(path)] = files.read(path)
        except (ValueError, KeyError, TypeError, OSError) as error:
            unread.append((str(path), str(error)))
    texts = {name: source.text for name, source in sources.items()}
    project = Project(texts)
    unread += [(name, "it is no program of this Python") for name in texts if name not in project.files]
    for name, source in sources.items():
        if name not in project.files or not _may_be_of_interest(source.text, project, name):
            continue
        notes, text = rewrite(project, name, source.text, roots, old)
        if old:
            notes += [_unjudged(name, module, place) for module, place in project.unjudged(name)]
        found += map(source.placed, notes)
        text = _settled(project, name, text, roots, old) if text != source.text else text
        if text != source.text:
            new[name] = source.content(text)
    return sorted(set(found), key=lambda one: (one.path, one.cell, one.line, one.column, one.what)), new, unread


def _settled(project: Project, name: str, text: str, roots: bool, old: bool) -> str:
    """Rewrites until nothing changes, so that a second run finds nothing to do."""
    from fulmen.compat.migrate.rewrite import rewrite

    for _ in range(_ROUNDS):
        before, text = text, rewrite(project.replaced(name, text), name, text, roots, old)[1]
        if text == before:
            break
    return text


def _may_be_of_interest(text: str, project: Project, name: str) -> bool:
    words = ("lightning", "torchmetrics", "fulmen")
    file = project.files[name]
    if file.kinds or file.mixed or file.unknown or any(word in text for word in words):
        return True
    return any(project.kind(name, full) is not None for full in file.imports.values())


def _unjudged(name: str, module: str, place: tuple[int, int]) -> Finding:
    remedy = "the file cannot be judged for what comes from there: pass that module's file, too, or import by name"
    return Finding(name, *place, f"from {module} import *", remedy)


def write(path: Path, content: str) -> None:
    """Puts a file in the place of another, whole or not at all, with its rights and in its encoding."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "w", encoding=files.encoding_of(path), newline="") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(path.stat().st_mode)
        os.replace(part, path.resolve())
    finally:
        part.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fulmen migrate",
        description="Finds what is old in programs, notebooks and configurations for PyTorch Lightning, and says how "
        "it is written today. Nothing of them is run. Exits with 1 if there is something old.",
    )
    parser.add_argument("path", type=Path, nargs="+", help="files and folders")
    parser.add_argument("--write", action="store_true", help="rewrite what keeps its meaning")
    parser.add_argument("--imports", action="store_true", help="let Lightning's import names become fulmen")
    parser.add_argument(
        "--from",
        dest="version",
        default="1.x",
        choices=["1.x", "2.x"],
        help="the generation of the code (default: 1.x); 2.x: imports alone",
    )
    return parser
