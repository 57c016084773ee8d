"""One pass over a file that looks at its import paths alone."""

from __future__ import annotations

import re
from typing import Any

from fulmen.compat.migrate import imports
from fulmen.compat.migrate.calls import Calls
from fulmen.compat.migrate.findings import Finding
from fulmen.compat.migrate.library import codemod, cst, get_full_name_for_node, metadata
from fulmen.compat.migrate.project import File, Project, below_root
from fulmen.compat.migrate.roots import Roots, is_there, judge

_PATH = re.compile(r"(pytorch_lightning|lightning\.pytorch)(\.\w+)*|lightning(\.\w+)+")


class Imports(Calls):
    """Finds and rewrites import paths.

    Args:
        project: The code base.
        path: The file.
        roots: Whether Lightning's import names become ``fulmen``.

    Attributes:
        findings: What was found.
        old: Whether more than imports is rewritten.
    """

    old = False
    METADATA_DEPENDENCIES = (metadata.PositionProvider, metadata.QualifiedNameProvider)

    def __init__(self, project: Project, path: str, roots: bool = False) -> None:
        super().__init__()
        self.project, self.path = project, path
        self.roots = Roots() if roots else None
        self.annotations = 0
        self.file: File = project.files[path]
        self.findings: list[Finding] = []
        self.context = codemod.CodemodContext()

    def note(self, node: cst.CSTNode, what: str, remedy: str, safe: bool = False) -> None:
        """Writes something down."""
        start = self.get_metadata(metadata.PositionProvider, node).start
        self.findings.append(Finding(self.path, start.line, start.column, what, remedy, safe))

    def place(self, node: cst.CSTNode) -> tuple[int, int]:
        """Where a node begins."""
        start = self.get_metadata(metadata.PositionProvider, node).start
        return start.line, start.column

    def imported(self, node: cst.CSTNode) -> str | None:
        """The full name of what a name or attribute means, if it was imported."""
        found = self.get_metadata(metadata.QualifiedNameProvider, node, set())
        known = next((one.name for one in found if one.source is metadata.QualifiedNameSource.IMPORT), None)
        if known is None and not found:  # it may come of `import *`
            first, dot, rest = (get_full_name_for_node(node) or "").partition(".")
            start = self.file.imports.get(first)
            return None if start is None else f"{start}{dot}{rest}"
        return known

    def visit_Module(self, node: cst.Module) -> None:
        """Looks first at what may become Fulmen's."""
        if self.roots is not None:
            self.roots = judge(node, self.imported, lambda name: self.project.uses_of(self.path, name), self.old)

    def visit_Annotation(self, node: cst.Annotation) -> None:
        """Notes that we are in an annotation, whose strings are names of the file."""
        self.annotations += 1

    def leave_Annotation(self, original_node: cst.Annotation, updated_node: cst.Annotation) -> cst.Annotation:
        """Notes that we are out of it."""
        self.annotations -= 1
        return updated_node

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        """Names an import path in a string, which may be more than that."""
        text = node.evaluated_value
        if self.roots is None or self.annotations or not isinstance(text, str) or not _PATH.fullmatch(text):
            return
        inner = below_root(text) or ""
        if is_there(inner):
            self.note(node, f'"{text}"', f'`"fulmen{"." if inner else ""}{inner}"`, if it is an import path')

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> Any:
        """Takes ``.pytorch`` away behind a name that means Fulmen now."""
        return updated_node.value if self.is_whole(original_node) else updated_node

    def is_whole(self, node: Any) -> bool:
        """Whether it is ``lightning.pytorch``, and `lightning` means Fulmen now."""
        value, roots = node.value, self.roots
        mine = roots is not None and isinstance(value, cst.Name) and value.value in roots.shortened
        return mine and self.imported(node) == "lightning.pytorch"

    def leave_ImportFrom(self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom) -> Any:
        """Brings import paths up to date."""
        return imports.import_from(original_node, self.note, self.roots)

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> Any:
        """Gives each of several imports that come of one a line of its own."""
        made = updated_node.body
        if (
            len(original_node.body) > 1
            or len(made) < 2
            or not all(isinstance(one, (cst.Import, cst.ImportFrom)) for one in made)
        ):
            return updated_node
        lines = [cst.SimpleStatementLine([one]) for one in made]
        lines[0] = lines[0].with_changes(leading_lines=updated_node.leading_lines)
        lines[-1] = lines[-1].with_changes(trailing_whitespace=updated_node.trailing_whitespace)
        return cst.FlattenSentinel(lines)

    def leave_Import(self, original_node: cst.Import, updated_node: cst.Import) -> Any:
        """Brings import paths up to date."""
        return imports.import_plain(original_node, self.note, self.roots)
