"""Files that try to run code, and a program that loads them under an audit hook; run as a script in a fresh process.

Its arguments are a folder of such files, and an address under which they are served. It prints one JSON object: what
the loads did and said.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import pickle
import struct
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

SENTINEL = "@@HERE@@"
COMMAND = "touch pwned"


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


_ARGUMENT = _text(COMMAND) + b"\x85"
# Pickles in the middle of a stream, each of which leaves one value on the stack.
PICKLES = {
    "reduce": b"cposix\nsystem\n" + _ARGUMENT + b"R",
    "reduce through os": b"cos\nsystem\n" + _ARGUMENT + b"R",
    "exec": b"cbuiltins\nexec\n" + _text("import os; os.system('touch pwned')") + b"\x85R",
    "getattr": b"cbuiltins\ngetattr\ncbuiltins\neval\n" + _text("__call__") + b"\x86R",
    "stack global": _text("os") + _text("system") + b"\x93" + _ARGUMENT + b"R",
    "inst": b"(" + _text(COMMAND) + b"ios\nsystem\n",
    "obj": b"(cos\nsystem\n" + _text(COMMAND) + b"o",
    "newobj": b"csubprocess\nPopen\n" + _text("touch") + _text("pwned") + b"\x86\x85\x81",
    "newobj_ex": b"csubprocess\nPopen\n" + _text("touch") + b"\x85}\x92",
    "build": b"capp\nBuilt\n)\x81}" + _text("x") + b"K\x01sb",
    "global": b"cnever_imported\nthing\n",
    "hub": b"ctorch.hub\nload\n" + _text("somebody/repo") + _text("model") + b"\x86R",
    "partial": b"cfunctools\npartial\ncos\nsystem\n" + _text(COMMAND) + b"\x86R)R",
    # what a load for Lightning's files allows, turned against it
    "default": b"ccollections\ndefaultdict\ncos\nsystem\n\x85R",
    "namespace": b"cargparse\nNamespace\n)\x81}" + _text("__setstate__") + b"cos\nsystem\nsb" + _text(COMMAND) + b"b",
    "attribute": b"cpytorch_lightning.utilities.parsing\nAttributeDict\ncos\nsystem\n\x85\x81",
}


class _InATensor:
    """Pickled as a call of what rebuilds tensors."""

    def __init__(self, argument: Any) -> None:
        self.argument = argument

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, (self.argument, 0, (1,), (1,), False, OrderedDict())


PLACES = ("hyper_parameters", "callbacks", "optimizer_states", "state_dict", "tensor", "extra", "key")


def checkpoint(place: str | None = None, value: Any = None) -> dict[str, Any]:
    """A checkpoint of `Model`, with something at a place in it."""
    found: dict[str, Any] = {
        "epoch": 0,
        "global_step": 1,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": OrderedDict({"layer.weight": torch.ones(1, 2), "layer.bias": torch.ones(1)}),
        "hparams_name": "kwargs",
        "hyper_parameters": {"width": 2},
        "callbacks": {},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}],
        "lr_schedulers": [],
    }
    if place == "hyper_parameters":
        found[place]["given"] = value
    elif place == "callbacks":
        found[place]["EMA"] = {"decay": value}
    elif place == "optimizer_states":
        found[place][0]["state"][0] = {"momentum_buffer": value}
    elif place == "state_dict":
        found[place]["layer.bias"] = value
    elif place == "tensor":
        found["state_dict"]["layer.bias"] = _InATensor(value)
    elif place == "extra":
        found["extra"] = [value]
    elif place == "key":
        found["hyper_parameters"][value] = 1
    return found


def write(path: Path, content: Any, code: bytes | None = None) -> None:
    """Writes a file, with code in place of the sentinel."""
    torch.save(content, path)
    if code is None:
        return
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in parts if name.endswith("data.pkl"))
    assert parts[pickled].count(_text(SENTINEL)) == 1
    parts[pickled] = parts[pickled].replace(_text(SENTINEL), code)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


class Reduced:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        import os

        return os.system, (COMMAND,)


def tagged() -> dict[str, Any]:
    """Forms as ours, which name what they should not; for each what the error must name."""

    def form(kind: str, **fields: Any) -> dict[str, Any]:
        return {"__fulmen__": kind, **fields}

    evil = torch.frombuffer(bytearray(pickle.dumps(Reduced(), 2)), dtype=torch.uint8)
    fields: dict[str, Any] = {"unset": []}
    named = {
        name: form("dataclass", **{"class": f"app:{name}"}, fields={"a": 1}, **fields)
        for name in ("PostInit", "SetAttr", "Property", "New", "Del", "Meta", "Hashed", "Factory")
    }
    return {
        "partial": form("partial", name="posix:system", args=(COMMAND,), keywords={}),
        "partial of exec": form("partial", name="builtins:exec", args=("1",), keywords={}),
        "name": form("name", name="builtins:eval"),
        "inner name": form("name", name="app:Outer.function"),
        "default": form("defaultdict", factory="os:getcwd", value=[]),
        "enum": form("Enum", **{"class": "os:system"}, member="x"),
        "not imported": form("Enum", **{"class": "never_imported:Colour"}, member="RED"),
        "lazy module": form("Enum", **{"class": "app_lazy:Colour"}, member="RED"),
        "lazy kind": form("dataclass", **{"class": "app_lazy:Colour"}, fields={}, **fields),
        "missing": form("Enum", **{"class": "app:Missing"}, member="GREEN"),
        "missing flag": form("Enum", **{"class": "app:MissingFlag"}, members=["A"], rest=64),
        "wrong kind": form("dataclass", **{"class": "app:Missing"}, fields={}, **fields),
        "any class": form("dataclass", **{"class": "app:Built"}, fields={}, **fields),
        "class attribute": form("dataclass", **{"class": "app:PostInit"}, fields={"__class__": 1}, **fields),
        "named tuple": form("namedtuple", **{"class": "app:Row"}, fields={"a": 1}),
        "not a named tuple": form("namedtuple", **{"class": "subprocess:Popen"}, fields={"args": "touch"}),
        "descriptor": form("dataclass", **{"class": "app:Outer.lazy"}, fields={}, **fields),
        "as a key": form("dict", of="dict", value=[[named["Hashed"], 1]]),
        "in a set": form("set", value=[form("frozenset", value=[named["Hashed"]])]),
        "pickled": form("pickled", type="app.Harmless", value=evil),
        "array": form("array", dtype="O", shape=(1,), value=[named["Property"]], scalar=False),
        "dtype": form("dtype", dtype="__import__('os').system('touch pwned')"),
        "torch": form("torch", value="torch.hub"),
        **named,
    }


# -- the program that loads them


RAN: list[str] = []
EVENTS: list[str] = []
ARMED = False
_CODE = ("exec", "compile", "os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "pty.spawn")
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.putenv", "shutil.rmtree", "marshal.loads")


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if not ARMED:
        return
    writes = event == "open" and isinstance(args[1], str) and any(mode in args[1] for mode in "wax+")
    if event in _CODE or event in _CHANGES or event == "import" or writes:
        EVENTS.append(f"{event} {args[0]!r:.60}")


def _ran(name: str) -> Any:
    def note(*args: Any, **kwargs: Any) -> Any:
        if ARMED:
            RAN.append(name)
        return 0

    return note


def _application() -> None:
    """Puts modules in place that are the user's own, with code that a file must not reach."""
    app, lazy = types.ModuleType("app"), types.ModuleType("app_lazy")
    sys.modules.update(app=app, app_lazy=lazy)
    lazy.__getattr__ = _ran("module __getattr__")  # type: ignore[method-assign]

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            _ran("metaclass")()
            return super().__getattribute__(name)

    def data(name: str, base: type = object, meta: type = type, **members: Any) -> None:
        built = meta(name, (base,), {"__annotations__": {"a": int}, "__module__": "app", **members})
        setattr(app, name, dataclasses.dataclass(built, eq=False))

    data("PostInit", __post_init__=_ran("__post_init__"), __init__=_ran("__init__"), __setstate__=_ran("__setstate__"))
    data("SetAttr", __setattr__=_ran("__setattr__"))
    data("Property", a=property(_ran("getter"), _ran("setter")))
    data("New", __new__=lambda cls: _ran("__new__")() or object.__new__(cls))
    data("Del", __del__=_ran("__del__"))
    data("Meta", meta=Meta)
    data("Hashed", __hash__=_ran("__hash__"), __eq__=_ran("__eq__"))
    data("Factory", __annotations__={"a": int, "b": list}, b=dataclasses.field(default_factory=_ran("factory")))

    class Missing(enum.Enum):
        RED = 1
        _missing_ = classmethod(_ran("_missing_"))

    class MissingFlag(enum.Flag):
        A = 1
        _missing_ = classmethod(_ran("_missing_"))

    class Row(tuple):
        _fields = ("a",)
        _field_defaults: dict[str, Any] = {}
        __new__ = _ran("namedtuple __new__")

    class Built:
        __setstate__ = _ran("__setstate__")

    class Lazy:
        def __get__(self, instance: Any, owner: Any) -> Any:
            return _ran("descriptor")()

    class Outer:
        lazy = Lazy()
        function = staticmethod(_ran("function"))

    for cls in (Missing, MissingFlag, Row, Built, Outer):
        cls.__module__ = "app"
        setattr(app, cls.__name__, cls)


def _loaders() -> dict[str, Any]:
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    import fulmen

    class Model(fulmen.LightningModule):
        def __init__(self, width: int = 2, **more: Any) -> None:
            super().__init__()
            self.layer = nn.Linear(width, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch[0]).mean()

        def test_step(self, batch: Any, batch_idx: int) -> Any:
            return None

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    data = DataLoader(TensorDataset(torch.ones(2, 2)))
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
    )

    def trainer() -> Any:
        return fulmen.Trainer(max_epochs=1, accelerator="cpu", **quiet)

    return {
        "load": lambda path, **how: Model.load_from_checkpoint(path, **how),
        "fit": lambda path, **how: trainer().fit(Model(), data, ckpt_path=path),
        "test": lambda path, **how: trainer().test(Model(), data, ckpt_path=path, verbose=False),
    }


def _attempt(load: Any, path: str, **how: Any) -> dict[str, Any]:
    global ARMED
    EVENTS.clear()
    RAN.clear()
    ARMED = True
    try:
        load(path, **how)
        error = ""
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    finally:
        ARMED = False
    return {"error": error, "events": list(EVENTS), "ran": list(RAN), "pwned": Path("pwned").exists()}


def main(folder: str, address: str) -> None:
    """Loads every file in the folder in every way, and tells what happened."""
    warnings.simplefilter("ignore")
    _application()
    loaders = _loaders()
    sys.addaudithook(_watch)
    for path in ("good.pt", "refused.pt"):  # what is imported late is imported now
        for load in loaders.values():
            _attempt(load, f"{folder}/{path}")
            _attempt(load, f"{address}/{path}")
    report = {"good": _attempt(loaders["load"], f"{address}/good.pt")}
    for file in sorted(Path(folder).glob("*.ckpt")):
        for name, load in loaders.items():
            if name == "load" or "tag" not in file.stem:
                report[f"{name} {file.stem}"] = _attempt(load, str(file))
        report[f"url {file.stem}"] = _attempt(loaders["load"], f"{address}/{file.name.replace(' ', '%20')}")
    for stem in ("pickle-reduce-extra", "tag-pickled", "tag-PostInit"):
        Path("pwned").unlink(missing_ok=True)
        report[f"trusted {stem}"] = _attempt(loaders["load"], f"{folder}/{stem}.ckpt", weights_only=False)
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
