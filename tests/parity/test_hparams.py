"""Hyper-parameters are found, merged, stored and handed back as in PyTorch Lightning.

Wanted differences, each with a test of its own in ``tests/core/test_hparams.py`` or ``tests/core/test_saving.py``: the
arguments of another object that happens to be under construction are not taken for one's own; an ``__init__`` that is
decorated or calls its base by name is found as well; a misspelled name is an error that offers the right one.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from fulmen.core.saving import dump_hparams

from .scenarios import quiet

Saves = list[tuple[tuple[Any, ...], dict[str, Any]]]


def flat(saves: Saves) -> Callable[[Any], Any]:
    """A module whose `__init__` makes these calls of `save_hyperparameters`."""

    def make(pl: Any) -> Any:
        class Model(pl.LightningModule):
            def __init__(self, a: Any, b: Any = 2, *rest: Any, c: Any = 3, **more: Any) -> None:
                super().__init__()
                for args, kwargs in saves:
                    self.save_hyperparameters(*args, **kwargs)

        return Model

    return make


def inherited(base: Saves, child: Saves) -> Callable[[Any], Any]:
    """A module and its base class, each with calls of its own."""

    def make(pl: Any) -> Any:
        class Base(pl.LightningModule):
            def __init__(self, a: Any = 0, b: Any = 2, **more: Any) -> None:
                super().__init__()
                for args, kwargs in base:
                    self.save_hyperparameters(*args, **kwargs)

        class Middle(Base):
            def __init__(self, a: Any = 0, m: Any = 6, **more: Any) -> None:
                super().__init__(a=a + 100, **more)

        class Child(Middle):
            def __init__(self, a: Any, c: Any = 3, *rest: Any, **more: Any) -> None:
                super().__init__(a, **more)
                for args, kwargs in child:
                    self.save_hyperparameters(*args, **kwargs)

        return Child

    return make


def described(make: Callable[[], Any]) -> Any:
    """All there is to know about the hyper-parameters of what `make` makes, or that it is an error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = make()
    except (ValueError, TypeError, KeyError) as error:
        return "error", isinstance(error, ValueError)
    kinds = [type(hparams).__name__ for hparams in (model.hparams, model.hparams_initial)]
    name = getattr(model, "_hparams_name", "none")
    return kinds, dict(model.hparams), dict(model.hparams_initial), repr(model.hparams), name, model._log_hyperparams


mappings = st.dictionaries(st.sampled_from(["x", "y", "a"]), st.integers(), min_size=1)
holders = (
    mappings | mappings.map(lambda items: argparse.Namespace(**items)) | mappings.map(collections.UserDict)
    | st.sampled_from([None, {}, 5, True, [1], (1, 2)])
)  # fmt: skip
names = st.sets(st.sampled_from(["a", "b", "c", "x"]))
ignores = st.none() | st.sampled_from(["a", "b", "x", "zz", ""]) | names | names.map(list)
argument_sets = st.just(()) | st.sampled_from([("a",), ("b", "a"), ("c",)]) | st.tuples(holders)
saves = st.lists(
    st.tuples(argument_sets, st.fixed_dictionaries({"logger": st.booleans()}, optional={"ignore": ignores})),
    max_size=2,
)
calls = st.tuples(
    st.lists(st.integers() | mappings, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["x", "y"]), st.integers()),
)


def _clashes(calls_: Saves) -> bool:
    """A name that is asked for and ignored at once: Lightning's error is a KeyError, ours says which name."""
    return any(
        set(args) & ({kwargs["ignore"]} if isinstance(kwargs.get("ignore"), str) else set(kwargs.get("ignore") or ()))
        for args, kwargs in calls_
        if all(isinstance(arg, str) for arg in args)
    )


def _emptied(args: Any, kwargs: Any) -> bool:
    """Whether nothing is left of a mapping that is no dict: only its empty type is another then."""
    ignored = kwargs.get("ignore") or ()
    ignored = {ignored} if isinstance(ignored, str) else set(ignored)
    return any(isinstance(arg, collections.UserDict) and set(arg) <= ignored for arg in args)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(saves=saves, call=calls)
def test_one_class(lightning: ModuleType, fulmen: ModuleType, saves: Saves, call: Any) -> None:
    if _clashes(saves) or any(_emptied(*save) for save in saves):
        return
    args, kwargs = call
    model = flat(saves)
    theirs, ours = (described(lambda pl=pl: model(pl)(*args, **kwargs)) for pl in (lightning, fulmen))
    assert ours == theirs


own = st.sampled_from(
    [[], [((), {})], [((), {"ignore": ["c", "b"]})], [(("a",), {"logger": False})], [(({"k": 1},), {})]]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    base=own, child=own, call=st.tuples(st.integers(), st.dictionaries(st.sampled_from(["b", "m", "z"]), st.integers()))
)
def test_subclasses(lightning: ModuleType, fulmen: ModuleType, base: Saves, child: Saves, call: Any) -> None:
    model = inherited(base, child)
    theirs, ours = (described(lambda pl=pl: model(pl)(call[0], **call[1])) for pl in (lightning, fulmen))
    assert ours == theirs


def as_data_class(pl: Any, *args: Any, **kwargs: Any) -> Any:
    @dataclasses.dataclass
    class Model(pl.LightningModule):
        a: int
        b: str = "x"
        made: int = dataclasses.field(default=0, init=False)

        def __post_init__(self) -> None:
            super().__init__()
            self.save_hyperparameters(*args, **kwargs)

    return Model


@pytest.mark.parametrize("save", [((), {}), (("a",), {}), ((), {"ignore": ["a"]})])
def test_data_classes(lightning: ModuleType, fulmen: ModuleType, save: Any) -> None:
    theirs, ours = (described(lambda pl=pl: as_data_class(pl, *save[0], **save[1])(3)) for pl in (lightning, fulmen))
    assert ours == theirs


def loadable(pl: Any, style: str) -> Any:
    """A class with weights that saves its hyper-parameters in one of several ways."""

    class Base(pl.LightningModule):
        def keep(self, **given: Any) -> None:
            self.layer = nn.Linear(2, 1)
            self.given = given

    class Plain(Base):
        def __init__(self, a: Any, b: Any = 2) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.keep(a=a, b=b)

    class Open(Base):
        def __init__(self, a: Any, **more: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.keep(a=a, **more)

    class Holder(Base):
        def __init__(self, a: Any, b: Any = 2) -> None:
            super().__init__()
            self.save_hyperparameters(a)
            self.keep(a=a, b=b)

    class Literal(Base):
        def __init__(self, a: Any = 1, b: Any = 2) -> None:
            super().__init__()
            self.save_hyperparameters({"a": a, "note": "x"})
            self.keep(a=a, b=b)

    return {"plain": Plain, "open": Open, "holder": Holder, "literal": Literal}[style]


def save(pl: ModuleType, model: Any, path: str) -> None:
    """Writes a checkpoint as this framework does."""
    if pl.__name__ == "fulmen":
        version = {"pytorch-lightning_version": "2.6.6", "epoch": 0, "global_step": 0}
        torch.save({**version, "state_dict": model.state_dict(), **dump_hparams(model)}, path)
        return
    with quiet():
        trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
        trainer.strategy.connect(model)
        trainer.save_checkpoint(path)


@pytest.mark.parametrize("overrides", [{}, {"b": 7}, {"a": {"z": 1}}])
@pytest.mark.parametrize("a", [{"x": 1}, argparse.Namespace(x=1)], ids=["dict", "namespace"])
@pytest.mark.parametrize("style", ["plain", "open", "holder", "literal"])
@pytest.mark.parametrize("writer", ["lightning", "fulmen"])
def test_checkpoints_are_read_alike(
    lightning: ModuleType, fulmen: ModuleType, writer: str, style: str, a: Any, overrides: dict[str, Any]
) -> None:
    """Each framework loads the other's file, and gives its class the same arguments."""
    if style != "holder" and isinstance(a, argparse.Namespace):
        a = 5  # a namespace among the hyper-parameters is no plain value, and Lightning cannot load it
    source = {"lightning": lightning, "fulmen": fulmen}[writer]
    written = loadable(source, style)(a)
    save(source, written, "model.ckpt")
    loaded = [loadable(pl, style).load_from_checkpoint("model.ckpt", **overrides) for pl in (lightning, fulmen)]
    theirs, ours = loaded
    assert ours.given == theirs.given
    assert dict(ours.hparams) == dict(theirs.hparams)
    for model in loaded:
        assert torch.equal(model.layer.weight, written.layer.weight)


def test_data_modules_print_alike(lightning: ModuleType, fulmen: ModuleType) -> None:
    from torch.utils.data import DataLoader, TensorDataset

    def printed(pl: Any) -> str:
        sets = [TensorDataset(torch.ones(n)) for n in (3, 4, 5)]

        class Data(pl.LightningDataModule):
            def val_dataloader(self) -> Any:
                return [DataLoader(sets[0], batch_size=2), DataLoader(sets[1])]

            def test_dataloader(self) -> Any:
                return self.missing

        made = pl.LightningDataModule.from_datasets(sets[0], None, sets[1:], batch_size=2)
        return f"{Data()}\n{made}"

    assert printed(fulmen) == printed(lightning)
