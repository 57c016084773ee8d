from __future__ import annotations

import argparse
import collections
import dataclasses
import enum
import functools
import io
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.runs import Net, data
from tests.utilities.nested import save_nested
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.checkpoint.store import atomic_save
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.core.saving import dump_hparams, load_from_checkpoint
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.parsing import AttributeDict
from fulmen.utilities.safe_load import UnsafeCheckpointError

PATH = "model.ckpt"


class Model(LightningModule):
    def __init__(self, width: int, lr: Any = 0.1, **more: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, 1)
        self.given = {"width": width, "lr": lr, **more}


class Fixed(LightningModule):
    def __init__(self, width: int, lr: Any = 0.1) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1)
        self.given = {"width": width, "lr": lr}


def save(model: nn.Module, data: Any = None, **extra: Any) -> None:
    checkpoint = {"state_dict": model.state_dict(), **extra}
    for owner in (model, data):
        if owner is not None:
            checkpoint.update(dump_hparams(owner))
    atomic_save(checkpoint, PATH)


plain = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text() | st.text("ab/", min_size=1).map(Path)


@given(st.integers(1, 4), plain, st.dictionaries(st.sampled_from(["x", "y"]), plain))
def test_a_model_comes_back_as_it_was(width: int, lr: Any, more: dict[str, Any]) -> None:
    model = Model(width, lr, **more)
    save(model)
    loaded = load_from_checkpoint(Model, PATH)
    assert loaded.given == model.given
    assert loaded.hparams == model.hparams == loaded.hparams_initial
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert loaded.training


def test_arguments_replace_what_was_saved() -> None:
    save(Model(2, x=1))
    loaded = load_from_checkpoint(Model, PATH, lr=0.5, y=3)
    assert loaded.hparams == {"width": 2, "lr": 0.5, "x": 1, "y": 3}


def test_saved_values_that_init_does_not_take_are_dropped() -> None:
    save(Model(2, x=1))
    assert load_from_checkpoint(Fixed, PATH).given == {"width": 2, "lr": 0.1}


def test_a_misspelled_argument_is_warned_about() -> None:
    save(Model(2))
    with pytest.warns(UserWarning, match=r"no argument `lrr`: it was ignored. Did you mean `lr`\?"):
        load_from_checkpoint(Fixed, PATH, lrr=1)


def test_a_missing_argument_is_named() -> None:
    save(Fixed(2))
    with pytest.raises(TypeError, match=r"(?s)'width'.*Fixed.load_from_checkpoint\(path, name=value\)"):
        load_from_checkpoint(Fixed, PATH)
    assert load_from_checkpoint(Fixed, PATH, width=2).given["width"] == 2


@pytest.mark.parametrize("conf", [{"x": 1}, argparse.Namespace(x=1), AttributeDict(x=1), collections.OrderedDict(x=1)])
def test_one_argument_that_holds_all(conf: Any) -> None:
    class Holder(LightningModule):
        def __init__(self, conf: Any, size: int = 2) -> None:
            super().__init__()
            self.save_hyperparameters(conf)
            self.conf, self.size = conf, size

    save(Holder(conf))
    loaded = load_from_checkpoint(Holder, PATH, size=5)
    assert loaded.conf == {"x": 1, "size": 5}
    assert loaded.conf.x == 1  # a namespace was saved, perhaps: both ways of asking work
    assert loaded.size == 5
    assert load_from_checkpoint(Holder, PATH, conf={"x": 2}).conf == {"x": 2}


def test_hyper_parameters_that_are_no_arguments() -> None:
    class Literal(LightningModule):
        def __init__(self, width: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters({"width": width, "note": "x"})
            self.width = width

    save(Literal(3))
    loaded = load_from_checkpoint(Literal, PATH)
    assert (loaded.width, loaded.hparams) == (3, {"width": 3, "note": "x"})


def test_classes_with_unusual_inits() -> None:
    class Strict(LightningModule):
        def __init__(self, a: int, /, *, b: int) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Inherits(LightningModule):
        pass

    @dataclasses.dataclass
    class Data(LightningModule):
        a: int

        def __post_init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()

        __hash__ = nn.Module.__hash__

    save(Strict(1, b=2))
    assert load_from_checkpoint(Strict, PATH).hparams == {"a": 1, "b": 2}
    assert load_from_checkpoint(Inherits, PATH).hparams == {}
    assert load_from_checkpoint(Data, PATH).a == 1


def test_hparams_in_a_file(tmp_path: Path) -> None:
    save(Model(2, lr=9))
    Path("h.yaml").write_text("width: 2\n")
    Path("h.csv").write_text("key,value\nwidth,2\nlr,0.5\n")
    assert load_from_checkpoint(Model, PATH, hparams_file="h.yaml").hparams == {"width": 2, "lr": 0.1}
    assert load_from_checkpoint(Model, PATH, hparams_file=Path("h.csv"), lr=7).hparams == {"width": 2, "lr": 7}
    with pytest.raises(ValueError, match=r"Convert it to YAML"):
        load_from_checkpoint(Model, PATH, hparams_file="h.json")


def test_hooks_run_before_the_weights() -> None:
    class Hooked(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer: nn.Linear | None = None

        def configure_model(self) -> None:
            if self.layer is None:
                self.layer = nn.Linear(1, 1)

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            assert self.layer is not None
            self.extra = checkpoint["extra"]
            checkpoint["state_dict"]["layer.bias"] += 1

    model = Hooked()
    model.configure_model()
    assert model.layer is not None
    save(model, extra=5)
    loaded = load_from_checkpoint(Hooked, PATH)
    assert loaded.extra == 5
    assert torch.equal(loaded.layer.bias, model.layer.bias + 1)


class Other(LightningModule):
    def __init__(self, width: int = 2, strict_loading: bool | None = None) -> None:
        super().__init__()
        self.head = nn.Linear(width, 1)
        if strict_loading is not None:
            self.strict_loading = strict_loading


def test_weights_that_do_not_fit() -> None:
    save(Model(2))
    with pytest.raises(RuntimeError, match=r"pass `strict=False`") as caught:
        load_from_checkpoint(Other, PATH)
    for key in ("head.weight", "layer.bias", "Missing key", "Unexpected key", PATH, "Other"):
        assert key in str(caught.value)
    with pytest.raises(RuntimeError, match=r"(?s)size mismatch for layer.weight.*hand over the same arguments"):
        load_from_checkpoint(Model, PATH, width=3)


def test_strictness() -> None:
    save(Model(2))
    with pytest.warns(UserWarning, match="keys in the (model|checkpoint) only") as caught:
        load_from_checkpoint(Other, PATH, strict=False)
        load_from_checkpoint(Other, PATH, strict_loading=False)
    assert len(caught) == 4
    for own in (True, False):
        with pytest.raises(ValueError, match="set both to the same value"):
            load_from_checkpoint(Other, PATH, strict=not own, strict_loading=own)


def test_goes_to_the_device_of_its_weights() -> None:
    class Assigning(Fixed):
        def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = True) -> Any:
            return super().load_state_dict(state_dict, strict, assign)

    save(Model(2))
    loaded = load_from_checkpoint(Assigning, PATH, map_location="meta")
    assert loaded.device.type == loaded.layer.weight.device.type == "meta"


def test_an_open_file_will_do() -> None:
    save(Model(2))
    with open(PATH, "rb") as file:
        assert load_from_checkpoint(Model, file).hparams.width == 2
    assert load_from_checkpoint(Model, io.BytesIO(Path(PATH).read_bytes())).hparams.width == 2


@pytest.mark.parametrize("content", [[1], {"layer.weight": torch.ones(1)}])
def test_a_file_that_is_no_checkpoint(content: Any) -> None:
    torch.save(content, PATH)
    with pytest.raises(MisconfigurationException, match=r"model.load_state_dict\(torch.load\(path\)\)"):
        load_from_checkpoint(Model, PATH)


def test_what_is_nested_too_deep_is_named() -> None:
    """In an error that is short, and is a `RuntimeError` as Python's own would be."""
    save_nested({"state_dict": Model(2).state_dict(), "global_step": 1, "epoch": 1}, "hyper_parameters", Path(PATH))
    trainer = Trainer(max_epochs=1, logger=False, enable_progress_bar=False, enable_checkpointing=False)
    for act in (partial(load_from_checkpoint, Model, PATH), partial(trainer.fit, Net(), data(1), ckpt_path=PATH)):
        for trusted in (True, False):
            with pytest.raises(MisconfigurationException, match=r"`hyper_parameters`[\s\S]*store it flat") as caught:
                act(weights_only=not trusted)
            assert isinstance(caught.value, RuntimeError) and caught.value.__suppress_context__


def test_is_read_without_running_code() -> None:
    torch.save({"state_dict": Model(2).state_dict(), "hyper_parameters": {"width": 2, "lr": nn.ReLU()}}, PATH)
    with pytest.raises(UnsafeCheckpointError, match="weights_only=False"):
        load_from_checkpoint(Model, PATH)
    with pytest.warns(UserWarning, match="`lr` is an `nn.Module`"):
        assert isinstance(load_from_checkpoint(Model, PATH, weights_only=False).hparams.lr, nn.ReLU)


def _score(value: torch.Tensor) -> torch.Tensor:
    return value


def test_what_has_no_form_is_named_when_it_is_saved() -> None:
    with pytest.warns(UserWarning, match="`net` is an `nn.Module`"):
        model = Model(2, lr=0.1, net=nn.ReLU(), deep={"fn": [_score]}, score=lambda x: x)
    with pytest.warns(UserWarning, match=r"ignore=\['deep', 'net', 'score'\]") as caught:
        entries = dump_hparams(model)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "stored as pickles, which only `weights_only=False` reads: net (torch.nn.modules.activation.ReLU)" in text
    assert "deep.fn[0] (function), and are left out: score (function)" in text
    assert entries["hyper_parameters"].keys() == {"width", "lr", "net", "deep", "score"}
    assert dump_hparams(model).keys() == entries.keys()  # without saying it again


@pytest.mark.filterwarnings("ignore:Hyper-parameters are stored", "ignore:The hyper-parameter `net`")
def test_what_was_not_made_is_asked_for_by_name_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    class Net(LightningModule):
        built = 0

        def __init__(self, net: Any = None, score: Any = None, note: Any = "") -> None:
            super().__init__()
            self.save_hyperparameters()
            type(self).built += 1

    save(Net(nn.ReLU(), score=lambda x: x, note="n"))
    Net.built = 0
    ways = r"(?s)'net' \(pickled `.*ReLU`\).*'score'.*could not be saved.*Net.load_from_checkpoint\(path, net=\.\.\., "
    with pytest.raises(TypeError, match=ways + r"score=\.\.\.\).*weights_only=False") as caught:
        load_from_checkpoint(Net, PATH)
    assert "note" not in str(caught.value)
    assert Net.built == 0
    loaded = load_from_checkpoint(Net, PATH, net=nn.Tanh(), score=abs)
    assert isinstance(loaded.hparams.net, nn.Tanh)
    assert (loaded.hparams.score, loaded.hparams.note) == (abs, "n")

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.warns(UserWarning, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        assert isinstance(load_from_checkpoint(Net, PATH, score=abs).hparams.net, nn.ReLU)
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    assert isinstance(load_from_checkpoint(Net, PATH, weights_only=False, score=abs).hparams.net, nn.ReLU)
    with pytest.raises(TypeError, match=r"'score'.*could not be saved"):  # and not its default
        load_from_checkpoint(Net, PATH, weights_only=False)


@pytest.mark.filterwarnings("ignore:Hyper-parameters are stored")
def test_arguments_that_init_does_not_take_are_not_asked_for() -> None:
    save(Model(2, x=_score))
    assert load_from_checkpoint(Fixed, PATH).given["width"] == 2
    with pytest.raises(TypeError, match=r"(?s)'x' \(pickled.*weights_only=False"):
        load_from_checkpoint(Model, PATH)


@pytest.mark.filterwarnings("ignore:Hyper-parameters are stored")
def test_one_argument_that_holds_all_asks_for_what_is_missing_in_it() -> None:
    class Holder(LightningModule):
        def __init__(self, conf: Any) -> None:
            super().__init__()
            self.save_hyperparameters(conf)

    save(Holder({"a": 1, "score": _score}))
    with pytest.raises(TypeError, match=r"'conf'.*pickle"):
        load_from_checkpoint(Holder, PATH)
    assert load_from_checkpoint(Holder, PATH, score=abs).hparams.score is abs


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Options:
    root: Path
    colour: Colour = Colour.RED


def test_ordinary_kinds_come_back_and_so_do_later_changes() -> None:
    options = Options(Path("x"))
    model = Model(2, functools.partial(torch.optim.SGD, lr=0.1), options=options, kind=nn.ReLU, day=date(2024, 1, 1))
    model.hparams.options = dataclasses.replace(options, root=Path("y"))
    model.hparams.more = np.float32(0.5)
    del model.hparams["day"]
    save(model)
    hparams = load_from_checkpoint(Model, PATH).hparams
    assert hparams.options == Options(Path("y"))
    assert (hparams.kind, hparams.more, type(hparams.more)) == (nn.ReLU, 0.5, np.float32)
    assert (hparams.lr.func, hparams.lr.keywords) == (torch.optim.SGD, {"lr": 0.1})
    assert "day" not in hparams


class Scored(LightningModule):
    """Takes a function, which only a load that trusts the file brings back."""

    def __init__(self, width: int, score: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, 1)
        self.score = score

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss: torch.Tensor = self.score(self.layer(batch[0])).mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_training_goes_on_where_something_is_left_out() -> None:
    data: Any = DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)

    def trainer(epochs: int) -> Trainer:
        saving = ModelCheckpoint(".", filename="model", enable_version_counter=False)
        quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
        return Trainer(max_epochs=epochs, accelerator="cpu", logger=False, callbacks=[saving], **quiet)

    model = Scored(2, _score)
    with pytest.warns(UserWarning, match=r"score \(.*\). Say so with .*ignore=\['score'\]"):
        trainer(2).fit(model, data)
    assert torch.load(PATH, weights_only=True)["hyper_parameters"]["width"] == 2

    with pytest.raises(TypeError, match=r"(?s)'score'.*Scored.load_from_checkpoint\(path, score=\.\.\.\)"):
        Scored.load_from_checkpoint(PATH)
    loaded = Scored.load_from_checkpoint(PATH, score=torch.abs)
    assert loaded.score is torch.abs
    assert torch.equal(loaded.layer.weight, model.layer.weight)

    going_on = trainer(3)
    going_on.fit(Scored(2, _score), data, ckpt_path=PATH)
    assert going_on.global_step == 6


def test_entries_of_a_checkpoint() -> None:
    assert dump_hparams(Fixed(2)) == {}
    assert dump_hparams(Model(2)) == {"hparams_name": "kwargs", "hyper_parameters": {"width": 2, "lr": 0.1}}
    assert type(dump_hparams(Model(2))["hyper_parameters"]) is dict
    unnamed = Fixed(2)
    unnamed.hparams.a = 1
    assert dump_hparams(unnamed) == {"hyper_parameters": {"a": 1}}


class Data(LightningDataModule):
    def __init__(self, folder: Path, batch_size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.position = 0

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.position = state_dict["position"]


def test_a_data_module_has_its_own_entries() -> None:
    save(Model(2), Data(Path("x/y")), Data={"position": 7})
    loaded = Data.load_from_checkpoint(PATH, batch_size=4)
    assert loaded.hparams == {"folder": Path("x/y"), "batch_size": 4}
    assert loaded.position == 7
    assert load_from_checkpoint(Model, PATH).hparams.width == 2
    with pytest.raises(TypeError, match=r"model = Data.load_from_checkpoint"):
        loaded.load_from_checkpoint(PATH)


def test_omegaconf_comes_back_as_a_config() -> None:
    omegaconf = pytest.importorskip("omegaconf", reason="an optional package")

    class Configured(LightningModule):
        def __init__(self, conf: Any) -> None:
            super().__init__()
            self.save_hyperparameters(conf)
            self.conf = conf

    config = omegaconf.OmegaConf.create({"a": 1, "b": "${a}"})
    model = Configured(config)
    assert model.hparams == config
    save(model)
    assert load_from_checkpoint(Configured, PATH).conf == config
