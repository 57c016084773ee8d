"""One pass over a file: finds what is old, and writes what keeps its meaning as it is written today."""

from __future__ import annotations

from typing import Any

from fulmen.compat.migrate import imports, methods, outputs, table
from fulmen.compat.migrate.findings import Finding
from fulmen.compat.migrate.library import cst, get_full_name_for_node, m, metadata, visitors
from fulmen.compat.migrate.paths import Imports
from fulmen.compat.migrate.project import Project, below_root, kind_of_name

_SELF = {
    "module": {**table.MODULE_ATTRIBUTES, **table.MODULE_METHODS},
    "data": {**table.DATAMODULE_ATTRIBUTES, **table.DATAMODULE_METHODS},
}


class Rewrite(Imports):
    """Finds and rewrites all that is old."""

    old = True

    def __init__(self, project: Project, path: str, roots: bool = False) -> None:
        super().__init__(project, path, roots)
        self.classes: list[cst.ClassDef] = []
        self.functions: list[tuple[int, cst.FunctionDef]] = []

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> Any:
        """Brings a call up to date."""
        return self.change_call(original_node, updated_node)

    @property
    def kind(self) -> str | None:
        """What the class is in which we are; None outside of one of Lightning's."""
        if not self.classes:
            return None
        return self.file.kinds.get(".".join(one.name.value for one in self.classes))

    def base(self) -> cst.BaseExpression | None:
        """What the class derives from in which we are, where that is one class alone."""
        bases = self.classes[-1].bases if self.classes else ()
        return bases[0].value if len(bases) == 1 else None

    def is_trainer(self, node: cst.BaseExpression) -> bool:
        """Whether an expression holds a Trainer, as far as the text says."""
        name = get_full_name_for_node(node)
        if name is None:
            return False
        if name == "self.trainer" and self.kind in ("module", "data"):
            return True
        for depth, function in reversed(self.functions):
            if name in self.file.trainers.get(self._place_of(function), ()):
                return True
            parameters = [parameter.name.value for parameter in function.params.params]
            if name in parameters:
                return name == "trainer" and self.kind == "callback" and depth == len(self.classes)
        return name in self.file.trainers.get((0, 0), ())

    def _place_of(self, node: cst.FunctionDef) -> tuple[int, int]:
        """Where a function begins, its decorators left out, as Python's own parser has it."""
        line, column = self.place(node)
        return (self.place(node.name)[0] if node.decorators else line), column

    # -- classes and functions

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        """Notes in which class we are."""
        self.classes.append(node)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> Any:
        """Looks at what a class does with the outputs of its steps."""
        if self.kind == "module":
            for stage in outputs.STAGES:
                hook = outputs.methods_of(original_node).get(f"{stage}_epoch_end")
                if hook is None:
                    continue
                used = self.project.uses(hook.name.value) or self.project.uses(f"{stage}_step")
                safe = not used and self._stands_alone(original_node) and outputs.can_collect(original_node, stage)
                self.note(hook.name, hook.name.value, table.MODULE_METHODS[hook.name.value], safe)
                if safe:
                    updated_node = outputs.collect(updated_node, stage)
        self.classes.pop()
        return updated_node

    def _stands_alone(self, node: cst.ClassDef) -> bool:
        """Whether no other class of the project shares the methods of one that derives from Lightning's own."""
        name = ".".join(one.name.value for one in self.classes)
        if not any(kind_of_name(base) == "module" for base in self.file.classes.get(name, ())):
            return False
        return len(self.file.classes[name]) == 1 and node.name.value not in self.project.bases

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        """Notes in which function we are."""
        self.functions.append((len(self.classes), node))

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> Any:
        """Brings a hook up to date."""
        self.functions.pop()
        kind, name = self.kind, original_node.name.value
        if self.functions and self.functions[-1][0] == len(self.classes):
            return updated_node
        if kind is None:
            self._look_at_mixin(original_node)
            return updated_node
        collected = any(name == f"{stage}_epoch_end" for stage in outputs.STAGES) and kind == "module"
        remedy = methods.METHODS.get(kind, {}).get(name)
        if remedy is not None and not collected:
            new = methods.renamed(updated_node, kind, set(outputs.methods_of(self.classes[-1])))
            new = None if self.project.uses(name) else new
            self.note(original_node.name, name, remedy, new is not None)
            return updated_node if new is None else new
        old = dict(methods.old_parameters(original_node, kind))
        gone = [what for what in old if methods.without(original_node, what) is not None]
        if gone and self.project.is_called_as_of_old(name, methods.parameters(original_node), gone):
            gone = []
        if kind == "module" and name == "optimizer_step" and not methods.runs_closure(original_node):
            gone = []
        for what, advice in old.items():
            made = methods.without(updated_node, what) if what in gone else None
            self.note(original_node.name, f"{name}({what})", advice, made is not None)
            updated_node = updated_node if made is None else made
        return updated_node

    def _look_at_mixin(self, node: cst.FunctionDef) -> None:
        """Names what is old in a class that others mix in; it may serve something else, too."""
        name = node.name.value
        kind = self.file.mixed.get(".".join(one.name.value for one in self.classes), "")
        remedy = methods.METHODS.get(kind, {}).get(name)
        if remedy is not None:
            self.note(node.name, name, remedy)
        for what, advice in methods.old_parameters(node, kind):
            self.note(node.name, f"{name}({what})", advice)

    # -- attributes and statements

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        """Stays out of a path that is looked at as a whole."""
        name = self.imported(node)
        inner = below_root(name) if name else None
        return not (inner and imports.remedy_of(inner) is not None)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> Any:
        """Brings an attribute up to date."""
        name, attribute = self.imported(original_node), original_node.attr.value
        inner = below_root(name) if name else None
        remedy = imports.remedy_of(inner) if inner else None
        if name and inner and remedy is not None:
            return self._moved(original_node, updated_node, inner, remedy)
        owner = name.rpartition(".")[0] if name and attribute in table.TRAINER_METHODS else ""
        if owner and self.project.kind(self.path, owner) == "trainer":
            self.note(original_node, f"Trainer.{attribute}", table.TRAINER_METHODS[attribute])
        elif self.is_trainer(original_node.value):
            return self._of_trainer(original_node, updated_node)
        elif self.kind in _SELF and get_full_name_for_node(original_node.value) == "self":
            advice = _SELF[self.kind].get(attribute)
            if advice is not None and attribute not in self.own_names():
                self.note(original_node, f"self.{attribute}", advice)
        return super().leave_Attribute(original_node, updated_node)

    def _moved(self, original_node: cst.Attribute, updated_node: cst.Attribute, inner: str, remedy: str) -> Any:
        """A path from the package, as in ``pl.core.lightning.LightningModule``."""
        written = get_full_name_for_node(original_node) or ""
        start = written.removesuffix(f".{inner}")
        whole = start != written and any(map(self.is_whole, m.findall(original_node, m.Attribute())))
        start = start.removesuffix(".pytorch") if whole else start
        target = table.MOVED.get(inner)
        safe = target is not None and start != written and "." not in start
        self.note(original_node, inner, remedy, safe)
        return imports.path(f"{start}.{target if safe else inner}") if safe or whole else updated_node

    def _of_trainer(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> Any:
        attribute = original_node.attr.value
        advice = table.TRAINER_ATTRIBUTES.get(attribute) or table.TRAINER_METHODS.get(attribute)
        if advice is None:
            return updated_node
        new = table.RENAMED_TRAINER_ATTRIBUTES.get(attribute)
        self.note(original_node, f"trainer.{attribute}", advice, new is not None)
        return updated_node if new is None else updated_node.with_changes(attr=cst.Name(new))

    def own_names(self) -> set[str]:
        """What the class, or one of the project from which it derives, defines or sets itself."""
        return self.project.own_names(self.path, ".".join(one.name.value for one in self.classes))

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> Any:
        """Brings ``self.hparams = ...`` up to date."""
        targets = [get_full_name_for_node(one.target) for one in original_node.targets]
        if targets != ["self.hparams"] or self.kind not in ("module", "data") or not self.functions:
            return updated_node
        new = methods.hyper_parameters(updated_node, self.functions[-1][1])
        self.note(original_node, "self.hparams =", "`self.save_hyperparameters(...)`", new is not None)
        return updated_node if new is None else new

    def visit_Return(self, node: cst.Return) -> None:
        """Looks for keys of version 1.0."""
        name = self.functions[-1][1].name.value if self.functions else ""
        if self.kind == "module" and name.endswith(("_step", "_epoch_end")):
            for key in methods.step_keys(node):
                self.note(node, f"{name} returning {key!r}", table.STEP_KEYS[key])


def rewrite(project: Project, path: str, text: str, roots: bool = False, old: bool = True) -> tuple[list[Finding], str]:
    """Finds what is old in a file, and writes it anew.

    Args:
        project: The code base of which it is part.
        path: The file.
        text: Its content.
        roots: Whether Lightning's import names become ``fulmen``.
        old: Whether to look at more than imports.

    Returns:
        What was found, and the new content.
    """
    wrapper = metadata.MetadataWrapper(cst.parse_module(text))
    found = (Rewrite if old else Imports)(project, path, roots)
    made = wrapper.visit(found)
    for module, name in found.needed:
        visitors.AddImportsVisitor.add_needed_import(found.context, module, name)
    if found.needed:
        made = visitors.AddImportsVisitor(found.context).transform_module(made)
    return sorted(set(found.findings)), made.code
