"""Who uses which method in a code base, read from its text."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

_ANY = 1000  # arguments that are not written down


@dataclass(frozen=True)
class Use:
    """A place that uses a method.

    Attributes:
        name: The method.
        owner: What stands before the name, as far as it is a name with dots.
        count: How many arguments are passed by position.
        keywords: The names of the others.
    """

    name: str
    owner: str
    count: int
    keywords: frozenset[str]

    def reaches(self, parameters: dict[str, bool], gone: list[str], classes: set[str]) -> bool:
        """Whether it passes something that a method takes no more.

        Args:
            parameters: The method's parameters of old, without `self`; of each, whether it has to be passed.
            gone: Those that it loses.
            classes: The names of classes, of which a method is called with `self` in front.
        """
        count = self.count - (self.owner.rpartition(".")[2] in classes)
        total = count + len(self.keywords)
        if self.keywords & set(gone) or total > len(parameters) - len(gone):
            return True
        return count > min(map(list(parameters).index, gone)) and total >= sum(parameters.values())


def dotted(node: ast.AST) -> str | None:
    """A name with dots; None if it is another expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        value = dotted(node.value)
        return None if value is None else f"{value}.{node.attr}"
    return None


class Uses(ast.NodeVisitor):
    """The places of a file that use methods, but for what goes to a class of Lightning's.

    Args:
        tree: The file.
        is_first: Whether a class, by its dotted name in the file, derives from Lightning's own alone.
        is_library: Whether a name is a class of Lightning's.

    Attributes:
        found: The places.
    """

    def __init__(self, tree: ast.Module, is_first: Callable[[str], bool], is_library: Callable[[str], bool]) -> None:
        self.is_first, self.is_library = is_first, is_library
        self.classes: list[str] = []
        self.functions: list[ast.arguments | None] = [None]
        self.names: list[str] = [""]
        self.found: list[Use] = []
        self.visit(tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Notes in which class we are."""
        self.classes.append(node.name)
        self.generic_visit(node)
        self.classes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Notes in which function we are."""
        self.functions.append(node.args)
        self.names.append(node.name)
        self.generic_visit(node)
        self.functions.pop()
        self.names.pop()

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A method that is handed on may be called with anything."""
        if isinstance(node.ctx, ast.Load):
            self._note(node, _ANY, frozenset())
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """A call, or `getattr` with a name."""
        if isinstance(node.func, ast.Attribute):
            if not self._goes_to_library(node.func.value):
                count, keywords = self._arguments(node, node.func.attr)
                self._note(node.func, count, keywords)
            self.visit(node.func.value)
            for child in (*node.args, *node.keywords):
                self.visit(child)
            return
        if dotted(node.func) == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            self.found.append(Use(str(node.args[1].value), "", _ANY, frozenset()))
        self.generic_visit(node)

    def _note(self, node: ast.Attribute, count: int, keywords: frozenset[str]) -> None:
        owner = dotted(node.value) or ""
        if not self.is_library(owner):
            self.found.append(Use(node.attr, owner, count, keywords))

    def _goes_to_library(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or dotted(node.func) != "super" or not self.classes:
            return False
        mine = not node.args or dotted(node.args[0]) == self.classes[-1]
        return mine and self.is_first(".".join(self.classes))

    def _arguments(self, call: ast.Call, name: str) -> tuple[int, frozenset[str]]:
        """What a method of the same name passes on as it came is what its own caller passed."""
        mine = self.functions[-1] if self.names[-1] == name else None
        rest = {one.arg for one in (mine.vararg, mine.kwarg) if one is not None} if mine is not None else set()
        count = 0
        for value in call.args:
            starred = isinstance(value, ast.Starred)
            count += 0 if isinstance(value, ast.Starred) and dotted(value.value) in rest else _ANY if starred else 1
        count += sum(_ANY for word in call.keywords if word.arg is None and dotted(word.value) not in rest)
        return count, frozenset(word.arg for word in call.keywords if word.arg is not None)
