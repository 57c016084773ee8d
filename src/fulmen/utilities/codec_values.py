"""Forms for values of the standard library, of torch and of numpy: each as plain data, and back."""

from __future__ import annotations

import argparse
import datetime
import decimal
import fractions
import functools
import operator
import pathlib
import re
import sys
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import torch

from fulmen.utilities.parsing import AttributeDict
from fulmen.utilities.places import MEMBER, Place
from fulmen.utilities.registered import NOTHING, import_named, registered, registered_name

# A dtype that names its layout alone: numpy reads other strings as small programs of their own.
_DTYPE = re.compile(r"[<>|=]?[?a-zA-Z]\d*(\[\d*[a-zA-Z]+\])?")
_MAPPINGS: dict[str, Any] = {
    "dict": dict, "OrderedDict": OrderedDict, "Counter": Counter, "AttributeDict": AttributeDict,
}  # fmt: skip

Form = dict[str, Any]


class UnresolvableError(Exception):
    """A value cannot be made of its form; says why, and what to do."""

    def __init__(self, why: str, fix: str | None = None) -> None:
        super().__init__(why)
        self.fix = fix


def _path(codec: Any, value: pathlib.PurePath, path: Place) -> Form:
    pure = type(value) in (pathlib.PurePosixPath, pathlib.PureWindowsPath)
    return {"kind": "path", "value": str(value), **({"pure": type(value).__name__} if pure else {})}


def _make_path(codec: Any, form: Form, path: Place) -> pathlib.PurePath:
    kinds: dict[Any, Callable[[str], pathlib.PurePath]] = {
        "PurePosixPath": pathlib.PurePosixPath,
        "PureWindowsPath": pathlib.PureWindowsPath,
        None: pathlib.Path,
    }
    return kinds[form.get("pure")](form["value"])


def _partial(codec: Any, value: functools.partial[Any], path: Place) -> Form | None:
    name = registered_name(value.func)
    if name is None or vars(value):
        return None
    args, keywords = codec.encode(value.args, (path, "args")), codec.encode(value.keywords, (path, "keywords"))
    return {"kind": "partial", "name": name, "args": args, "keywords": keywords}


def _make_partial(codec: Any, form: Form, path: Place) -> functools.partial[Any]:
    args, keywords = codec.decode(form["args"], path), codec.decode(form["keywords"], path)
    return functools.partial(named(codec, form["name"]), *args, **keywords)


def by_name(codec: Any, value: Any, path: Place) -> Form | None:
    """The form of a class or function that is registered; None if it is not."""
    name = registered_name(value) if callable(value) else None
    return None if name is None else {"kind": "name", "name": name}


def named(codec: Any, name: str) -> Any:
    """The class or function that is registered under a name.

    Raises:
        UnresolvableError: If none is.
    """
    try:
        found = import_named(name) if codec.trusted else registered(name)
    except (ImportError, AttributeError) as error:
        raise UnresolvableError(f"{name!r} is not there any more ({error})") from None
    if found is NOTHING:
        place = name.partition(":")[0]
        raise UnresolvableError(
            f"no class or function is registered as {name!r}",
            f"Register it before loading, with `fulmen.checkpoint.register`, or import what registers it (`{place}`?)",
        )
    return found


def _default_dict(codec: Any, value: defaultdict[Any, Any], path: Place) -> Form | None:
    factory = value.default_factory
    name = None if factory is None else registered_name(factory)
    if factory is not None and name is None:
        return None
    return {"kind": "defaultdict", "factory": name, "value": codec.pairs(value, path)}


def _make_default_dict(codec: Any, form: Form, path: Place) -> defaultdict[Any, Any]:
    factory = None if form["factory"] is None else named(codec, form["factory"])
    return defaultdict(factory, _pairs(codec, form, path))


def _pairs(codec: Any, form: Form, path: Place) -> dict[Any, Any]:
    return {codec.decode(key, path, True): codec.decode(item, (path, key)) for key, item in form["value"]}


def _make_mapping(codec: Any, form: Form, path: Place) -> Any:
    return _MAPPINGS[form.get("of", "dict")](_pairs(codec, form, path))


def _namespace(codec: Any, value: argparse.Namespace, path: Place) -> Form:
    return {"kind": "namespace", "value": codec.encode(vars(value), path)}


def _make_namespace(codec: Any, form: Form, path: Place) -> argparse.Namespace:
    space = argparse.Namespace()
    vars(space).update(codec.decode(form["value"], path))
    return space


def _collection(codec: Any, value: Any, path: Place) -> Form:
    form = {"kind": type(value).__name__, "value": [codec.encode(item, (path, MEMBER)) for item in value]}
    return {**form, "maxlen": value.maxlen} if type(value) is deque else form


def _members(codec: Any, form: Form, path: Place) -> list[Any]:
    return [codec.decode(item, path, True) for item in form["value"]]


def _datetime(codec: Any, value: Any, path: Place) -> Form | None:
    kind = type(value).__name__
    if kind == "date":
        return {"kind": kind, "value": (value.year, value.month, value.day)}
    day = (value.year, value.month, value.day) if kind == "datetime" else ()
    if type(value.tzinfo) not in (type(None), datetime.timezone, zoneinfo.ZoneInfo):
        return None
    zone = codec.encode(value.tzinfo, (path, "tzinfo"))
    time = (value.hour, value.minute, value.second, value.microsecond)
    return {"kind": kind, "value": (*day, *time), "zone": zone, "fold": value.fold}


def _make_datetime(codec: Any, form: Form, path: Place) -> Any:
    kind = {"datetime": datetime.datetime, "time": datetime.time}[form["kind"]]
    zone = codec.decode(form["zone"], path)
    return kind(*form["value"], tzinfo=zone, fold=form["fold"])


def _timezone(codec: Any, value: Any, path: Place) -> Form:
    offset, *name = value.__getinitargs__()
    return {"kind": "timezone", "value": (offset.days, offset.seconds, offset.microseconds), "name": name}


def _make_timezone(codec: Any, form: Form, path: Place) -> datetime.timezone:
    return datetime.timezone(datetime.timedelta(*form["value"]), *form["name"])


def _zone(codec: Any, value: zoneinfo.ZoneInfo, path: Place) -> Form | None:
    return {"kind": "zone", "value": value.key} if value.key else None


def _bounds(codec: Any, value: Any, path: Place) -> Form:
    bounds = (value.start, value.stop, value.step)
    return {"kind": type(value).__name__, "value": tuple(codec.encode(bound, path) for bound in bounds)}


def _make_slice(codec: Any, form: Form, path: Place) -> slice:
    return slice(*(codec.decode(bound, path, True) for bound in form["value"]))  # newer Pythons can hash one


def _make_fraction(codec: Any, form: Form, path: Place) -> fractions.Fraction:
    numerator, denominator = (codec.decode(part, path) for part in form["value"])
    return fractions.Fraction(operator.index(numerator), operator.index(denominator))


# What a form's name says of a value, for those that are made of text alone.
def _text(kind: str, show: Callable[[Any], Any]) -> Callable[[Any, Any, Place], Form]:
    return lambda codec, value, path: {"kind": kind, "value": show(value)}


def _torch_constant(codec: Any, value: Any, path: Place) -> Form:
    return {"kind": "torch", "value": str(value)}


def _make_torch_constant(codec: Any, form: Form, path: Place) -> Any:
    found = vars(torch)[form["value"].removeprefix("torch.")]
    if type(found) not in (torch.memory_format, torch.qscheme):
        raise UnresolvableError("it is no constant of torch")
    return found


WRITE: dict[type, Callable[[Any, Any, Place], Form | None]] = {
    type(pathlib.Path()): _path,
    pathlib.PurePosixPath: _path,
    pathlib.PureWindowsPath: _path,
    bytes: _text("bytes", lambda value: value.decode("latin-1")),
    argparse.Namespace: _namespace,
    functools.partial: _partial,
    defaultdict: _default_dict,
    frozenset: _collection,
    deque: _collection,
    datetime.datetime: _datetime,
    datetime.time: _datetime,
    datetime.date: _datetime,
    datetime.timedelta: _text("timedelta", lambda value: (value.days, value.seconds, value.microseconds)),
    datetime.timezone: _timezone,
    zoneinfo.ZoneInfo: _zone,
    decimal.Decimal: _text("decimal", str),
    fractions.Fraction: lambda codec, value, path: {
        "kind": "fraction", "value": tuple(codec.encode(part, path) for part in value.as_integer_ratio()),
    },
    uuid.UUID: _text("uuid", str),
    range: _bounds,
    slice: _bounds,
    torch.memory_format: _torch_constant,
    torch.qscheme: _torch_constant,
}  # fmt: skip

READ: dict[str, Callable[[Any, Form, Place], Any]] = {
    "path": _make_path,
    "bytes": lambda codec, form, path: form["value"].encode("latin-1"),
    "int": lambda codec, form, path: int(form["value"], 16),
    "namespace": _make_namespace,
    "partial": _make_partial,
    "name": lambda codec, form, path: named(codec, form["name"]),
    "dict": _make_mapping,
    "defaultdict": _make_default_dict,
    "set": lambda codec, form, path: set(_members(codec, form, path)),
    "frozenset": lambda codec, form, path: frozenset(_members(codec, form, path)),
    "deque": lambda codec, form, path: deque(_members(codec, form, path), form["maxlen"]),
    "datetime": _make_datetime,
    "time": _make_datetime,
    "date": lambda codec, form, path: datetime.date(*form["value"]),
    "timedelta": lambda codec, form, path: datetime.timedelta(*form["value"]),
    "timezone": _make_timezone,
    "zone": lambda codec, form, path: zoneinfo.ZoneInfo(form["value"]),
    "decimal": lambda codec, form, path: decimal.Decimal(form["value"]),
    "fraction": _make_fraction,
    "uuid": lambda codec, form, path: uuid.UUID(form["value"]),
    "range": lambda codec, form, path: range(*(codec.decode(bound, path) for bound in form["value"])),
    "slice": _make_slice,
    "torch": _make_torch_constant,
}


def numpy_form(codec: Any, value: Any, path: Place) -> Form | None:
    """The form of a numpy array, scalar or dtype; None if it is none, or of a kind that has no form."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, numpy.dtype):
        layout = _layout(numpy, value)
        return None if layout is None else {"kind": "dtype", "dtype": layout}
    scalar = isinstance(value, numpy.generic)
    if not (type(value) is numpy.ndarray or (scalar and type(value).__module__ == "numpy")):
        return None
    if scalar and type(value.item()) in (bool, int, float, complex) and value.dtype.kind in "?biufc":
        return {"kind": "numpy", "dtype": value.dtype.str, "value": value.item()}
    array = numpy.asarray(value)
    if array.dtype == object:
        items = [codec.encode(item, (path, index)) for index, item in enumerate(array.ravel().tolist())]
        return {"kind": "array", "dtype": "O", "shape": array.shape, "value": items}
    layout = _layout(numpy, array.dtype)
    if layout is None:
        return None
    content = torch.empty(0)
    if array.nbytes:
        content = torch.from_numpy(numpy.array(array, order="C").reshape(-1).view(numpy.uint8))  # a copy, of its own
    return {"kind": "array", "dtype": layout, "shape": array.shape, "value": content, "scalar": scalar}


def _layout(numpy: Any, dtype: Any) -> Any:
    """What a dtype is made of; None where the description would not bring it back."""
    layout = dtype.str if dtype.names is None else [tuple(field) for field in dtype.descr]
    try:
        return layout if not dtype.hasobject and _dtype(numpy, layout) == dtype else None
    except UnresolvableError:
        return None


def _dtype(numpy: Any, layout: Any) -> Any:
    fields = [(None, layout)] if isinstance(layout, str) else layout
    for _, kind, *_shape in fields:
        if not isinstance(kind, str) or not _DTYPE.fullmatch(kind):
            raise UnresolvableError("its dtype is not a plain one")
    dtype = numpy.dtype(layout)
    if dtype.hasobject:  # bytes of a file are no addresses
        raise UnresolvableError("its dtype is not a plain one")
    return dtype


def _make_numpy(codec: Any, form: Form, path: Place) -> Any:
    import numpy

    if form["kind"] == "dtype":
        return _dtype(numpy, form["dtype"])
    if form["kind"] == "numpy":
        return _dtype(numpy, form["dtype"]).type(form["value"])
    if form["dtype"] == "O":
        array = numpy.empty(len(form["value"]), object)
        for index, item in enumerate(form["value"]):
            array[index] = codec.decode(item, (path, index))
        return array.reshape(form["shape"])
    dtype = _dtype(numpy, form["dtype"])
    if form["value"].device.type == "meta":
        raise UnresolvableError("its content was not read (map_location='meta')")
    if form["value"].numel():
        array = form["value"].cpu().numpy().copy().view(dtype).reshape(form["shape"])
    else:
        array = numpy.zeros(form["shape"] if 0 in form["shape"] or not dtype.itemsize else -1, dtype)
    return array[()] if form["scalar"] else array


READ.update(dict.fromkeys(("numpy", "array", "dtype"), _make_numpy))
