"""Forms for members of enums, data classes and named tuples: a name of a class, and data.

A class is found by its name only if it is registered or imported already, and only if it is of the kind that the form
says. Nothing of the class runs: no ``__init__``, ``__new__``, ``_missing_``, property or metaclass.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from typing import Any

from fulmen.utilities.codec_values import Form, UnresolvableError
from fulmen.utilities.places import Place
from fulmen.utilities.registered import (
    NOTHING,
    bases,
    class_named,
    import_named,
    is_class,
    name_of,
    own,
    registered_name,
    static,
)

_FACTORIES = (list, dict, set, tuple)


def class_form(codec: Any, value: Any, path: Place) -> Form | None:
    """The form of an enum's member, a data class or a named tuple.

    Args:
        codec: Who encodes the parts.
        value: The value.
        path: Where it lies.

    Returns:
        The form; None if the value is none of these, or could not be made again.
    """
    kind = kind_of(type(value))
    name = name_of(type(value)) if kind else None
    if kind is None or name is None or static(type(value), "__del__") is not NOTHING:
        return None
    fields: Any = {"Enum": _enum, "dataclass": _dataclass, "namedtuple": _namedtuple}[kind](codec, value, path)
    return None if fields is None else {"kind": kind, "class": name, **fields}


def kind_of(cls: type) -> str | None:
    """Whether a class is an enum, a data class or a named tuple."""
    if enum.Enum in bases(cls):
        return "Enum"
    if isinstance(static(cls, "__dataclass_fields__"), dict):
        return "dataclass"
    names = static(cls, "_fields")
    if tuple in bases(cls) and type(names) is tuple and all(type(name) is str for name in names):
        return "namedtuple"
    return None


def find(codec: Any, form: Form, hashing: bool) -> type:
    """The class of a form.

    Raises:
        UnresolvableError: If it is not there, not of the kind that the form says, or would run code.
    """
    kind, name = form["kind"], form["class"]
    found = import_named(name) if codec.trusted else class_named(name)
    place, _, inner = name.partition(":")
    if found is None and place == "__main__":
        raise UnresolvableError(
            f"the script that was run when it was saved defines it as {inner!r}, and this one does not",
            "Define it in a module of its own, or register it under a name (`fulmen.checkpoint.register`)",
        )
    if found is None:
        raise UnresolvableError(
            f"no imported module has the class {name!r}, and none is registered as that",
            f"Import `{place}`, which defines `{inner}`, before loading, or register the class "
            "(`fulmen.checkpoint.register`)",
        )
    if not is_class(found) or kind_of(found) != kind:
        raise UnresolvableError(f"{name!r} is no {kind}")
    if codec.trusted:
        return found
    if static(found, "__del__") is not NOTHING:
        raise UnresolvableError(f"{name!r} has `__del__`, which would run")
    if hashing and not _hashes_without_code(found):
        raise UnresolvableError(f"{name!r} has a `__hash__` or `__eq__` of its own, which would run")
    return found


def _hashes_without_code(cls: type) -> bool:
    """Whether keys and members of sets of a class are compared by what Python made, or by what the user vouches for."""
    if registered_name(cls) is not None:
        return True
    codes = [getattr(static(cls, name), "__code__", None) for name in ("__hash__", "__eq__")]
    return all(code is None or code.co_filename in ("<string>", enum.__file__) for code in codes)


def _enum(codec: Any, value: Any, path: Place) -> Form | None:
    cls = type(value)
    known = own(cls)["_member_map_"]
    if known.get(value._name_) is value:
        plain = type(value._value_) in (int, str, float, bool)
        return {"member": value._name_, **({"value": value._value_} if plain else {})}
    if not _standard_flag(cls):
        return None
    names = [name for name, member in known.items() if member._value_ & value._value_ == member._value_ != 0]
    rest = value._value_
    for name in names:
        rest &= ~known[name]._value_
    return {"members": names, "rest": rest}


def _standard_flag(cls: type) -> bool:
    """Whether an enum makes its combinations without code of its own."""
    if enum.Flag not in bases(cls) or type(cls) is not enum.EnumMeta:
        return False
    missing = [own(base)["_missing_"] for base in (enum.Flag, enum.IntFlag) if "_missing_" in own(base)]
    names = ("_new_member_", "__new_member__")  # since Python 3.11, and before
    new = next((static(cls, name) for name in names if static(cls, name) is not NOTHING), None)
    return static(cls, "_missing_") in missing and new in (object.__new__, int.__new__)


def make_enum(codec: Any, form: Form, path: Place, hashing: bool) -> Any:
    """The member of an enum."""
    cls: Any = find(codec, form, hashing)
    known = own(cls)["_member_map_"]
    names = [form["member"]] if "member" in form else form["members"]
    missing = [name for name in names if name not in known]
    if missing:
        raise UnresolvableError(f"`{form['class']}` has no member {missing[0]!r} (any more)")
    if "member" in form:
        return known[form["member"]]
    if not _standard_flag(cls):
        raise UnresolvableError(f"`{form['class']}` combines its members with code of its own")
    return cls(functools.reduce(lambda bits, name: bits | known[name]._value_, names, int(form["rest"])))


def _fields(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = static(cls, "__dataclass_fields__")
    return {name: field for name, field in found.items() if field._field_type is dataclasses._FIELD}  # type: ignore[attr-defined]


def _setter(cls: type, name: str) -> Any:
    """How to set a field without code of the class: a slot's own way, None for the instance's dictionary."""
    attribute = static(cls, name)
    if type(attribute) is types.MemberDescriptorType:
        return attribute.__set__
    if attribute is not NOTHING and static(type(attribute), "__set__") is not NOTHING:
        raise UnresolvableError(f"the field {name!r} is a property, which would run")
    return None


def _dictionary(value: Any) -> Any:
    """An instance's own dictionary; None if it has none."""
    holder = static(type(value), "__dict__")
    return holder.__get__(value) if type(holder) is types.GetSetDescriptorType else None


def _dataclass(codec: Any, value: Any, path: Place) -> Form | None:
    cls = type(value)
    fields = _fields(cls)
    try:
        object.__new__(cls)
        for name in fields:
            _setter(cls, name)
    except (UnresolvableError, TypeError):
        return None
    if any(not _recomputed(cls, name) for name in _held(value) - fields.keys()):
        return None  # it holds more than its fields, which would be lost
    there = {name: getattr(value, name) for name in fields if name in _held(value) or hasattr(value, name)}
    return {
        "fields": {name: codec.encode(item, (path, name)) for name, item in there.items()},
        "unset": [name for name in fields if name not in there],
    }


def _held(value: Any) -> set[str]:
    slots = {
        name
        for base in bases(type(value))
        for name, slot in own(base).items()
        if type(slot) is types.MemberDescriptorType and hasattr(value, name)
    }
    return slots | set(_dictionary(value) or ())


def _recomputed(cls: type, name: str) -> bool:
    return name == "__orig_class__" or isinstance(static(cls, name), functools.cached_property)


def make_dataclass(codec: Any, form: Form, path: Place, hashing: bool) -> Any:
    """A data class with its fields."""
    cls = find(codec, form, hashing)
    fields, given = _fields(cls), form["fields"]
    unknown = [name for name in given if name not in fields]
    if unknown:
        raise UnresolvableError(f"`{form['class']}` has no field {unknown[0]!r} (any more)")
    values = {name: codec.decode(item, (path, name), hashing) for name, item in given.items()}
    for name, field in fields.items():
        if name not in values and name not in form["unset"]:
            values[name] = _default(form, name, field)
    made: Any = object.__new__(cls)
    for name, item in values.items():
        put = _setter(cls, name)
        if put is not None:
            put(made, item)
        else:
            _dictionary(made)[name] = item
    return made


def _default(form: Form, name: str, field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory in _FACTORIES:
        return field.default_factory()
    raise UnresolvableError(f"`{form['class']}` has a field {name!r} that the file does not hold")


def _namedtuple(codec: Any, value: Any, path: Place) -> Form | None:
    names = static(type(value), "_fields")
    items = tuple.__getitem__(value, slice(None))
    if len(names) != len(items) or _dictionary(value):
        return None
    pairs = zip(names, items, strict=True)
    return {"fields": {name: codec.encode(item, (path, name)) for name, item in pairs}}


def make_namedtuple(codec: Any, form: Form, path: Place, hashing: bool) -> Any:
    """A named tuple."""
    cls = find(codec, form, hashing)
    names, given = static(cls, "_fields"), form["fields"]
    if any(name not in names for name in given):
        raise UnresolvableError(f"`{form['class']}` has other fields: {', '.join(names)}")
    defaults = static(cls, "_field_defaults")
    missing = [name for name in names if name not in given and name not in defaults]
    if missing:
        raise UnresolvableError(f"`{form['class']}` has a field {missing[0]!r} that the file does not hold")
    values = {name: codec.decode(item, (path, name), hashing) for name, item in given.items()}
    return tuple.__new__(cls, [values[name] if name in values else defaults[name] for name in names])


MAKE = {"Enum": make_enum, "dataclass": make_dataclass, "namedtuple": make_namedtuple}
