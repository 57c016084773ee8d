"""What becomes of calls: of the Trainer, of its methods, of ``self.log``, callbacks and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fulmen.compat.migrate import table
from fulmen.compat.migrate.findings import Finding
from fulmen.compat.migrate.flags import Arguments, Flags, literal
from fulmen.compat.migrate.library import cst, get_full_name_for_node
from fulmen.compat.migrate.project import below_root

if TYPE_CHECKING:
    from fulmen.compat.migrate.project import File, Project

_FUNCTIONS = {
    "accuracy", "auroc", "average_precision", "calibration_error", "cohen_kappa", "confusion_matrix", "f1", "f1_score",
    "fbeta_score", "hamming_distance", "hinge_loss", "jaccard_index", "matthews_corrcoef", "precision",
    "precision_recall_curve", "recall", "roc", "specificity", "stat_scores",
}  # fmt: skip


# Flags of which only some values are old.
_TODAY = ("accelerator", "strategy", "precision", "accumulate_grad_batches", "profiler", "max_steps")


class Calls(cst.CSTTransformer):
    """The part of the pass that looks at calls."""

    project: Project
    path: str
    file: File
    findings: list[Finding]

    @property
    def kind(self) -> str | None:
        """What the class is in which we are."""
        return None

    def __init__(self) -> None:
        super().__init__()
        self.needed: list[tuple[str, str]] = []

    if TYPE_CHECKING:  # the rest of the pass

        def note(self, node: cst.CSTNode, what: str, remedy: str, safe: bool = False) -> None: ...
        def place(self, node: cst.CSTNode) -> tuple[int, int]: ...
        def imported(self, node: cst.CSTNode) -> str | None: ...
        def own_names(self) -> set[str]: ...
        def is_trainer(self, node: cst.BaseExpression) -> bool: ...
        def base(self) -> cst.BaseExpression | None: ...

    def change_call(self, original_node: cst.Call, updated_node: cst.Call) -> Any:
        """Brings a call up to date."""
        name = self.imported(original_node.func)
        local = name or get_full_name_for_node(original_node.func) or ""
        if self._kind_of(local) == "trainer":
            return self._trainer(original_node, updated_node, original_node.func)
        base = self.base()
        if base is not None and self.kind == "trainer" and _is_super_init(original_node.func):
            return self._trainer(original_node, updated_node, base)
        if name is not None:
            inner = below_root(name)
            if inner and inner.startswith("callbacks.") and inner.endswith((".ModelCheckpoint", ".EarlyStopping")):
                mode = Arguments(original_node.args).get("mode")
                if mode is not None and literal(mode.value) == "auto":
                    self.note(mode, f"{inner.rpartition('.')[2]}(mode)", '`mode="min"` or `mode="max"`')
            if inner and inner.startswith("callbacks.") and inner.endswith(".ModelCheckpoint"):
                return self._checkpoint(original_node, updated_node)
            self._metric(original_node, name)
        if isinstance(original_node.func, cst.Attribute):
            return self._method(original_node, updated_node, original_node.func)
        return updated_node

    def _kind_of(self, name: str) -> str | None:
        return self.project.kind(self.path, name) if name else None

    def _trainer(self, original_node: cst.Call, updated_node: cst.Call, func: cst.BaseExpression) -> cst.Call:
        """Brings the arguments of a Trainer up to date.

        Args:
            original_node: The call.
            updated_node: What has become of it.
            func: Its class; one with an ``__init__`` of its own may do anything with what it is given.
        """
        arguments = Arguments(updated_node.args)
        needed: list[tuple[str, str]] = []
        flags = Flags(arguments, lambda name, text: self._callback(func, name, text, needed))
        own = self.project.own_flags(self.path, self.imported(func) or get_full_name_for_node(func) or "")
        for flag in flags.found():
            if own is not None and flag in own:
                continue
            where = Arguments(original_node.args).get(flag)
            assert where is not None
            if arguments.get(flag) is None:  # another flag's rewriting took it along
                self.note(where, flag, table.TRAINER_FLAGS[flag], True)
                continue
            if arguments.starred or own is not None:
                safe = False
            elif flag == "resume_from_checkpoint" and self.place(original_node) in self.file.moved:
                safe = arguments.remove(flag)
                if not safe:
                    self.file.moves.clear()
            else:
                before = len(needed)
                safe = flags.rewrite(flag)
                if safe:
                    self.needed += needed[before:]
            self.note(where, flag, table.TRAINER_FLAGS[flag], safe)
        for arg in original_node.args:
            if arg.star == "**":
                self._settings(arg.value, own or set())
        return updated_node.with_changes(args=arguments.args)

    def _settings(self, node: cst.BaseExpression, own: set[str]) -> None:
        """Names what is old in a dictionary of arguments."""
        known = {*own, *_TODAY}
        for key, (line, column) in self.file.settings(get_full_name_for_node(node) or ""):
            if key in table.TRAINER_FLAGS and key not in known:
                self.findings.append(Finding(self.path, line, column, key, table.TRAINER_FLAGS[key]))
        for one, key in _keys(node):
            if key in table.TRAINER_FLAGS and key not in known:
                self.note(one, key, table.TRAINER_FLAGS[key])

    def _callback(self, func: cst.BaseExpression, name: str, text: str, needed: list[tuple[str, str]]) -> Any:
        """The call of a callback of Lightning's, reached as the Trainer is."""
        full = self.imported(func) or ""
        written = get_full_name_for_node(func) or ""
        alias = written.partition(".")[0]
        if written == f"{alias}.Trainer" and below_root(full) == "Trainer":
            return cst.parse_expression(f"{alias}.callbacks.{name}({text})")
        inner = below_root(full)
        root = full[: -len(inner) - 1] if inner else "fulmen"
        needed.append((f"{root}.callbacks", name))
        return cst.parse_expression(f"{name}({text})")

    def _checkpoint(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        arguments = Arguments(updated_node.args)
        for old, remedy in table.CHECKPOINT_ARGUMENTS.items():
            if arguments.get(old) is not None:
                new = table.RENAMED_CHECKPOINT_ARGUMENTS.get(old)
                safe = new is not None and not arguments.starred and arguments.rename(old, new)
                self.note(original_node, f"ModelCheckpoint({old})", remedy, safe)
        return updated_node.with_changes(args=arguments.args)

    def _metric(self, node: cst.Call, name: str) -> None:
        root, _, inner = name.partition(".")
        last = name.rpartition(".")[2]
        if root != "torchmetrics" or Arguments(node.args).get("task") is not None:
            return
        if inner.startswith("functional.") and last in _FUNCTIONS:
            self.note(node, name, f'`{last}(..., task="multiclass", num_classes=n)`')
        elif not inner.startswith("functional.") and last in table.TASK_METRICS and not _names_task(node):
            self.note(node, name, table.TASK.format(name=last))

    def _method(self, original_node: cst.Call, updated_node: cst.Call, func: cst.Attribute) -> cst.Call:
        method = func.attr.value
        arguments = Arguments(updated_node.args)
        owner = get_full_name_for_node(func.value)
        if self.is_trainer(func.value):
            for (name, old), new in table.TRAINER_ARGUMENTS.items():
                if name == method and arguments.get(old) is not None:
                    safe = not arguments.starred and arguments.rename(old, new)
                    self.note(original_node, f"{method}({old})", f"`{new}=`", safe)
            path = self.file.moves.get(self.place(original_node))
            if path is not None and arguments.get("ckpt_path") is None:
                arguments.add("ckpt_path", cst.parse_expression(path))
        elif owner == "self" and self.kind == "module" and method in ("log", "log_dict"):
            for old, remedy in table.LOG_ARGUMENTS.items():
                if arguments.get(old) is not None:
                    safe = old != "sync_dist_op" and not arguments.starred and arguments.remove(old)
                    self.note(original_node, f"self.{method}({old})", remedy, safe)
        elif owner == "self" and self.kind == "module" and method == "toggle_optimizer" and len(arguments.args) == 2:
            safe = method not in self.own_names()
            self.note(original_node, "toggle_optimizer(optimizer_idx)", "`toggle_optimizer(optimizer)`", safe)
            if safe:
                arguments.args = [arguments.args[0].with_changes(comma=cst.MaybeSentinel.DEFAULT)]
        elif self.kind == "data" and method == "__init__" and _is_super(func.value):
            for old in ("train_transforms", "val_transforms", "test_transforms", "dims"):
                if arguments.get(old) is not None:
                    self.note(original_node, f"LightningDataModule({old})", table.DATAMODULE_ATTRIBUTES[old])
        return updated_node.with_changes(args=arguments.args)


def _keys(node: cst.BaseExpression) -> Iterator[tuple[cst.CSTNode, str]]:
    """The keys of a dictionary that is written down on the spot."""
    if isinstance(node, cst.Dict):
        for element in node.elements:
            if isinstance(element, cst.DictElement) and isinstance(element.key, cst.SimpleString):
                yield element.key, str(element.key.evaluated_value)
    elif isinstance(node, cst.Call) and get_full_name_for_node(node.func) == "dict":
        for arg in node.args:
            if arg.keyword is not None:
                yield arg, arg.keyword.value


def _is_super_init(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Attribute) and node.attr.value == "__init__" and _is_super(node.value)


def _is_super(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Call) and get_full_name_for_node(node.func) == "super"


def _names_task(node: cst.Call) -> bool:
    """Whether the first argument names a task."""
    first = node.args[0].value if node.args and node.args[0].keyword is None else None
    return isinstance(first, cst.SimpleString) or any(arg.star for arg in node.args)
