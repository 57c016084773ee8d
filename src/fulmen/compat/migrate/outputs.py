"""``validation_epoch_end(outputs)`` and its like: a list that steps fill, and ``on_validation_epoch_end`` empties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fulmen.compat.migrate.library import cst, m

STAGES = {"training": "train", "validation": "validation", "test": "test"}


def methods_of(node: cst.ClassDef) -> dict[str, cst.FunctionDef]:
    """The methods that a class defines, by name."""
    return {part.name.value: part for part in node.body.body if isinstance(part, cst.FunctionDef)}


def can_collect(node: cst.ClassDef, stage: str) -> bool:
    """Whether what a class does with its steps' outputs at an epoch's end can be written in today's way.

    Args:
        node: A class that derives from ``LightningModule`` itself.
        stage: ``"training"``, ``"validation"`` or ``"test"``.
    """
    methods = methods_of(node)
    hook, step, init = (methods.get(name) for name in (f"{stage}_epoch_end", f"{stage}_step", "__init__"))
    if hook is None or step is None or init is None or f"on_{STAGES[stage]}_epoch_end" in methods:
        return False
    if f"{stage}_step_end" in methods or len(_names(hook)) != 2 or not _only_names(hook):
        return False
    if {"dataloader_idx", "optimizer_idx", "hiddens"} & set(_names(step)) or _calls_super(hook):
        return False
    loaders = methods.get(f"{STAGES[stage].replace('validation', 'val')}_dataloader")
    if loaders is not None and any(isinstance(one.value, (cst.List, cst.Tuple)) for one in _returns(loaders)):
        return False
    if _yields(step) or _yields(hook) or any(map(_has_value, _returns(hook))):
        return False
    returns = _returns(step)
    return (
        any(map(_has_value, returns))
        and len(returns) == len(_lines_with_return(step))
        and _super_line(init) is not None
    )


def collect(node: cst.ClassDef, stage: str) -> cst.ClassDef:
    """Writes it in today's way; see :func:`can_collect`."""
    held = f"{stage}_step_outputs"

    def change(name: str, edit: Callable[[cst.FunctionDef], cst.FunctionDef]) -> None:
        nonlocal node
        body = [
            edit(part) if isinstance(part, cst.FunctionDef) and part.name.value == name else part
            for part in node.body.body
        ]
        node = node.with_changes(body=node.body.with_changes(body=body))

    def end(function: cst.FunctionDef) -> cst.FunctionDef:
        given = _names(function)[1]
        first = cst.parse_statement(f"{given}, self.{held} = self.{held}, []")
        lines = list(function.body.body)
        at = 1 if lines and function.get_docstring() is not None else 0
        parameters = function.params.with_changes(
            params=[function.params.params[0].with_changes(comma=cst.MaybeSentinel.DEFAULT)]
        )
        return function.with_changes(
            name=cst.Name(f"on_{STAGES[stage]}_epoch_end"),
            params=parameters,
            body=function.body.with_changes(body=[*lines[:at], first, *lines[at:]]),
        )

    def begin(function: cst.FunctionDef) -> cst.FunctionDef:
        lines = list(function.body.body)
        at = _super_line(function)
        assert at is not None
        lines.insert(at + 1, cst.parse_statement(f"self.{held} = []"))
        return function.with_changes(body=function.body.with_changes(body=lines))

    def fill(function: cst.FunctionDef) -> cst.FunctionDef:
        body = function.body.visit(_Fill(held, stage == "training", _dictionaries(function), _free_name(function)))
        return function.with_changes(body=body)

    change(f"{stage}_epoch_end", end)
    change("__init__", begin)
    change(f"{stage}_step", fill)
    return node


class _Fill(m.MatcherDecoratableTransformer):
    """Puts what a step returns into the list, before it returns it."""

    def __init__(self, held: str, training: bool, dictionaries: set[str], free: str) -> None:
        super().__init__()
        self.held, self.training, self.dictionaries, self.free = held, training, dictionaries, free

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return False

    def visit_Lambda(self, node: cst.Lambda) -> bool:
        return False

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> Any:
        last = updated_node.body[-1]
        if not isinstance(last, cst.Return) or last.value is None or not _has_value(last):
            return updated_node
        lines: list[Any] = []
        value = last.value
        is_dict = _is_dict(value) or (isinstance(value, cst.Name) and value.value in self.dictionaries)
        if not isinstance(value, cst.Name):
            lines.append(cst.parse_statement(f"{self.free} = 0"))
            assign = lines[0].body[0].with_changes(value=value.with_changes())
            lines[0] = lines[0].with_changes(body=[assign])
            value = cst.Name(self.free)
        name = value.value
        kept = name
        if self.training and is_dict:
            kept = f'{{k: v.detach() if hasattr(v, "detach") else v for k, v in {name}.items()}}'
        elif self.training:
            kept = f'{{"loss": {name}.detach()}}'
        lines.append(cst.parse_statement(f"self.{self.held}.append({kept})"))
        lines[0] = lines[0].with_changes(leading_lines=updated_node.leading_lines)
        lines.append(updated_node.with_changes(body=[last.with_changes(value=cst.Name(name))], leading_lines=()))
        return cst.FlattenSentinel(lines)


def _names(function: cst.FunctionDef) -> list[str]:
    return [parameter.name.value for parameter in function.params.params]


def _only_names(function: cst.FunctionDef) -> bool:
    params = function.params
    return not (
        params.kwonly_params or params.star_kwarg or params.posonly_params or isinstance(params.star_arg, cst.Param)
    )


class _Inside(cst.CSTVisitor):
    """What stands in a function, and not in those that it defines."""

    def __init__(self) -> None:
        self.returns: list[cst.Return] = []
        self.lines: list[cst.SimpleStatementLine] = []
        self.yields = False

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return False

    def visit_Lambda(self, node: cst.Lambda) -> bool:
        return False

    def visit_Return(self, node: cst.Return) -> None:
        self.returns.append(node)

    def visit_Yield(self, node: cst.Yield) -> None:
        self.yields = True

    def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> None:
        if len(node.body) == 1 and isinstance(node.body[0], cst.Return):
            self.lines.append(node)


def _inside(function: cst.FunctionDef) -> _Inside:
    found = _Inside()
    function.body.visit(found)
    return found


def _returns(function: cst.FunctionDef) -> list[cst.Return]:
    return _inside(function).returns


def _lines_with_return(function: cst.FunctionDef) -> list[cst.SimpleStatementLine]:
    return _inside(function).lines


def _yields(function: cst.FunctionDef) -> bool:
    return _inside(function).yields


def _calls_super(function: cst.FunctionDef) -> bool:
    return bool(m.findall(function, m.Call(func=m.Name("super"))))


def _super_line(init: cst.FunctionDef) -> int | None:
    """The line of ``__init__`` that calls that of the base."""
    call = m.Call(func=m.Attribute(attr=m.Name("__init__")))
    line = m.SimpleStatementLine(body=[m.Expr(value=call)])
    return next((index for index, part in enumerate(_parts(init)) if m.matches(part, line)), None)


def _parts(function: cst.FunctionDef) -> Sequence[Any]:
    return function.body.body if isinstance(function.body, cst.IndentedBlock) else ()


def _is_none(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"


def _has_value(node: cst.Return) -> bool:
    return node.value is not None and not _is_none(node.value)


def _is_dict(node: cst.BaseExpression) -> bool:
    return isinstance(node, (cst.Dict, cst.DictComp)) or m.matches(node, m.Call(func=m.Name("dict")))


def _dictionaries(function: cst.FunctionDef) -> set[str]:
    """Names of a function to which it assigns a dictionary."""
    return {
        assign.targets[0].target.value
        for assign in m.findall(function, m.Assign(targets=[m.AssignTarget(target=m.Name())]))
        if isinstance(assign, cst.Assign) and _is_dict(assign.value) and isinstance(assign.targets[0].target, cst.Name)
    }


def _free_name(function: cst.FunctionDef) -> str:
    used = {name.value for name in m.findall(function, m.Name()) if isinstance(name, cst.Name)}
    return next(name for name in ("output", "step_output", "returned_output", "output_") if name not in used)
