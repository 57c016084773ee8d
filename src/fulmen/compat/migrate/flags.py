"""What becomes of the old flags of a Trainer: the arguments of its call, edited one by one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from fulmen.compat.migrate import table
from fulmen.compat.migrate.library import cst

UNKNOWN = object()


def literal(node: cst.BaseExpression) -> Any:
    """The value of a literal; ``UNKNOWN`` where it is none."""
    try:
        return ast.literal_eval(cst.Module([]).code_for_node(node))
    except (ValueError, SyntaxError, TypeError):
        return UNKNOWN


class Arguments:
    """The arguments of a call, while they are edited.

    Args:
        args: The arguments.
    """

    def __init__(self, args: Any) -> None:
        self.args: list[cst.Arg] = list(args)

    def get(self, name: str) -> cst.Arg | None:
        """An argument by its keyword."""
        return next((arg for arg in self.args if arg.keyword is not None and arg.keyword.value == name), None)

    @property
    def starred(self) -> bool:
        """Whether some arguments are not written down here."""
        return any(arg.star for arg in self.args)

    def rename(self, old: str, new: str) -> bool:
        """Gives an argument another keyword; refuses where that is there already."""
        arg = self.get(old)
        if arg is None or self.get(new) is not None:
            return False
        self._put(arg, arg.with_changes(keyword=cst.Name(new)))
        return True

    def value(self, name: str, value: cst.BaseExpression) -> None:
        """Gives an argument another value."""
        arg = self.get(name)
        assert arg is not None
        self._put(arg, arg.with_changes(value=value))

    def remove(self, name: str) -> bool:
        """Takes an argument out; refuses where a comment stands behind it."""
        arg = self.get(name)
        if arg is None or _has_comment(arg):
            return False
        index = self.args.index(arg)
        self.args.remove(arg)
        if index == len(self.args) and index:
            last = self.args[-1]
            if isinstance(last.comma, cst.Comma) and not _has_comment(last):
                self.args[-1] = last.with_changes(comma=arg.comma)
        return True

    def add(self, name: str, value: cst.BaseExpression, after: str | None = None) -> None:
        """Adds an argument, behind another or at the end, in the manner of those that are there."""
        index = len(self.args) if after is None else self.args.index(self.get(after) or self.args[-1]) + 1
        equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
        new = cst.Arg(value, cst.Name(name), equal=equal)
        if not self.args:
            self.args.append(new)
            return
        before = self.args[index - 1]
        plain = next((a.comma for a in self.args if isinstance(a.comma, cst.Comma) and not _has_comment(a)), None)
        comma = (
            plain if plain is not None and len(self.args) > 1 else cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        )
        self.args[index - 1] = before.with_changes(comma=comma if not _has_comment(before) else before.comma)
        tail = before.comma if not _has_comment(before) else cst.MaybeSentinel.DEFAULT
        self.args.insert(index, new.with_changes(comma=tail))

    def _put(self, old: cst.Arg, new: cst.Arg) -> None:
        self.args[self.args.index(old)] = new


def _has_comment(arg: cst.Arg) -> bool:
    parts = [part for part in (arg.comma, arg.whitespace_after_arg) if isinstance(part, cst.CSTNode)]
    return any("#" in cst.Module([]).code_for_node(part) for part in parts)


def _text(value: str) -> cst.SimpleString:
    return cst.SimpleString(f'"{value}"')


class Flags:
    """The flags of one Trainer.

    Args:
        arguments: Its arguments.
        callback: Gives an expression for the call of a callback of Lightning's.
    """

    def __init__(self, arguments: Arguments, callback: Callable[[str, str], cst.BaseExpression]) -> None:
        self.arguments = arguments
        self.callback = callback

    def found(self) -> list[str]:
        """The flags that are old, or have values that are."""
        names = []
        for arg in self.arguments.args:
            name = arg.keyword.value if arg.keyword is not None else ""
            if name in table.TRAINER_FLAGS and self._is_old(name, literal(arg.value), arg.value):
                names.append(name)
        return sorted(names, key=lambda name: name not in ("accelerator", "distributed_backend"))

    def _is_old(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        if name in ("accelerator", "strategy"):
            return isinstance(value, str) and (
                value in table.STRATEGIES_GONE or (name == "accelerator" and value in table.STRATEGIES)
            )
        if name == "precision":
            return not isinstance(value, bool) and str(value) in table.PRECISIONS and value is not UNKNOWN
        if name == "accumulate_grad_batches":
            return isinstance(node, cst.Dict)
        if name == "profiler":
            return isinstance(value, bool)
        return name != "max_steps" or value is None

    def rewrite(self, name: str) -> bool:
        """Writes a flag as it is written today, where that keeps its meaning.

        Returns:
            Whether it did.
        """
        arg = self.arguments.get(name)
        assert arg is not None
        value = literal(arg.value)
        idle = table.IDLE_FLAGS.get(name, ())
        if any(type(one) is type(value) and one == value for one in idle):
            return self.arguments.remove(name)
        if name in table.RENAMED_FLAGS:
            return self.arguments.rename(name, table.RENAMED_FLAGS[name])
        method = getattr(self, f"_{name}", None)
        return bool(method is not None and method(name, value, arg.value))

    def _device(self, kind: str, name: str, value: Any) -> bool:
        known = self.arguments.get("accelerator")
        if known is not None and literal(known.value) not in (kind, "auto"):
            return False
        if not self.arguments.rename(name, "devices"):
            return False
        if known is None:
            self.arguments.add("accelerator", _text(kind), after="devices")
        return True

    def _gpus(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        if value is None and self._names_device():
            return self.arguments.remove(name)
        if value is None or (value == 0 and type(value) is int):
            if self.arguments.get("accelerator") is not None:
                return False
            self.arguments.value(name, _text("cpu"))
            return self.arguments.rename(name, "accelerator")
        if type(value) is int or (isinstance(value, list) and value):
            return self._device("gpu", name, value)
        return False

    def _names_device(self) -> bool:
        """Whether other flags say on what the Trainer runs."""
        accelerator, cores = (self.arguments.get(name) for name in ("accelerator", "tpu_cores"))
        if accelerator is not None:
            return literal(accelerator.value) in ("auto", "cpu", "cuda", "gpu", "mps", "tpu")
        return cores is not None and literal(cores.value) not in (None, UNKNOWN)

    def _tpu_cores(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        return type(value) in (int, list) and self._device("tpu", name, value)

    def _num_processes(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        others = any(self.arguments.get(other) is not None for other in ("gpus", "tpu_cores", "devices"))
        return type(value) is int and not others and self._device("cpu", name, value)

    def _accelerator(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        return value in table.STRATEGIES and self.arguments.rename(name, "strategy")

    _distributed_backend = _accelerator

    def _precision(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        self.arguments.value(name, _text(table.PRECISIONS[str(value)]))
        return True

    def _profiler(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        self.arguments.value(name, _text("simple"))
        return True

    def _checkpoint_callback(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        if isinstance(value, bool):
            return self.arguments.rename(name, "enable_checkpointing")
        is_callback = isinstance(node, cst.Call)
        return is_callback and self._has_room() and self.arguments.remove(name) and self._add(node)

    def _early_stop_callback(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        is_callback = isinstance(node, cst.Call)
        return is_callback and self._has_room() and self.arguments.remove(name) and self._add(node)

    def _progress_bar_refresh_rate(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        if value == 0 and type(value) is int:
            self.arguments.value(name, cst.Name("False"))
            return self.arguments.rename(name, "enable_progress_bar")
        position = self.arguments.get("process_position")
        if type(value) is not int or position is not None:
            return False
        return self._replace(name, self.callback("TQDMProgressBar", f"refresh_rate={value}"))

    def _process_position(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        rate = self.arguments.get("progress_bar_refresh_rate")
        if type(value) is not int or (rate is not None and literal(rate.value) is not UNKNOWN):
            return False
        return self._replace(name, self.callback("TQDMProgressBar", f"process_position={value}"))

    def _weights_summary(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        if value is None:
            self.arguments.value(name, cst.Name("False"))
            return self.arguments.rename(name, "enable_model_summary")
        return value == "full" and self._replace(name, self.callback("ModelSummary", "max_depth=-1"))

    def _log_gpu_memory(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        return value is not UNKNOWN and self._replace(name, self.callback("DeviceStatsMonitor", ""))

    def _accumulate_grad_batches(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        made = self.callback("GradientAccumulationScheduler", "scheduling={}")
        assert isinstance(made, cst.Call)
        return self._replace(name, made.with_changes(args=[made.args[0].with_changes(value=node)]))

    def _reload_dataloaders_every_epoch(self, name: str, value: Any, node: cst.BaseExpression) -> bool:
        if value is not True or self.arguments.get("reload_dataloaders_every_n_epochs") is not None:
            return False
        self.arguments.value(name, cst.Integer("1"))
        return self.arguments.rename(name, "reload_dataloaders_every_n_epochs")

    def _has_room(self) -> bool:
        known = self.arguments.get("callbacks")
        return known is None or isinstance(known.value, cst.List)

    def _replace(self, name: str, callback: cst.BaseExpression) -> bool:
        return self._has_room() and self.arguments.remove(name) and self._add(callback)

    def _add(self, callback: cst.BaseExpression) -> bool:
        known = self.arguments.get("callbacks")
        if known is None:
            self.arguments.add("callbacks", cst.List([cst.Element(callback)]))
            return True
        assert isinstance(known.value, cst.List)
        elements = list(known.value.elements)
        comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        if elements:
            last = elements[-1]
            tail = last.comma
            elements[-1] = last.with_changes(comma=elements[0].comma if len(elements) > 1 else comma)
            elements.append(cst.Element(callback, comma=tail))
        else:
            elements.append(cst.Element(callback))
        self.arguments.value("callbacks", known.value.with_changes(elements=elements))
        return True
