from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runs import Net

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.hooks import ModelHooks
from fulmen.loops.hook_names import check_names, closest_hook
from fulmen.utilities.exceptions import MisconfigurationException

EVENTS = sorted(name for name in vars(ModelHooks) if name.startswith("on_"))
LONG = [name for name in EVENTS if len(name) > 12]


def with_methods(base: type, *names: str) -> Any:
    return type("Mine", (base,), {name: lambda self, *args: None for name in names})()


@given(st.sampled_from(LONG), st.data())
def test_one_wrong_letter_is_found(name: str, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(3, len(name) - 1))
    letter = draw.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
    kind = draw.draw(st.sampled_from(["replace", "insert", "remove"]))
    changed = name[:at] + ("" if kind == "remove" else letter) + name[at + (kind != "insert") :]
    if changed not in EVENTS:
        assert closest_hook(changed, set(EVENTS)) is not None


@given(st.sampled_from(EVENTS), st.sampled_from([Net, Callback]))
def test_hooks_themselves_are_right(name: str, base: type) -> None:
    check_names(with_methods(base, name))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("on_training_epoch_start", "on_train_epoch_start"),
        ("on_val_batch_end", "on_validation_batch_end"),
        ("on_testing_begin", "on_test_start"),
        ("on_prediction_finish", "on_predict_end"),
        ("validation_steps", "validation_step"),
        ("test_steps", "test_step"),
        ("validation_dataloader", "val_dataloader"),
        ("train_dataloaders", "train_dataloader"),
        ("configure_optimisers", "configure_optimizers"),
        ("On_train_start", None),
        ("last_step", None),
        ("next_step", None),
        ("text_step", None),
        ("val_step", None),
        ("eval_dataloader", None),
        ("on_loss", None),
        ("forward", None),
        ("state_dicts", None),
    ],
)
def test_what_is_probably_meant(name: str, meant: str | None) -> None:
    known = {*EVENTS, "validation_step", "test_step", "train_dataloader", "val_dataloader", "configure_optimizers"}
    assert closest_hook(name, known) == meant


def test_nothing_is_close_to_nothing() -> None:
    assert closest_hook("on_train_epoch_end", set()) is None


def test_a_method_of_ones_own_beside_the_hook() -> None:
    check_names(with_methods(Net, "on_train_epoch_ends", "on_train_epoch_end"))
    with pytest.raises(MisconfigurationException, match="Did you mean `on_train_epoch_end`"):
        check_names(with_methods(Net, "on_train_epoch_ends"))


def test_a_base_class_of_the_users_counts() -> None:
    class Base(Net):
        def on_train_epoch_ends(self) -> None: ...

    class Derived(Base): ...

    with pytest.raises(MisconfigurationException, match=r"`Base\.on_train_epoch_ends` is no hook"):
        check_names(Derived())


def test_values_are_no_methods() -> None:
    class Values(Net):
        on_train_epoch_ends = 3

        @property
        def on_train_starts(self) -> int:
            return 3

    check_names(Values())


@pytest.mark.parametrize("name", ["on_sanity_check_start", "on_exception"])
def test_some_events_are_for_callbacks_alone(name: str) -> None:
    check_names(with_methods(Callback, name))
    with pytest.warns(UserWarning, match=rf"`Mine\.{name}` is never called.* Write it in a Callback"):
        check_names(with_methods(Net, name))
    with pytest.raises(MisconfigurationException, match=rf"Did you mean `{name}`\? Write it in a Callback"):
        check_names(with_methods(Net, f"{name}s"))


def test_a_data_module_hears_of_data_alone() -> None:
    check_names(with_methods(LightningDataModule, "on_after_batch_transfer", "on_exception", "setup"))
    with pytest.warns(UserWarning, match=r"`Mine\.on_train_epoch_end` is never called"):
        check_names(with_methods(LightningDataModule, "on_train_epoch_end"))
    with pytest.raises(MisconfigurationException, match=r"Did you mean `on_train_epoch_end`\? Write it in the Light"):
        check_names(with_methods(LightningDataModule, "on_train_epoch_ends"))
