"""Command lines of 1.x: arguments made from the signature of a class, and objects made from parsed ones."""

from __future__ import annotations

import functools
import inspect
import os
from argparse import SUPPRESS, ArgumentParser, Namespace
from ast import literal_eval
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

from fulmen.compat import v1
from fulmen.compat.v1.flag_tables import DEFAULTS
from fulmen.compat.v1.flags import same
from fulmen.compat.v1.hints import hint
from fulmen.utilities.exceptions import MisconfiguredType

_TRUE, _FALSE = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")
_BY_HAND = "`jsonargparse` or `LightningCLI`, or arguments of your own: `Trainer(max_epochs=args.max_epochs)`."

# What the Trainer's arguments of 1.x may be; those of today say it in their annotations.
_KINDS: dict[str, tuple[type, ...]] = {
    "amp_backend": (str,), "amp_level": (str,), "auto_lr_find": (bool, str), "auto_scale_batch_size": (bool, str),
    "auto_select_gpus": (bool,), "benchmark": (bool,), "checkpoint_callback": (bool,), "deterministic": (bool, str),
    "devices": (int, str), "enable_checkpointing": (bool,), "enable_model_summary": (bool,),
    "enable_progress_bar": (bool,), "fast_dev_run": (bool, int), "flush_logs_every_n_steps": (int,),
    "gpus": (int, str), "ipus": (int,), "log_gpu_memory": (str,), "logger": (bool,), "max_epochs": (int,),
    "max_time": (str,), "min_epochs": (int,), "min_steps": (int,),
    "move_metrics_to_cpu": (bool,), "multiple_trainloader_mode": (str,), "num_processes": (int,),
    "num_sanity_val_steps": (int,), "overfit_batches": (int, float), "plugins": (str,), "precision": (int, str),
    "prepare_data_per_node": (bool,), "process_position": (int,), "profiler": (str,),
    "progress_bar_refresh_rate": (int,), "reload_dataloaders_every_epoch": (bool,), "replace_sampler_ddp": (bool,),
    "resume_from_checkpoint": (str,), "stochastic_weight_avg": (bool,), "terminate_on_nan": (bool,),
    "tpu_cores": (int, str), "track_grad_norm": (int, float, str), "val_check_interval": (int, float, str),
    "weights_save_path": (str,), "weights_summary": (str,), "accelerator": (str,), "strategy": (str,),
    "accumulate_grad_batches": (int,), "default_root_dir": (str,), "gradient_clip_algorithm": (str,),
    "gradient_clip_val": (int, float), "limit_train_batches": (int, float), "limit_val_batches": (int, float),
    "limit_test_batches": (int, float), "limit_predict_batches": (int, float),
}  # fmt: skip
_OBJECTS = ("callbacks",)


def read_bool(text: str) -> bool:
    """Reads ``"true"``, ``"yes"``, ``"on"``, ``"1"`` and their counterparts.

    Args:
        text: The word, in any case.

    Raises:
        ValueError: If it is none of these.
    """
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def reader(kinds: tuple[type, ...]) -> Callable[[str], Any]:
    """Reads text as the first of some types that it fits: a truth value, an int, a float, text.

    Args:
        kinds: Among ``bool``, ``int``, ``float`` and ``str``.
    """
    order = [kind for kind in (bool, int, float, str) if kind in kinds]

    def read(text: str) -> Any:
        for kind in order:
            try:
                return read_bool(text) if kind is bool else kind(text)
            except ValueError:
                continue
        raise ValueError(f"{text!r} is no {' or '.join(kind.__name__ for kind in order)}")

    read.__name__ = " or ".join(kind.__name__ for kind in order)  # what argparse says in an error
    return read


def arguments_and_types(kind: type) -> list[tuple[str, tuple[type, ...], Any]]:
    """The arguments of a class with the types that text can be read as, and their defaults.

    Args:
        kind: The class; a Trainer's are those of 1.x, then those of today.

    Returns:
        For each argument its name, its types (none where text can be no such value) and its default.
    """
    found: dict[str, tuple[tuple[type, ...], Any]] = {}
    for base in kind.__mro__:
        init = vars(base).get("__init__")
        if init is None or base is object:
            continue
        parameters = list(inspect.signature(init).parameters.values())[1:]
        if _is_trainer(base):
            for name, default in DEFAULTS[v1.version()].items():
                found.setdefault(name, (() if name in _OBJECTS else _KINDS.get(name) or _kinds_of(default), default))
        hints = _hints(init)
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                kinds = () if parameter.name in _OBJECTS else _KINDS.get(parameter.name) if _is_trainer(base) else None
                if kinds is None:
                    kinds = _types_in(hints.get(parameter.name)) or _kinds_of(parameter.default)
                found.setdefault(parameter.name, (kinds, parameter.default))
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
            break  # nothing is handed on to the base class
    return [(name, kinds, default) for name, (kinds, default) in found.items()]


def _others() -> list[tuple[str, tuple[type, ...], Any]]:
    """Arguments of the Trainer that another 1.x had: a script may be of either."""
    return [
        (name, _KINDS.get(name) or _kinds_of(default), SUPPRESS)
        for known in DEFAULTS.values()
        for name, default in known.items()
        if name not in DEFAULTS[v1.version()] and name not in _OBJECTS
    ]


def _is_trainer(base: type) -> bool:
    return base.__name__ == "Trainer" and base.__module__ == "fulmen.trainer.trainer"


def _hints(init: Any) -> dict[str, Any]:
    try:
        return get_type_hints(init)
    except Exception:  # names that only a type checker knows
        return {}


def _types_in(annotation: Any) -> tuple[type, ...]:
    if annotation in (bool, int, float, str):
        return (annotation,)
    if annotation is Any or get_origin(annotation) in (list, dict, tuple):
        return ()
    if str(get_origin(annotation)) == "typing.Literal":
        return tuple({type(value) for value in get_args(annotation) if isinstance(value, (bool, int, float, str))})
    return tuple(dict.fromkeys(kind for part in get_args(annotation) for kind in _types_in(part)))


def _kinds_of(default: Any) -> tuple[type, ...]:
    if isinstance(default, (bool, int, float, str)):
        return (type(default),)
    return (str,)


def add_argparse_args(kind: type, parent_parser: ArgumentParser, use_argument_group: bool = True) -> ArgumentParser:
    """Adds the arguments of a class to a command line.

    Args:
        kind: The class.
        parent_parser: The command line; arguments that it has already are left alone.
        use_argument_group: Whether to add them to it, as a group; False makes a new one.

    Returns:
        The command line with all arguments.

    Raises:
        MisconfiguredType: If that is no command line.
    """
    hint(f"`{kind.__name__}.add_argparse_args`", _BY_HAND)
    if not isinstance(parent_parser, ArgumentParser):
        raise MisconfiguredType(
            "`add_argparse_args` adds arguments to an `ArgumentParser`.",
            got=parent_parser,
            fix=f"`parser = {kind.__name__}.add_argparse_args(argparse.ArgumentParser())`.",
        )
    parser = parent_parser if use_argument_group else ArgumentParser(parents=[parent_parser], add_help=False)
    group: Any = parser.add_argument_group(f"pl.{kind.__name__}" if _is_trainer(kind) else kind.__qualname__)
    _add(parser, group, arguments_and_types(kind))
    if any(_is_trainer(base) for base in kind.__mro__):
        _add_late(parser, group, _others())
    return parser


def _add(parser: Any, group: Any, arguments: list[tuple[str, tuple[type, ...], Any]]) -> None:
    taken = {option for action in parser._actions for option in action.option_strings}
    for name, kinds, default in arguments:
        option = f"--{name}"
        if option in taken or not kinds:
            continue
        values = {"nargs": "?", "const": True} if bool in kinds else {}
        group.add_argument(
            option, dest=name, type=reader(kinds), default=None if default is inspect.Parameter.empty else default,
            help=" or ".join(one.__name__ for one in kinds), required=default is inspect.Parameter.empty, **values,
        )  # fmt: skip


def _add_late(parser: Any, group: Any, arguments: list[tuple[str, tuple[type, ...], Any]]) -> None:
    """Adds arguments when the parser is used, as a script may have options of its own by their names."""
    parse = parser.parse_known_args

    @functools.wraps(parse)
    def parse_known_args(*args: Any, **kwargs: Any) -> Any:
        _add(parser, group, arguments)
        return parse(*args, **kwargs)

    parser.parse_known_args = parse_known_args


def from_argparse_args(kind: type, args: Namespace | ArgumentParser, **named: Any) -> Any:
    """Makes an object of a class from a parsed command line.

    Args:
        kind: The class.
        args: What was parsed, or the command line itself, to be parsed now.
        **named: Arguments that go before.

    Returns:
        The object.
    """
    hint(f"`{kind.__name__}.from_argparse_args`", _BY_HAND)
    if isinstance(args, ArgumentParser):
        args = parse_argparser(kind, args)
    of_trainer = any(_is_trainer(base) for base in kind.__mro__)
    known = {name: default for name, _, default in [*(_others() if of_trainer else ()), *arguments_and_types(kind)]}
    given = {name: value for name, value in vars(args).items() if name in known}
    if of_trainer:  # the defaults of then are not worth a hint
        given = {name: value for name, value in given.items() if name == "gpus" or not same(value, known[name])}
    return kind(**{**given, **named})


def parse_argparser(kind: type, arg_parser: ArgumentParser | Namespace) -> Namespace:
    """Parses a command line; a flag that stands alone is true already.

    Args:
        kind: The class whose arguments it has.
        arg_parser: The command line, or what was parsed of it.
    """
    return arg_parser.parse_args() if isinstance(arg_parser, ArgumentParser) else arg_parser


def match_env_arguments(kind: type, template: str = "PL_%(cls_name)s_%(cls_argument)s") -> Namespace:
    """The arguments of a class that variables of the environment give, such as ``PL_TRAINER_GPUS``.

    Args:
        kind: The class.
        template: How a variable is called; in capitals.
    """
    found = {}
    for name, _, _ in arguments_and_types(kind):
        value = os.environ.get((template % {"cls_name": kind.__name__, "cls_argument": name}).upper())
        if value:
            try:
                found[name] = literal_eval(value)
            except (ValueError, SyntaxError):
                found[name] = value
    return Namespace(**found)
