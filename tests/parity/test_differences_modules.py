"""Rows of ``docs/differences.md`` on hyper-parameters, exported models, and what is found before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from .differing import batches, both, loader, model, trainer


def test_a_part_keeps_its_own_arguments(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 24. A module that is made in the `__init__` of another."""

    def kept(pl: Any) -> dict[str, Any]:
        class Part(pl.LightningModule):
            def __init__(self, width: int) -> None:
                super().__init__()
                self.save_hyperparameters()

        class Whole(pl.LightningModule):
            def __init__(self, width: int = 5, secret: str = "of the whole") -> None:
                super().__init__()
                self.part = Part(width=2)
                self.save_hyperparameters()

        return dict(Whole().part.hparams)

    theirs, ours = both(lightning, fulmen, kept)
    assert theirs == {"width": 5, "secret": "of the whole"}
    assert ours == {"width": 2}


def _decorated(init: Callable[..., None]) -> Callable[..., None]:
    """What a library that checks or times arguments does."""

    def inner(*args: Any, **kwargs: Any) -> None:
        init(*args, **kwargs)

    return inner


def _wrapped(pl: Any) -> Any:
    class Model(pl.LightningModule):
        @_decorated
        def __init__(self, width: int, rate: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()

    return Model(7)


def _calling_its_base(pl: Any) -> Any:
    class Base(pl.LightningModule):
        def __init__(self, width: int) -> None:
            pl.LightningModule.__init__(self)
            self.save_hyperparameters()

    class Model(Base):
        def __init__(self, rate: float = 0.1) -> None:
            Base.__init__(self, width=7)
            self.save_hyperparameters()

    return Model()


@pytest.mark.parametrize("make", [_wrapped, _calling_its_base])
def test_arguments_are_found(lightning: ModuleType, fulmen: ModuleType, make: Callable[[Any], Any]) -> None:
    """Row 25. However `__init__` comes to be called."""

    def kept(pl: Any) -> dict[str, Any] | str:
        try:
            return dict(make(pl).hparams)
        except KeyError as error:
            return repr(error)

    theirs, ours = both(lightning, fulmen, kept)
    assert theirs in ({}, "KeyError('args')")
    assert ours == {"width": 7, "rate": 0.1}


class Halves(torch.nn.Module):
    """Dropout, and a part that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout(0.5)
        self.frozen = torch.nn.BatchNorm1d(8).eval()

    def forward(self, x: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(x)
        return dropped


def _export(pl: Any) -> Any:
    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.halves = Halves()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.halves(x)
            return out

    return Model()


def test_an_exported_model_computes_as_in_evaluation(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 26. Beside the model's own output, run by an interpreter of ONNX."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="the export needs it")

    def exported(pl: Any) -> Tensor:
        from onnx.reference import ReferenceEvaluator

        path, sample = str(tmp_path / f"{pl.__name__}.onnx"), torch.ones(1, 8)
        _export(pl).to_onnx(path, sample, verbose=False)
        session = ReferenceEvaluator(path)
        [output] = session.run(None, {session.input_names[0]: sample.numpy()})
        return torch.from_numpy(output)

    theirs, ours = both(lightning, fulmen, exported)
    assert torch.equal(ours, torch.ones(1, 8))
    assert set(theirs.unique().tolist()) == {0.0, 2.0}  # dropped or doubled, as in training


def test_an_export_leaves_frozen_parts_frozen(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 26. The modes of all parts afterwards."""

    def modes(pl: Any) -> list[bool]:
        module = _export(pl)
        module.to_torchscript(method="trace", example_inputs=torch.ones(1, 8))
        return [part.training for part in (module, module.halves.dropout, module.halves.frozen)]

    theirs, ours = both(lightning, fulmen, modes)
    assert theirs == [True, True, True]
    assert ours == [True, True, False]


@pytest.mark.parametrize("loaders", [None, {"a": [loader([1]), loader([2, 3])]}], ids=["none", "nested"])
def test_a_data_module_can_be_printed(lightning: ModuleType, fulmen: ModuleType, loaders: Any) -> None:
    """Row 27. With loaders that `fit` takes."""

    def printed(pl: Any) -> str:
        class Data(pl.LightningDataModule):
            def val_dataloader(self) -> Any:
                return loaders

        try:
            return str(Data()).splitlines()[1]
        except (TypeError, AttributeError) as error:
            return type(error).__name__

    theirs, ours = both(lightning, fulmen, printed)
    assert theirs in ("TypeError", "AttributeError")
    assert ours == "{Validation dataloader: " + ("None}" if loaders is None else "a. 1. size=1 ; 2. size=2}")


@pytest.mark.parametrize(
    ("owner", "name", "meant"),
    [
        ("module", "on_train_epoch_ends", "on_train_epoch_end"),
        ("callback", "on_train_epoch_ends", "on_train_epoch_end"),
        ("data module", "val_dataloaders", "val_dataloader"),
    ],
)
def test_a_misspelled_hook_is_found(
    lightning: ModuleType, fulmen: ModuleType, owner: str, name: str, meant: str
) -> None:
    """Row 33. Before the first step, where Lightning trains to the end without what the hook is there to do."""
    calls: list[str] = []

    def run(pl: Any) -> tuple[int, str]:
        def changes(of: str) -> dict[str, Any]:
            return {name: lambda *args: calls.append(pl.__name__)} if owner == of else {}

        module = model(pl, validation_step=lambda self, batch, batch_idx: None, **changes("module"))
        callback = type("Mine", (pl.Callback,), changes("callback"))()
        training = {"train_dataloader": lambda self: batches(4)}
        data = type("Data", (pl.LightningDataModule,), {**training, **changes("data module")})()
        return _steps_until_error(trainer(pl, callbacks=[callback]), module, data)

    theirs, ours = both(lightning, fulmen, run)
    assert calls == []
    assert theirs == (4, "")
    assert ours[0] == 0
    assert f"Did you mean `{meant}`?" in ours[1]


def _steps_until_error(runner: Any, module: Any, data: Any = None) -> tuple[int, str]:
    """How many optimizer steps a run takes, and what it says in the end."""
    try:
        runner.fit(module, data or batches(4))
    except Exception as error:
        return runner.global_step, str(error)
    return runner.global_step, ""


def test_a_hook_with_the_wrong_arguments_is_found(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 34. An argument that this hook never had."""

    def on_train_epoch_end(self: Any, losses: Any) -> None: ...

    def run(pl: Any) -> tuple[int, str]:
        return _steps_until_error(trainer(pl), model(pl, on_train_epoch_end=on_train_epoch_end))

    theirs, ours = both(lightning, fulmen, run)
    assert theirs[0] == 4
    assert ours[0] == 0
    assert "Write `def on_train_epoch_end(self)" in ours[1]


@pytest.mark.parametrize("flag", [{"accumulate_grad_batches": 0}, {"log_every_n_steps": -5}], ids=str)
def test_a_flag_that_means_nothing_is_found(lightning: ModuleType, fulmen: ModuleType, flag: dict[str, int]) -> None:
    """Row 34. When the Trainer is made."""

    def run(pl: Any) -> str:
        try:
            trainer(pl, **flag)
        except ValueError as error:
            return str(error)
        return "made"

    theirs, ours = both(lightning, fulmen, run)
    assert theirs == "made"
    assert next(iter(flag)) in ours


@pytest.mark.parametrize("contained", [False, True])
def test_a_part_that_logs(lightning: ModuleType, fulmen: ModuleType, contained: bool) -> None:
    """Row 92. The mean of 1 over all batches."""

    def logged(pl: Any) -> dict[str, float] | str:
        class Part(pl.LightningModule):
            def forward(self, x: Tensor) -> Tensor:
                self.log("part", 1.0)
                return x

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            return self.layer(self.part(batch)).mean()

        module = model(pl, training_step=training_step)
        module.part = torch.nn.Sequential(Part()) if contained else Part()
        run = trainer(pl, max_epochs=1)
        try:
            run.fit(module, batches(2))
        except Exception as error:
            return type(error).__name__
        return {name: float(value) for name, value in run.callback_metrics.items()}

    theirs, ours = both(lightning, fulmen, logged)
    assert theirs == ({} if contained else "MisconfigurationException")
    assert ours == {"part": 1.0}
