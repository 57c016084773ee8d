"""The files of a code base: programs, notebooks and configurations, as text in which old names are looked for."""

from __future__ import annotations

import codecs
import json
import os
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fulmen.compat.migrate import table
from fulmen.compat.migrate.findings import Finding
from fulmen.compat.migrate.project import below_root

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "build", "dist"}
_CELL = "# fulmen: cell"
_MAGIC = "# fulmen: magic "
_KEY = re.compile(r"^(?P<space>\s*)(?:- )?(?P<key>[\w.]+)\s*:(?P<value>.*)$")
_CLASS = re.compile(r"\b(?P<name>(?:pytorch_lightning|lightning\.pytorch)(?:\.\w+)+)")


@dataclass
class Source:
    """A file.

    Attributes:
        path: Where it lies.
        text: Its program.
        notebook: The content of a notebook.
        raw: The text of a notebook.
    """

    path: str
    text: str
    notebook: Any = None
    raw: str = ""

    def placed(self, finding: Finding) -> Finding:
        """Says of a finding in which cell it is."""
        if self.notebook is None:
            return finding
        before = self.text.splitlines()[: finding.line]
        starts = [number for number, line in enumerate(before, 1) if line.startswith(_CELL)]
        cell = int(before[starts[-1] - 1].removeprefix(_CELL))
        return replace(finding, line=finding.line - starts[-1], cell=cell)

    def content(self, text: str) -> str:
        """The file with a new program."""
        if self.notebook is None:
            return text
        cells: dict[int, list[str]] = {}
        lines: list[str] = []
        for line in text.splitlines(keepends=True):
            if line.startswith(_CELL):
                lines = cells.setdefault(int(line.removeprefix(_CELL)), [])
            else:
                lines.append(re.sub(rf"^(\s*)(?:pass  )?{_MAGIC}", r"\1", line))
        changed: list[tuple[Any, Any]] = []
        for number, lines in cells.items():
            cell = self.notebook["cells"][number - 1]
            new = "".join(lines).removesuffix("\n")
            if new != "".join(cell["source"]):
                before = cell["source"]
                cell["source"] = new if isinstance(before, str) else new.splitlines(keepends=True)
                changed.append((before, cell["source"]))
        spliced = _spliced(self.raw, changed)
        return spliced if json.loads(spliced) == self.notebook else _as_before(self.notebook, self.raw)


def _spliced(raw: str, changed: list[tuple[Any, Any]]) -> str:
    """The text of a notebook with other sources, where they are found as they are written most often."""
    for old, new in changed:
        before, after = (
            [json.dumps(one, ensure_ascii=raw.isascii()) for one in ([source] if isinstance(source, str) else source)]
            for source in (old, new)
        )
        found = re.search(r"\s*,\s*".join(map(re.escape, before)), raw)
        if found is None:
            continue
        head = raw[: found.start()]
        gap = re.match(r"\s*,\s*", found[0][len(before[0]) :])
        comma = gap[0] if gap else f",{head[len(head.rstrip()) :] or ' '}"
        raw = head + comma.join(after) + raw[found.end() :]
    return raw


def _as_before(notebook: Any, raw: str) -> str:
    """A notebook as JSON, laid out as its file is."""
    body = raw.rstrip()
    indent = re.match(r"\s*\{\r?\n([ \t]*)", raw)
    spaced = '": ' in body.partition("[")[0]
    made = json.dumps(
        notebook,
        indent=indent[1] if indent else None,
        separators=("," if indent or not spaced else ", ", ": " if spaced or indent else ":"),
        ensure_ascii=body.isascii(),
    )
    return made.replace("\n", "\r\n" if "\r\n" in raw else "\n") + raw[len(body) :]


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """The files of interest among paths, of folders all but those that are hidden or made."""
    for path in paths:
        if path.is_file():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
            for name in sorted(names):
                if name.endswith((".py", ".ipynb", ".yaml", ".yml")):
                    yield Path(folder, name)


def lies_within(path: Path, given: Iterable[Path]) -> bool:
    """Whether a file, or that to which it links, is one of those that were given, or in such a folder."""
    target = path.resolve()
    return any(target.is_relative_to(one.resolve()) for one in given)


def encoding_of(path: Path) -> str:
    """How a file is encoded, by its first bytes and, of a program, what its first lines say.

    Raises:
        ValueError: If it says something that there is not.
    """
    with open(path, "rb") as file:
        if path.suffix in (".ipynb", ".yaml", ".yml"):
            return "utf-8-sig" if file.read(3) == codecs.BOM_UTF8 else "utf-8"
        try:
            return tokenize.detect_encoding(file.readline)[0]
        except SyntaxError as error:
            raise ValueError(str(error)) from error


def read(path: Path) -> Source:
    """Reads a program or a notebook.

    Raises:
        ValueError: If it is none.
    """
    with open(path, encoding=encoding_of(path), newline="") as file:
        text = file.read()
    if path.suffix != ".ipynb":
        return Source(str(path), text)
    notebook = json.loads(text)
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError("it is no notebook")
    parts = []
    for number, cell in enumerate(notebook["cells"], 1):
        if cell.get("cell_type") == "code":
            body = "".join(cell["source"])
            if body.lstrip().startswith("%%"):
                continue
            parts.append(f"{_CELL}{number}\n{_without_magic(body)}\n")
    return Source(str(path), "".join(parts), notebook, text)


def _without_magic(text: str) -> str:
    """Lines for the notebook alone as comments; `pass` where a block may have no other line."""
    return re.sub(r"(?m)^(\s*)(?=[%!?])", lambda found: f"{found[1]}{'pass  ' if found[1] else ''}{_MAGIC}", text)


def look_at_yaml(path: str, text: str, roots: bool) -> tuple[list[Finding], str]:
    """Finds old flags below ``trainer:`` and old class paths, line by line.

    Args:
        path: The file.
        text: Its content.
        roots: Whether class paths of Lightning become those of ``fulmen``.

    Returns:
        What was found, and the new content.
    """
    found: list[Finding] = []
    lines = text.splitlines(keepends=True)
    if not _CLASS.search(text) and not re.search(r"(?m)^\s*trainer\s*:\s*$", text):
        return [], text
    depth: int | None = None
    inner: int | None = None
    for number, line in enumerate(lines):
        matched = _KEY.match(line)
        if matched and line.strip() and not line.lstrip().startswith("#"):
            space = len(matched["space"])
            if depth is not None and space <= depth:
                depth = inner = None
            if depth is not None:
                inner = space if inner is None else inner
                if space == inner:
                    found += _flag(path, number + 1, matched)
            if matched["key"].rpartition(".")[2] == "trainer" and not matched["value"].strip():
                depth = space
        for name in _CLASS.finditer(line.partition("#")[0]):
            found += _class(path, number + 1, name, roots)
        if roots:
            code, mark, comment = line.partition("#")
            lines[number] = _CLASS.sub(lambda name: f"fulmen.{below_root(name['name'])}", code) + mark + comment
    return found, "".join(lines)


def _flag(path: str, line: int, matched: re.Match[str]) -> Iterator[Finding]:
    key, value = matched["key"], matched["value"].partition("#")[0].strip().strip("\"'")
    if key not in table.TRAINER_FLAGS:
        return
    strategies = (*table.STRATEGIES, *table.STRATEGIES_GONE)
    old = {
        "accelerator": value in strategies,
        "strategy": value in table.STRATEGIES_GONE,
        "precision": value in table.PRECISIONS,
        "accumulate_grad_batches": value.startswith("{") or not value,
        "profiler": value in ("true", "false", "True", "False"),
        "max_steps": value in ("null", "~", ""),
    }
    if old.get(key, True):
        yield Finding(path, line, len(matched["space"]), key, table.TRAINER_FLAGS[key])


def _class(path: str, line: int, name: re.Match[str], roots: bool) -> Iterator[Finding]:
    from fulmen.compat.migrate.imports import remedy_of

    inner = below_root(name["name"]) or ""
    remedy = remedy_of(inner)
    if remedy is not None:
        yield Finding(path, line, name.start(), inner, remedy)
    if roots:
        yield Finding(path, line, name.start(), name["name"], f"`fulmen.{inner}`", True)
