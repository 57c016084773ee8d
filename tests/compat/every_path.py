"""Run as a program, since it takes Lightning's names: what must hold for every path and name in the list of facts.

Prints what does not, one line each.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import inspect
import json
import pickle
import sys
import typing
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import fulmen.as_lightning  # noqa: F401  (puts the names in place)
from fulmen.compat.old_names import REMEDIES
from fulmen.compat.paths import exists
from fulmen.compat.view import View, sources

FACTS = json.loads((Path(__file__).parents[1] / "data" / "lightning-paths.json").read_text(encoding="utf-8"))
OTHER = {"pytorch_lightning": "lightning.pytorch", "lightning_fabric": "lightning.fabric"}
warnings.simplefilter("ignore")


def waiting(path: str, name: str) -> bool:
    """Whether a name is in the table, and the 1.x dialect has no module for it yet."""
    from fulmen.compat.old_names import OLD

    rest = path.partition(".")[2]
    place = sources(rest).get(name, (OLD.get(rest, {}).get("*", ""), ""))[0]
    return place in REMEDIES and not exists(f"fulmen.{place}")


def wrong(path: str, name: str) -> Iterator[str]:
    """What is wrong with one name."""
    module = importlib.import_module(path)
    root = path.split(".")[0]
    other = importlib.import_module(path.replace(root, OTHER[root], 1))
    try:
        value = getattr(module, name)
    except AttributeError as error:
        if not (waiting(path, name) and "What to do" in str(error)):
            yield f"missing: {error}"
        return
    if getattr(other, name) is not value:
        yield "another object under the other root"
    if isinstance(value, ModuleType):
        return
    if pickle.loads(f"c{path}\n{name}\n.".encode()) is not value:
        yield "another object when a pickle names it"
    home = getattr(value, "__module__", None)
    if not (inspect.isclass(value) or inspect.isfunction(value)) or not str(home).startswith("fulmen"):
        return
    if inspect.getmodule(value) is not sys.modules[str(home)] or isinstance(sys.modules[str(home)], View):
        yield f"inspect finds it in {inspect.getmodule(value)}"
    if pickle.loads(pickle.dumps(value)) is not value:
        yield "another object after a pickle"


def every_name() -> Iterator[str]:
    for era in ("2.6", "1.x"):
        for path, names in FACTS[era].items():
            if importlib.util.find_spec(path) is None:
                yield f"{path}: no spec"
                continue
            yield from (f"{path}.{name}: {text}" for name in names for text in wrong(path, name))


def fulmen_is_untouched() -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] != "fulmen":
            continue
        spec = module.__spec__
        if module.__name__ != name or spec is None or spec.name != name:
            yield f"{name}: named {module.__name__}, {spec}"
        if hasattr(module, "__path__") != (spec is not None and spec.submodule_search_locations is not None):
            yield f"{name}: a package, or none"
        yield from (f"{name}.{key} is a view" for key, value in vars(module).items() if isinstance(value, View))


def a_patch_is_seen_under_all_names() -> Iterator[str]:
    import lightning.pytorch.callbacks

    import fulmen.callbacks

    for target in ("pytorch_lightning.callbacks.ModelCheckpoint", "lightning.pytorch.callbacks.ModelCheckpoint"):
        before = fulmen.callbacks.ModelCheckpoint
        with mock.patch(target) as patched:
            if not (fulmen.callbacks.ModelCheckpoint is lightning.pytorch.callbacks.ModelCheckpoint is patched):
                yield f"{target}: not seen everywhere"
        if fulmen.callbacks.ModelCheckpoint is not before:
            yield f"{target}: not put back"
    with mock.patch("pytorch_lightning.utilities.distributed.rank_zero_only") as patched:
        from pytorch_lightning.utilities.distributed import rank_zero_only

        if rank_zero_only is not patched:
            yield "a name that is elsewhere cannot be patched"
    from pytorch_lightning.utilities.distributed import rank_zero_only

    if rank_zero_only is not fulmen.utilities.rank_zero_only:
        yield "a name that is elsewhere is not put back"


def hints_resolve() -> Iterator[str]:
    from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

    for owner in (Callback, LightningDataModule, LightningModule, Trainer):
        if owner.__module__.split(".")[0] != "fulmen" or inspect.getmodule(owner) is not sys.modules[owner.__module__]:
            yield f"{owner}: {owner.__module__}"

    class Mine(LightningModule):
        width: int

    for owner in (Callback, LightningDataModule, Mine):
        typing.get_type_hints(owner)
    star: dict[str, object] = {}
    exec("from pytorch_lightning.callbacks import *", star)
    if "EarlyStopping" not in star or "GPUStatsMonitor" in star:
        yield f"a star brings {sorted(star)}"


def code_can_be_run_and_shown() -> Iterator[str]:
    for name, runs in {
        "lightning.pytorch.utilities.upgrade_checkpoint": True,
        "pytorch_lightning.core.saving": True,
        "pytorch_lightning.utilities.consolidate_checkpoint": False,
    }.items():
        if name in sys.modules:
            del sys.modules[name]
        spec = importlib.util.find_spec(name)
        assert spec is not None and isinstance(spec.loader, importlib.abc.InspectLoader)
        if (spec.loader.get_code(name) is not None) != runs or (spec.loader.get_source(name) is not None) != runs:
            yield f"{name}: {'no ' if runs else ''}code"


def what_is_not_there(path: str, statement: str) -> Iterator[str]:
    """A path or a name that does not exist: `find_spec` and `hasattr` say no, an import says what there is."""
    try:
        exec(statement)
    except ImportError as error:
        yield f"{statement} -> {error}".replace("\n", " | ")
    module, _, name = path.rpartition(".")
    if importlib.util.find_spec(path) is not None or hasattr(importlib.import_module(module), name):
        yield f"{path} is there"


if __name__ == "__main__":
    checks = (every_name, a_patch_is_seen_under_all_names, hints_resolve, fulmen_is_untouched)
    for check in (*checks, code_can_be_run_and_shown):
        for line in check():
            print(line)
    print("----")
    for path, statement in {
        "pytorch_lightning.callbacks.early_stoping": "import pytorch_lightning.callbacks.early_stoping",
        "lightning.pytorch.callbacks.EarlyStoping": "from lightning.pytorch.callbacks import EarlyStoping",
        "pytorch_lightning.Trainr": "from pytorch_lightning import Trainr",
        "lightning.app": "import lightning.app",
        "lightning.fabric.callbacks": "import lightning.fabric.callbacks",
        "pytorch_lightning.checkpoints": "from pytorch_lightning import checkpoints",
    }.items():
        for line in what_is_not_there(path, statement):
            print(line)
