"""Values on their way out of a checkpoint: made of their forms, without code that a file could choose."""

from __future__ import annotations

import io
import operator
import pickle
from collections import OrderedDict
from typing import Any

import torch

from fulmen.utilities.codec_classes import MAKE
from fulmen.utilities.codec_values import READ, Form, UnresolvableError
from fulmen.utilities.encoding import MAPPINGS, TAG, Stored
from fulmen.utilities.foreign import foreign_form
from fulmen.utilities.places import Place, render
from fulmen.utilities.safe_load import where_it_was
from fulmen.utilities.unresolved import Unresolved

_NOT_MADE = ("pickled", "refused", "left")
_NESTS = {*MAPPINGS, Stored, list, tuple}


class Decoder:
    """One pass over what was loaded.

    Args:
        trusted: Whether code may run.
    """

    def __init__(self, trusted: bool = False) -> None:
        self.trusted = trusted
        self._done: dict[tuple[int, bool], tuple[Any, Any]] = {}
        self._open: set[int] = set()

    def decode(self, value: Any, path: Place, hashing: bool = False) -> Any:
        """The value of a stored part.

        Args:
            value: The part.
            path: Where it lies.
            hashing: Whether it becomes a key or a member of a set, which asks its class for a hash.

        Returns:
            The value, which is the part itself if there is nothing to make.
        """
        kind = type(value)
        if kind not in _NESTS:
            return value
        place = (id(value), hashing)
        if place in self._done:
            return self._done[place][1]
        if id(value) in self._open:
            return value
        self._open.add(id(value))
        try:
            made = self._make(value, kind, path, hashing)
        finally:
            self._open.discard(id(value))
        self._done[place] = (value, made)
        return made

    def _make(self, value: Any, kind: Any, path: Place, hashing: bool) -> Any:
        parts = value if kind is list or kind is tuple else dict.values(value)
        if _NESTS.isdisjoint(map(type, parts)) and (parts is value or not self._is_form(value, kind)):
            return value
        if kind is list or kind is tuple:
            items = [self.decode(item, (path, index), hashing) for index, item in enumerate(value)]
            return value if all(map(operator.is_, items, value)) else kind(items)
        form = foreign_form(value) if kind is OrderedDict else None
        if form is None and type(dict.get(value, TAG)) is str:
            form = {"kind": value[TAG], **{key: item for key, item in dict.items(value) if key != "kind"}}
        if form is not None:
            known = form["kind"] in READ or form["kind"] in MAKE or form["kind"] in _NOT_MADE
            return self._restore(value, form, path, hashing) if known else value
        pairs, same = {}, True
        for key, item in dict.items(value):
            new = self.decode(item, (path, key))
            same = same and new is item
            pairs[key] = new
        if same:
            return value
        made = kind(pairs)
        if kind is OrderedDict:
            vars(made).update(vars(value))
        return made

    def _is_form(self, value: Any, kind: Any) -> bool:
        return TAG in value or (kind is OrderedDict and TAG in vars(value))

    def _restore(self, stored: Any, form: Form, path: Place, hashing: bool) -> Any:
        kind = form["kind"]
        try:
            if kind in MAKE:
                return MAKE[kind](self, form, path, hashing)
            if kind == "pickled":
                return self._unpickle(form)
            if kind == "left":
                raise UnresolvableError(
                    "reading a checkpoint calls no class or function of its own",
                    "If you trust the file and have what it names, load it with `weights_only=False`",
                )
            if kind == "refused":
                raise UnresolvableError("it could not be saved", "Hand it over again")
            return READ[kind](self, form, path)
        except UnresolvableError as error:
            why, fix = str(error), error.fix
        except RecursionError:  # of the whole walk, not of this form
            raise
        except Exception as error:  # a form that somebody changed, or of a class that has changed
            why, fix = f"its form in the file is broken ({type(error).__name__}: {error})", None
        return self._unresolved(stored, form, path, why, fix)

    def _unpickle(self, form: Form) -> Any:
        content = io.BytesIO(form["value"].cpu().numpy().tobytes())
        place: Any = where_it_was
        try:
            return torch.load(content, map_location=place, weights_only=not self.trusted)
        except pickle.UnpicklingError:
            if self.trusted:
                raise
            raise UnresolvableError(
                "it is stored as a pickle, and reading that could run code",
                "If you trust the file, load it with `weights_only=False`",
            ) from None

    def _unresolved(self, stored: Any, form: Form, path: Place, why: str, fix: str | None) -> Unresolved:
        kind, name = form["kind"], form.get("class") or form.get("name") or form.get("type")
        place, values = render(path) or "the value", form.get("fields", form.get("value", form.get("member")))
        argument = render(path).split(".")[0].split("[")[0].split("{")[0]
        again = f"hand it over again: `load_from_checkpoint(path, {argument or 'name'}=...)`"
        fix = f"{fix}; or {again}" if fix and fix != "Hand it over again" else f"{again[0].upper()}{again[1:]}"
        if kind == "partial":
            values = {"args": form.get("args"), "keywords": form.get("keywords")}
        values = None if kind in ("pickled", "refused", "array") else values
        return Unresolved(f"{kind} `{name}`" if name else kind, place, why, f"{fix}.", values, stored)
