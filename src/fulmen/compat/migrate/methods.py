"""What becomes of hooks that have another name, or are called with less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fulmen.compat.migrate import table
from fulmen.compat.migrate.library import cst, m

# Hooks that are called at the same place under another name: that name, and what comes after `self`.
_CALLBACK = "trainer pl_module"
RENAMED: dict[tuple[str, str], tuple[str, str]] = {
    ("callback", "on_batch_start"): ("on_train_batch_start", f"{_CALLBACK} batch batch_idx"),
    ("callback", "on_batch_end"): ("on_train_batch_end", f"{_CALLBACK} outputs batch batch_idx"),
    ("callback", "on_pretrain_routine_start"): ("on_fit_start", _CALLBACK),
    ("callback", "on_pretrain_routine_end"): ("on_fit_start", _CALLBACK),
    ("callback", "on_keyboard_interrupt"): ("on_exception", f"{_CALLBACK} exception"),
    ("module", "on_batch_start"): ("on_train_batch_start", "batch batch_idx"),
    ("module", "on_batch_end"): ("on_train_batch_end", "outputs batch batch_idx"),
    ("module", "on_pretrain_routine_start"): ("on_fit_start", ""),
    ("module", "on_pretrain_routine_end"): ("on_fit_start", ""),
}
# Parameters whose loss changes what a method means, whether it uses them or not.
_TELLING = {("training_step", "optimizer_idx"), ("training_step", "hiddens"), ("on_load_checkpoint", "callback_state")}
METHODS = {
    "module": table.MODULE_METHODS,
    "callback": table.CALLBACK_METHODS,
    "data": table.DATAMODULE_METHODS,
    "logger": table.LOGGER_METHODS,
}
PARAMETERS = {"module": table.MODULE_PARAMETERS, "callback": table.CALLBACK_PARAMETERS}


def renamed(function: cst.FunctionDef, kind: str, others: set[str]) -> cst.FunctionDef | None:
    """A hook under its new name; None where that cannot be done without a look at it.

    Args:
        function: The hook.
        kind: Whose it is.
        others: The names of the methods of its class.
    """
    new = RENAMED.get((kind, function.name.value))
    params = function.params
    if new is None or new[0] in others or params.kwonly_params or params.star_kwarg or params.posonly_params:
        return None
    both = {"on_pretrain_routine_start", "on_pretrain_routine_end"}
    if isinstance(params.star_arg, cst.Param) or both <= others or m.findall(function, m.Call(func=m.Name("super"))):
        return None
    given = len(_CALLBACK.split()) + 1 if kind == "callback" else 1
    if len(params.params) != given or any(parameter.default is not None for parameter in params.params):
        return None
    added = new[1].split()[given - 1 :]
    used = {name.value for name in m.findall(function, m.Name()) if isinstance(name, cst.Name)}
    if used & set(added):
        return None
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    names = [*params.params, *(cst.Param(cst.Name(name)) for name in added)]
    names = [name.with_changes(comma=comma) for name in names[:-1]] + [
        names[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    ]
    body: Any = function.body
    if function.name.value == "on_keyboard_interrupt":
        if not isinstance(body, cst.IndentedBlock):
            return None
        guard = cst.parse_statement("if not isinstance(exception, KeyboardInterrupt):\n    return")
        at = 1 if function.get_docstring() is not None else 0
        body = body.with_changes(body=[*body.body[:at], guard, *body.body[at:]])
    return function.with_changes(name=cst.Name(new[0]), params=params.with_changes(params=names), body=body)


def old_parameters(function: cst.FunctionDef, kind: str) -> Iterator[tuple[str, str]]:
    """The parameters of a hook that are not passed any more, each with what to do."""
    name = function.name.value
    for parameter in function.params.params:
        if parameter.name.value in PARAMETERS.get(kind, {}).get(name, ()):
            what = parameter.name.value
            yield what, table.PARAMETERS.get(what, "leave it out: it is not passed any more")


def parameters(function: cst.FunctionDef) -> dict[str, bool]:
    """What a method takes by position, after `self`; of each, whether it has to be passed."""
    return {parameter.name.value: parameter.default is None for parameter in function.params.params[1:]}


def runs_closure(function: cst.FunctionDef) -> bool:
    """Whether an ``optimizer_step`` calls its closure, or hands it to a step, whatever happens.

    The old signature asks for the rule of old, by which a closure may stay uncalled.
    """
    closure = next((name for name in parameters(function) if "closure" in name), "")
    step = m.Call(
        func=m.Attribute(attr=m.Name("step")) | m.Attribute(m.Call(m.Name("super")), m.Name("optimizer_step")),
        args=[m.ZeroOrMore(), m.Arg(value=m.Name(closure)), m.ZeroOrMore()],
    )
    runs: Any = step | m.Call(func=m.Name(closure))
    line = m.SimpleStatementLine(body=[m.Expr(runs) | m.Assign(value=runs) | m.Return(runs)])
    for part in function.body.body:
        if m.matches(part, line):
            return True
        if m.findall(part, m.Return() | m.Raise() | m.Yield()):
            return False
    return False


def without(function: cst.FunctionDef, name: str) -> cst.FunctionDef | None:
    """A hook without a parameter that it does not use; None if it does."""
    if (function.name.value, name) in _TELLING or m.findall(function.body, m.Name(name)):
        return None
    params = [parameter for parameter in function.params.params if parameter.name.value != name]
    last = params[-1].with_changes(comma=function.params.params[-1].comma)
    if function.params.star_arg is not cst.MaybeSentinel.DEFAULT or function.params.star_kwarg is not None:
        last = params[-1]
    return function.with_changes(params=function.params.with_changes(params=[*params[:-1], last]))


def hyper_parameters(node: cst.Assign, function: cst.FunctionDef) -> cst.BaseSmallStatement | None:
    """``self.hparams = hparams`` in today's words; None if what is assigned is no argument of ``__init__``."""
    value = node.value
    names = {parameter.name.value for parameter in function.params.params}
    if function.name.value != "__init__" or not isinstance(value, cst.Name) or value.value not in names:
        return None
    made = cst.parse_statement(f"self.save_hyperparameters({value.value})")
    assert isinstance(made, cst.SimpleStatementLine)
    return made.body[0]


def step_keys(node: cst.Return) -> Iterator[str]:
    """The keys of version 1.0 in what a step returns."""
    if isinstance(node.value, cst.Dict):
        for element in node.value.elements:
            key = element.key if isinstance(element, cst.DictElement) else None
            if isinstance(key, cst.SimpleString) and key.evaluated_value in table.STEP_KEYS:
                yield str(key.evaluated_value)


Note = Callable[[cst.CSTNode, str, str, bool], None]
