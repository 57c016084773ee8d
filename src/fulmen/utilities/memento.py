"""What objects hold, noted down and put back into the very same objects, for trials that must leave no trace.

A note goes through everything that can be reached: modules, optimizers, containers, tensors, generators and objects of
the user's own. No code of theirs runs, and who shares a thing goes on sharing it.
"""

from __future__ import annotations

import random
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

from fulmen.utilities.memento_tensors import Storages, note_tensor

# What cannot be taken back: files, locks, threads, connections. Objects that hold some are left as they are.
_LIVE = {"_thread", "_io", "_socket", "_ssl", "_queue", "_multiprocessing", "_asyncio", "_sqlite3", "mmap", "select"}
_RUNNING = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, property)
_ATOMS = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
# Parts of a run, each noted for itself: what cannot be noted is left out of them, and the rest stands.
_OPEN = (nn.Module, Optimizer, LRScheduler, DataLoader, Dataset, Sampler)

# Of data sets, what is larger is taken for samples, which are read and not written.
_SAMPLES_BYTES = 1 << 20
_SAMPLES_ITEMS = 10_000

PutBack = Callable[[], None]


class Memento:
    """A note of what objects hold.

    Args:
        roots: The objects.
        leave: Objects that are neither noted nor gone through.

    Attributes:
        left: Objects that hold something that cannot be taken back: of modules, loaders, data sets and the like all
            else is noted, and other objects are left out as a whole.
    """

    def __init__(self, roots: Iterable[Any], leave: Iterable[Any] = ()) -> None:
        self._known: dict[int, Any] = {id(thing): thing for thing in leave}
        self._storages = Storages()
        self._notes: list[PutBack] = []
        self._late: list[PutBack] = []
        self.left: list[Any] = []
        waiting = [(root, False) for root in roots]
        while waiting:
            root, data = waiting.pop()
            walk = _Walk(self._known, self._storages, waiting)
            noted = walk.go(root, data)
            if noted:
                self._known.update(walk.seen)
                self._notes += walk.notes
                self._late += walk.late
            self._known[id(root)] = root
            if walk.live:
                self.left.append(root)

    def put_back(self) -> None:
        """Gives every object what it held; can be called again."""
        with torch.inference_mode(False), torch.no_grad():
            for note in (*self._notes, *self._late):
                note()
            self._storages.put_back()


class _Walk:
    """Goes through what can be reached from one object, up to objects that get a walk of their own."""

    def __init__(self, known: dict[int, Any], storages: Storages, waiting: list[tuple[Any, bool]]) -> None:
        self.known, self.storages, self.waiting = known, storages, waiting
        self.seen: dict[int, Any] = {}
        self.notes: list[PutBack] = []
        self.late: list[PutBack] = []
        self.live = False

    def go(self, root: Any, data: bool) -> bool:
        """Notes everything.

        Returns:
            Whether all of it could be noted.
        """
        whole = not isinstance(root, (*_OPEN, list, dict, tuple))
        later: list[tuple[Any, bool]] = []
        stack = [(root, data)]
        while stack:
            thing, data = stack.pop()
            if isinstance(thing, (*_ATOMS, *_CODE)) or id(thing) in self.known or id(thing) in self.seen:
                continue
            if _is_live(thing):
                self.live = True
                if whole:
                    return False
                continue
            if thing is not root and _is_object(thing) and (isinstance(thing, _OPEN) or not whole):
                later.append((thing, data or isinstance(thing, Dataset)))
                continue
            self.seen[id(thing)] = thing
            data = data or isinstance(thing, Dataset)
            stack.extend((inner, data) for inner in self._note(thing, data))
        self.waiting.extend(later)
        return True

    def _note(self, thing: Any, data: bool) -> Iterator[Any]:
        """Notes what a thing holds itself, and gives what can be reached from it."""
        if isinstance(thing, Tensor):
            yield from note_tensor(thing, self.storages, self.notes, self.late, _SAMPLES_BYTES if data else None)
        elif isinstance(thing, torch.Generator):
            self.notes.append(_setter(thing.set_state, thing.get_state()))
        elif isinstance(thing, random.Random):
            self.notes.append(_setter(thing.setstate, thing.getstate()))
        elif type(thing).__module__.partition(".")[0] == "numpy":
            self._note_numpy(thing, data)
        elif isinstance(thing, (tuple, frozenset)):
            yield from thing
        elif isinstance(thing, (dict, list, set, deque, bytearray)):
            self.notes.append(_note_container(thing))
            if not (data and len(thing) > _SAMPLES_ITEMS) and not isinstance(thing, bytearray):
                yield from thing
                if isinstance(thing, dict):
                    yield from thing.values()
        if _is_object(thing):
            yield from self._note_attributes(thing)

    def _note_attributes(self, thing: Any) -> Iterator[Any]:
        self.notes.append(_note_class(thing))
        attributes = getattr(thing, "__dict__", None)
        if type(attributes) is dict:
            self.notes.append(_note_container(attributes))
            yield from list(attributes.values())
        slots = _slots(thing)
        if slots:
            self.notes.append(_note_slots(thing, slots))
            yield from list(slots.values())

    def _note_numpy(self, thing: Any, data: bool) -> None:
        import numpy

        if isinstance(thing, numpy.ndarray):
            if thing.flags.writeable and not (data and thing.nbytes > _SAMPLES_BYTES):
                saved = thing.copy()
                self.notes.append(lambda: numpy.copyto(thing, saved))
        elif isinstance(thing, numpy.random.RandomState):
            self.notes.append(_setter(thing.set_state, thing.get_state()))
        elif isinstance(thing, numpy.random.Generator):
            bits = thing.bit_generator
            self.notes.append(lambda state=bits.state: setattr(bits, "state", state))  # type: ignore[misc]


def _is_live(thing: Any) -> bool:
    return isinstance(thing, _RUNNING) or any(base.__module__ in _LIVE for base in type(thing).__mro__)


def _is_object(thing: Any) -> bool:
    """Whether a thing has attributes that are not those of a container, a tensor or something of torch's own inside."""
    if isinstance(thing, (Tensor, torch.Generator)) or type(thing).__module__.startswith("torch._"):
        return False
    return hasattr(thing, "__dict__") or bool(_slots(thing))


def _slots(thing: Any) -> dict[str, Any]:
    found = {}
    for base in type(thing).__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            mangled = f"_{base.__name__.lstrip('_')}{name}" if name[:2] == "__" and name[-2:] != "__" else name
            if mangled not in ("__dict__", "__weakref__") and hasattr(thing, mangled):
                found[mangled] = getattr(thing, mangled)
    return found


def _setter(setter: Callable[[Any], Any], state: Any) -> PutBack:
    return lambda: setter(state)


def _note_class(thing: Any) -> PutBack:
    """Lazy layers become others when they see their first batch."""
    kind = type(thing)

    def put_back() -> None:
        if type(thing) is not kind:
            object.__setattr__(thing, "__class__", kind)

    return put_back


def _note_slots(thing: Any, saved: dict[str, Any]) -> PutBack:
    def put_back() -> None:
        for name, value in saved.items():
            object.__setattr__(thing, name, value)

    return put_back


def _note_container(thing: Any) -> PutBack:
    """Containers that hold what they held are not touched: somebody may be going through them."""
    if isinstance(thing, dict):
        kind: Any = OrderedDict if isinstance(thing, OrderedDict) else dict
        items = list(thing.items())

        def put_back() -> None:
            now = list(thing.items())
            if len(now) != len(items) or any(
                a is not c or b is not d for (a, b), (c, d) in zip(now, items, strict=True)
            ):
                kind.clear(thing)
                kind.update(thing, items)

    else:
        values = list(thing)

        def put_back() -> None:
            now = list(thing)
            if len(now) != len(values) or any(a is not b for a, b in zip(now, values, strict=True)):
                _refill(thing, values)

    return put_back


def _refill(thing: Any, values: list[Any]) -> None:
    if isinstance(thing, bytearray):
        thing[:] = bytes(values)
    elif isinstance(thing, list):
        list.__setitem__(thing, slice(None), values)
    elif isinstance(thing, deque):
        deque.clear(thing)
        deque.extend(thing, values)
    else:
        set.clear(thing)
        set.update(thing, values)
