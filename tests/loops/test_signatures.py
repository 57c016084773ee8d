from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import pytest
from tests.runs import Net

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.hooks import ModelHooks
from fulmen.loops import signatures
from fulmen.loops.signatures import check_signatures, check_step, fit_arguments
from fulmen.utilities.exceptions import MisconfiguredRun, MisconfiguredType

TABLES = [(Net, signatures._MODULE), (LightningDataModule, signatures._DATAMODULE), (Callback, signatures._CALLBACK)]
CASES = [(base, name, arguments) for base, table in TABLES for name, arguments in table.items()]


def written(base: type, name: str, *arguments: str) -> Any:
    """An object whose hook takes these arguments."""
    scope: dict[str, Any] = {}
    exec(f"def {name}({', '.join(['self', *arguments])}): return None", scope)
    return type("Mine", (base,), {name: scope[name]})()


@pytest.mark.parametrize(("base", "name", "arguments"), CASES)
def test_the_documented_arguments_are_right(base: type, name: str, arguments: str) -> None:
    names = [part.rstrip("=") for part in arguments.split(", ") if part]
    check_signatures(written(base, name, *names))
    check_signatures(written(base, name, "*args", "**kwargs"))
    check_signatures(written(base, name, *names, "more=None"))
    assert hasattr(base, name)


@pytest.mark.parametrize(("base", "name", "arguments"), CASES)
def test_others_are_wrong(base: type, name: str, arguments: str) -> None:
    names = [part.rstrip("=") for part in arguments.split(", ") if part]
    fix = rf"Write `def {name}\({', '.join(['self', *names])}\)`"
    for wrong in ([*names, "more"], names[:-1]):
        if wrong != names:
            with pytest.raises(MisconfiguredType, match=fix):
                check_signatures(written(base, name, *wrong))


def test_a_keyword_must_have_its_name() -> None:
    with pytest.raises(MisconfiguredType, match=r"Received: def setup\(self, phase\)\n.*setup\(self, stage\)"):
        check_signatures(written(Net, "setup", "phase"))


def test_what_is_no_plain_method_is_left_alone() -> None:
    class Odd(Net):
        configure_optimizers = functools.partial(print)  # type: ignore[assignment]
        prepare_data = mock.Mock()
        train_dataloader = None  # type: ignore[assignment]

    check_signatures(Odd())
    check_signatures(Net())


@pytest.mark.parametrize("name", ["training_step", "validation_step", "test_step", "predict_step"])
def test_steps(name: str) -> None:
    for arguments in (["batch"], ["batch", "batch_idx"], ["b", "i", "d=0"], ["batch", "batch_idx", "dataloader_idx"]):
        check_signatures(written(Net, name, *arguments))
    for arguments in ([], ["a", "b", "c", "d"]):
        with pytest.raises(MisconfiguredType, match=rf"Write `def {name}\(self, batch, batch_idx\)`"):
            check_signatures(written(Net, name, *arguments))


def test_a_step_with_several_loaders() -> None:
    two = written(Net, "validation_step", "batch", "batch_idx").validation_step
    check_step(two, "validation_step", 2)
    with pytest.raises(MisconfiguredRun, match=r"`Mine\.validation_step` gets the number.*\n.*\n.*dataloader_idx=0\)`"):
        check_step(two, "validation_step", 3)
    three = written(Net, "validation_step", "batch", "batch_idx", "dataloader_idx").validation_step
    check_step(three, "validation_step", 3)
    with pytest.raises(
        MisconfiguredType, match=r"Received: def validation_step\(self, batch, batch_idx, dataloader_idx\)"
    ):
        check_step(three, "validation_step", 2)


def test_a_function_without_owner() -> None:
    with pytest.raises(MisconfiguredType, match=r"`training_step` must take"):
        check_step(lambda: None, "training_step", 2)


def test_listeners_may_leave_out_the_loader() -> None:
    pattern = ModelHooks.on_validation_batch_start
    calls: list[Any] = []
    two = lambda batch, batch_idx: calls.append((batch, batch_idx))  # noqa: E731
    fit_arguments(two, 3, pattern, optional=True)("b", 1, 2)
    assert calls == [("b", 1)]
    three = lambda *args: calls.append(args)  # noqa: E731
    assert fit_arguments(three, 3, pattern, optional=True) is three
    with pytest.raises(
        MisconfiguredType, match=r"def on_validation_batch_start\(self, batch, batch_idx, dataloader_idx=0\)"
    ):
        fit_arguments(two, 3, pattern)


def test_what_is_not_written_in_python_is_believed() -> None:
    assert fit_arguments(print, 7, ModelHooks.on_fit_start) is print
    assert fit_arguments(dict.get, 2, ModelHooks.on_fit_start) is dict.get
