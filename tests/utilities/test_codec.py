from __future__ import annotations

import argparse
import collections
import copy
import datetime
import decimal
import enum
import functools
import io
import pathlib
import re
import threading
import zoneinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import warm

from fulmen.utilities.codec import decode, decode_checkpoint, encode, encode_checkpoint, is_trusted
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.parsing import AttributeDict
from fulmen.utilities.unresolved import Unresolved, UnresolvedError

scalars = st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint8]).flatmap(
    lambda kind: st.integers(0, 200).map(kind)
)
hashable = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**2030, 2**2040)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.text("ab/.", min_size=1).map(pathlib.Path)
    | st.text("ab/.", min_size=1).map(pathlib.PureWindowsPath)
    | st.booleans().map(np.bool_)
    | scalars
    | st.datetimes(timezones=st.none() | st.just(datetime.timezone(datetime.timedelta(hours=2), "there")))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.builds(range, st.integers(), st.integers(), st.integers(1))
)
arrays = st.lists(st.integers(0, 99)).flatmap(
    lambda items: st.sampled_from(["?", "<i8", ">f4", "<c16", "<U3", "S2", "<M8[ns]", "<m8[s]"]).map(
        lambda dtype: np.array(items, dtype="i8").astype(dtype)
    )
)
leaves = hashable | st.builds(slice, st.integers(), st.none())
keys = hashable | st.just("__fulmen__") | st.tuples(hashable, st.frozensets(hashable, max_size=2))
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.dictionaries(keys, inner).map(collections.OrderedDict)
        | st.dictionaries(keys, inner).map(AttributeDict)
        | st.dictionaries(keys, inner).map(lambda items: collections.defaultdict(list, items))
        | st.dictionaries(st.text("abc", min_size=1), inner).map(lambda items: argparse.Namespace(**items))
        | st.sets(hashable)
        | st.frozensets(hashable)
        | st.lists(inner).map(lambda items: collections.deque(items, 5))
    ),
    max_leaves=10,
)


def through_a_file(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def types(value: Any) -> Any:
    if isinstance(value, dict):
        return type(value), [(types(key), types(item)) for key, item in value.items()]
    if isinstance(value, argparse.Namespace):
        return type(value), types(vars(value))
    return type(value), [types(item) for item in value] if isinstance(value, (list, tuple)) else None


@given(values)
def test_what_is_encoded_can_be_loaded_safely_and_comes_back(value: Any) -> None:
    stored, refused = encode(value)
    assert refused == []
    again, _ = encode(stored)
    assert again == stored  # what is encoded is not encoded twice
    back = decode(through_a_file(stored))
    assert types(back) == types(value)
    assert back == value


@given(arrays, st.booleans())
def test_arrays_come_back(array: Any, folded: bool) -> None:
    array = array.reshape(1, -1) if folded else array
    back = decode(through_a_file(encode({"a": array, "first": array.ravel()[:1].tolist()})[0]))["a"]
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    back[...] = array  # it can be written to
    for scalar in array.ravel()[:1]:
        found = decode(through_a_file(encode([scalar])[0]))[0]
        assert (type(found), found.dtype, found) == (type(scalar), scalar.dtype, scalar)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{1}, None, "x"], object),
        np.array([(1, 2.5)], [("a", "<i4"), ("b", ">f8")]),
        np.zeros((2, 0), "<f4"),
        np.array(3.5),
        np.zeros((2, 3))[:, ::2],
    ],
    ids=["objects", "fields", "empty", "no axes", "strided"],
)
def test_unusual_arrays(array: Any) -> None:
    back = decode(through_a_file(encode(array)[0]))
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tolist() == array.tolist()


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(2),
        torch.nn.Parameter(torch.ones(1)),
        torch.Size([1, 2]),
        torch.float16,
        torch.device("meta"),
        torch.strided,
        torch.channels_last,
        torch.per_tensor_affine,
        bytearray(b"x"),
        collections.Counter("abca"),
        np.dtype("float32"),
        np.float32,
        torch.nn.ReLU,
        torch.optim.AdamW,
        torch.nn.functional.gelu,
        torch.relu,
        int,
        decimal.Decimal("sNaN"),
        datetime.timezone.utc,
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", repr(value)),  # the same in every process
)
def test_kinds_that_hypothesis_does_not_make(value: Any) -> None:
    stored, refused = encode({"x": value})
    assert refused == []
    back = decode(through_a_file(stored))["x"]
    assert type(back) is type(value)
    assert torch.equal(back, value) if isinstance(value, torch.Tensor) else repr(back) == repr(value)


KINDS = """
import argparse, collections, dataclasses, datetime, decimal, enum, fractions, functools, pathlib, typing, uuid
import numpy as np, torch
from fulmen.checkpoint import register
from fulmen.utilities.parsing import AttributeDict

class Colour(enum.Enum):
    RED = 1
    GREEN = (1, 2)

class Level(enum.IntEnum):
    LOW = 1

class Mode(str, enum.Enum):
    FAST = "fast"

class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4

class Bits(enum.IntFlag):
    A = 1
    B = 2

class Point(typing.NamedTuple):
    x: int
    y: object = 0

Old = collections.namedtuple("Old", "a b")

@dataclasses.dataclass
class Inner:
    width: int
    path: pathlib.Path = pathlib.Path("x")
    extra: list = dataclasses.field(default_factory=list)
    made: int = dataclasses.field(init=False, default=0)

    def __post_init__(self):
        self.made = self.width * 2

    @functools.cached_property
    def area(self):
        return self.width ** 2

@dataclasses.dataclass(frozen=True)
class Frozen:
    inner: Inner
    colour: Colour = Colour.RED

@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: int
    b: tuple = ()

class Outer:
    @dataclasses.dataclass
    class Nested:
        a: int

@register
def scaled(x, by=2):
    return x * by

@register
class Plugin:
    pass

inner = Inner(3, extra=[1, Colour.RED])
inner.made = 7  # a value of its own, which `__post_init__` would undo
inner.area
VALUES = dict(
    path=pathlib.Path("a/b"), pure=pathlib.PurePosixPath("/x"), number=np.float32(0.5),
    array=np.arange(6).reshape(2, 3),
    enum=Colour.GREEN, level=Level.LOW, mode=Mode.FAST, flag=Rights.READ | Rights.RUN, none=Rights(0), bits=Bits(11),
    data=inner, frozen=Frozen(Inner(1)), slots=Slotted(1, (Colour.RED,)), nested=Outer.Nested(1),
    partial=functools.partial(scaled, by=Colour.RED),
    torch_partial=functools.partial(torch.nn.functional.leaky_relu, negative_slope=0.1),
    date=datetime.date(2024, 2, 29), time=datetime.datetime(2024, 1, 1, 3, tzinfo=datetime.timezone.utc),
    space=argparse.Namespace(a=Point(1, Colour.RED)), named=Old(1, Level.LOW), plugin=Plugin, function=scaled,
    attribute=AttributeDict(a=AttributeDict(b=1)), keys={Colour.RED: 1, (Slotted(1), frozenset({Level.LOW})): 2},
    members={Colour.RED, Point(1)}, default=collections.defaultdict(list, a=[1]), decimal=decimal.Decimal("1.10"),
    uuid=uuid.UUID(int=5), fraction=fractions.Fraction(1, 3), size=torch.Size([2]), dtype=torch.bfloat16,
)
"""
SAVE = "import torch, app; from fulmen.utilities.codec import encode\ns, r = encode(app.VALUES); assert r == [], r\n"
SAVE += "torch.save(s, 'kinds.pt')"
LOAD = """
import functools, app, numpy, torch
from fulmen.utilities.codec import decode
from fulmen.utilities.unresolved import is_whole
back = decode(torch.load('kinds.pt', weights_only=True))
assert is_whole(back)
for name, value in app.VALUES.items():
    found = back[name]
    assert type(found) is type(value), (name, type(found))
    if isinstance(value, functools.partial):
        assert (found.func, found.args, found.keywords) == (value.func, value.args, value.keywords)
    elif isinstance(value, numpy.ndarray):
        assert (found == value).all()
    else:
        assert found == value, (name, found)
assert back['data'].made == 7 and back['data'].area == 9 and back['enum'] is app.Colour.GREEN
assert back["attribute"].a.b == 1 and back["function"](2) == 4
"""
BARE = """
import sys, torch
from fulmen.utilities.codec import decode
from fulmen.utilities.unresolved import is_whole
back = decode(torch.load('kinds.pt', weights_only=True))
assert 'app' not in sys.modules
waiting = {name for name, value in back.items() if not is_whole(value)}
print(' '.join(sorted(waiting)))
for name in ('data', 'enum', 'partial', 'named', 'plugin'):
    try:
        back[name].anything
    except TypeError as error:
        print(f'{back[name]!r} {error}')
trusted = decode(torch.load('kinds.pt', weights_only=True), trusted=True)
assert is_whole(trusted) and trusted['data'].made == 7
"""


def run(code: str, folder: Path) -> str:
    done = warm.run(code, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_kind_in_a_fresh_process(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(KINDS)
    run(SAVE, tmp_path)
    run(LOAD, tmp_path)
    waiting, *errors = run(BARE, tmp_path).split("\n", 1)
    of_the_app = (
        "bits data enum flag frozen function keys level members mode named nested none partial plugin slots space"
    )
    assert waiting == of_the_app
    text = errors[0]
    assert "<Unresolved dataclass `app:Inner`: {'width': 3" in text
    assert "Import `app`, which defines `Colour`, before loading, or register the class" in text
    assert "load_from_checkpoint(path, data=...)" in text
    assert "Register it before loading, with `fulmen.checkpoint.register`" in text


class Colour(enum.Enum):
    RED = 1


class Name(str):
    pass


PICKLED = {
    "module": torch.nn.ReLU(),
    "text": Name("x"),
    "function": copy.copy,
    "class": threading.Thread,
    "partial": functools.partial(copy.copy),
    "default": collections.defaultdict(copy.copy),
}


@pytest.mark.parametrize("kind", PICKLED)
def test_what_has_no_form_is_a_pickle_that_only_a_trusting_load_reads(kind: str) -> None:
    value = PICKLED[kind]
    stored, refused = encode({"good": 1, "deep": {"list": [1, value]}})
    assert refused == []
    loaded = through_a_file(stored)
    found = decode(loaded)["deep"]["list"][1]
    assert type(found) is Unresolved
    with pytest.raises(UnresolvedError, match=r"(?s)deep.list\[1\].*weights_only=False.*\(path, deep=\.\.\.\)"):
        found()
    assert type(decode(loaded, trusted=True)["deep"]["list"][1]) is type(value)
    saved_again, refused = encode({"x": found})
    assert refused == []
    assert type(decode(through_a_file(saved_again), trusted=True)["x"]) is type(value)


def _generator() -> Any:
    yield


@pytest.mark.parametrize(
    "value",
    [lambda: 1, _generator(), threading.Lock(), functools.partial(lambda: 1)],
    ids=["lambda", "generator", "lock", "partial"],
)
def test_what_cannot_be_pickled_is_refused_by_name(value: Any) -> None:
    stored, refused = encode({"good": 1, "deep": {"list": [1, value]}})
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    assert refused == [f"deep.list[1] ({name})"]
    back = decode(through_a_file(stored), trusted=True)
    assert back["good"] == 1
    with pytest.raises(UnresolvedError, match=r"(?s)could not be saved.*Hand it over again: .*deep=\.\.\."):
        iter(back["deep"]["list"][1])


def test_a_class_that_has_no_name_of_its_own_is_no_form() -> None:
    class Local(enum.Enum):
        A = 1

    assert encode({"x": Local.A})[1][0].startswith("x (")


def test_cycles_are_refused_by_name_and_shared_parts_stay_shared() -> None:
    ring: list[Any] = [1]
    ring.append({"again": ring})
    assert encode({"a": ring})[1] == ["a[1].again (list, which holds itself)"]
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deep" in encode({"deep": deep})[1][0]
    while deep:  # taken apart one by one: freeing it at once overflows the stack of older Pythons
        deep = deep.pop()

    twice: Any = [Path("x")]
    for _ in range(200):  # 2 ** 200 paths through it
        twice = [twice, twice]
    back = decode(through_a_file(encode(twice)[0]))
    assert back[0] is back[1]
    loop: list[Any] = []
    loop.append(loop)
    assert decode(through_a_file(loop))[0] is not None  # a file of somebody else's may hold one


def test_what_is_plain_is_not_copied() -> None:
    state = torch.nn.Linear(2, 2).state_dict()
    optimizer = {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.9)}]}
    checkpoint = {"state_dict": state, "optimizer_states": [optimizer]}
    stored = encode_checkpoint(checkpoint)
    assert stored["state_dict"] is state
    assert stored["optimizer_states"] is checkpoint["optimizer_states"]
    back = decode_checkpoint(stored)
    assert back["state_dict"] is state


def test_a_state_dict_keeps_its_versions_where_something_in_it_is_encoded() -> None:
    class Extra(torch.nn.BatchNorm1d):
        def get_extra_state(self) -> Any:
            return {"path": Path("x")}

        def set_extra_state(self, state: Any) -> None:
            self.extra = state

    state = Extra(2).state_dict()
    back = decode_checkpoint(through_a_file(encode_checkpoint({"state_dict": state})))["state_dict"]
    assert back._metadata == state._metadata
    assert back["_extra_state"] == {"path": Path("x")}
    assert torch.equal(back["weight"], state["weight"])


def test_attributes_of_tensors() -> None:
    tensor = torch.ones(1)
    tensor.note = "plain"  # type: ignore[attr-defined]
    assert encode([tensor])[0][0] is tensor
    tensor.note = Path("x")  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match=r"attributes \['note'\] of the tensor `w` are no data"):
        stored = encode({"w": tensor})[0]
    assert torch.equal(through_a_file(stored)["w"], tensor)


def test_a_checkpoint_names_what_it_cannot_hold() -> None:
    with pytest.raises(MisconfigurationException, match=r"(?s)callbacks\['EMA'\].fn \(function\).*at the top level"):
        encode_checkpoint({"callbacks": {"EMA": {"fn": lambda: 1}}})
    with pytest.warns(UserWarning, match=r"callbacks\['EMA'\].net \(torch.nn.*ReLU\).*weights_only=False"):
        stored = encode_checkpoint({"callbacks": {"EMA": {"net": torch.nn.ReLU()}}, "epoch": 1})
    assert decode_checkpoint(through_a_file(stored))["epoch"] == 1
    assert isinstance(decode_checkpoint(stored, True)["callbacks"]["EMA"]["net"], torch.nn.ReLU)


def test_what_torch_was_told_to_allow_is_kept() -> None:
    with torch.serialization.safe_globals([Colour]):
        stored, refused = encode({"mode": Colour.RED})
        assert (stored, refused) == ({"mode": Colour.RED}, [])
        assert through_a_file(stored) == stored


def test_an_unknown_tag_is_left_alone() -> None:
    assert decode({"__fulmen__": "later", "value": 1}) == {"__fulmen__": "later", "value": 1}
    assert decode({"__fulmen__": [1]}) == {"__fulmen__": [1]}


@given(
    st.sampled_from([
        "path", "bytes", "int", "namespace", "partial", "name", "dict", "defaultdict", "set", "frozenset", "deque",
        "datetime", "time", "date", "timedelta", "timezone", "decimal", "fraction", "uuid", "range", "slice", "torch",
        "numpy", "array", "dtype", "Enum", "dataclass", "namedtuple", "pickled", "refused",
    ]),
    st.dictionaries(
        st.sampled_from(["value", "name", "class", "member", "members", "fields", "dtype", "shape", "of", "zone"]),
        st.none() | st.integers(0, 99) | st.text(max_size=5) | st.lists(st.integers(0, 9) | st.lists(st.text())),
    ),
)  # fmt: skip
def test_a_broken_form_is_no_crash(kind: str, fields: dict[str, Any]) -> None:
    back = decode({"__fulmen__": kind, **fields})
    assert type(repr(back)) is str


def test_forms_of_older_files_are_still_read() -> None:
    old = {
        "a": {"__fulmen__": "path", "value": "x/y"},
        "b": {"__fulmen__": "numpy", "dtype": "<f4", "value": 0.5},
        "c": {"__fulmen__": "dict", "value": [["__fulmen__", 1]]},
        "d": {"__fulmen__": "namespace", "value": {"a": {"__fulmen__": "bytes", "value": "x"}}},
    }
    new = {"a": Path("x/y"), "b": np.float32(0.5), "c": {"__fulmen__": 1}, "d": argparse.Namespace(a=b"x")}
    assert decode(old) == new


def test_a_class_of_the_script_that_ran(tmp_path: Path) -> None:
    code = """
import dataclasses, torch
from fulmen.utilities.codec import encode, decode
@dataclasses.dataclass
class Options:
    a: int
torch.save(encode({"x": Options(1)})[0], "x.pt")
assert decode(torch.load("x.pt", weights_only=True))["x"] == Options(1)
"""
    run(code, tmp_path)
    back = decode(torch.load(tmp_path / "x.pt", weights_only=True))["x"]
    with pytest.raises(UnresolvedError, match=r"(?s)the script that was run.*Define it in a module of its own"):
        back.a()


def test_a_list_of_numbers_is_looked_at_for_long_ones() -> None:
    assert decode(through_a_file(encode([1, 2**3000, "x"])[0])) == [1, 2**3000, "x"]
    numbers = list(range(10))
    assert encode(numbers)[0] is numbers


def test_zones() -> None:
    there = datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"), fold=1)
    back = decode(through_a_file(encode({there: there})[0]))
    assert back == {there: there}
    assert back[there].tzinfo is there.tzinfo
    for key in ("../../etc/passwd", "/etc/passwd", "os"):
        found = decode({"__fulmen__": "zone", "value": key})
        assert type(found) is Unresolved

    class Odd(datetime.tzinfo):
        pass

    assert encode({"x": datetime.datetime(2024, 7, 1, tzinfo=Odd())})[1]


@pytest.mark.parametrize(
    "dtype", ["O", "|O8", [("a", "|O")], [("a", "<i4"), ("b", "O8")], "i4,O", "(2,)f4", ("f4", "O")]
)
def test_bytes_of_a_file_are_no_objects(dtype: Any) -> None:
    content = torch.full((64,), 255, dtype=torch.uint8)
    for kind in ("array", "numpy", "dtype"):
        for shape in ((8,), (4,), (16,)):
            form = {"__fulmen__": kind, "dtype": dtype, "shape": shape, "value": content, "scalar": False}
            if (kind, dtype) != ("array", "O"):  # whose objects are forms of their own
                assert type(decode(form)) is Unresolved


def test_an_empty_content_makes_no_large_array() -> None:
    form = {"__fulmen__": "array", "dtype": "<f8", "shape": (10**6, 10**6), "value": torch.empty(0), "scalar": False}
    assert type(decode(form)) is Unresolved


def test_copies_of_stored_forms_are_still_known() -> None:
    stored, _ = encode({"x": Path("a")})
    for copied in (copy.deepcopy(stored), copy.copy(stored)):
        assert decode(through_a_file(encode(copied)[0])) == {"x": Path("a")}


def test_who_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers() -> list[bool]:
        return [is_trusted(weights_only) for weights_only in (None, True, False)]

    assert answers() == [False, False, True]
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert answers() == [True, False, True]
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "true")
    assert answers() == [False, False, False]
