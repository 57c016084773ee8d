from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from tests.runs import Net, fit
from torch import Tensor, nn

from fulmen.core.module import LightningModule, overridden
from fulmen.utilities.exceptions import MisconfigurationException

X = torch.ones(3, 2)


class Bare(LightningModule):
    """Nothing but what it inherits."""


def test_what_every_module_starts_with() -> None:
    module = Bare()
    assert module.automatic_optimization and module.strict_loading
    assert module.example_input_array is None
    assert module.configure_callbacks() == []
    assert module.configure_optimizers() is None
    assert module.validation_step(X, 0) is module.test_step(X, 0) is None
    assert module.training


def test_what_a_user_sets() -> None:
    module = Bare()
    module.automatic_optimization = module.strict_loading = False
    module.example_input_array = X
    assert not module.automatic_optimization
    assert not module.strict_loading
    assert module.example_input_array is X


def test_a_step_that_is_missing_says_so() -> None:
    with pytest.raises(MisconfigurationException, match=r"def training_step\(self, batch, batch_idx\)"):
        Bare().training_step(X, 0)


def test_forward_is_torchs_until_it_is_written() -> None:
    with pytest.raises(NotImplementedError, match="forward"):
        Bare()(X)


@pytest.mark.parametrize("call", [lambda net: net.predict_step(X, 0), lambda net: net.predict_step(batch=X)])
def test_predict_step_calls_the_model(call: Any) -> None:
    net = Net()
    assert torch.equal(call(net), net(X))


def test_freezing_and_unfreezing() -> None:
    net = Net()
    net.freeze()
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    net.unfreeze()
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_print_without_a_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    Net().print("a", 1, sep="-")
    assert capsys.readouterr().out == "a-1\n"


def test_print_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    class Prints(Net):
        def on_train_start(self) -> None:
            self.print("started")

    fit(Prints())
    assert capsys.readouterr().out == "started\n"


def test_all_gather_on_one_process_is_the_value_itself() -> None:
    gathered: list[Any] = []

    class Gathers(Net):
        def on_train_start(self) -> None:
            value = self.layer.weight.sum()
            gathered.extend([self.all_gather({"a": [1.5, value], "b": "text"}), value])

    fit(Gathers())
    nest, value = gathered
    assert nest["b"] == "text"
    assert torch.equal(nest["a"][0], torch.tensor(1.5))
    assert torch.equal(nest["a"][1], value)


def test_a_checkpoint_becomes_a_module_again() -> None:
    class Sized(Net):
        def __init__(self, width: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = nn.Linear(2, width)

    trainer = fit(Sized(3))
    trainer.save_checkpoint("sized.ckpt")
    loaded = Sized.load_from_checkpoint("sized.ckpt")
    assert loaded.hparams == {"width": 3}
    assert torch.equal(loaded(X), trainer.lightning_module(X))
    with pytest.raises(TypeError, match=r"`model = Sized\.load_from_checkpoint\(\.\.\.\)`"):
        loaded.load_from_checkpoint("sized.ckpt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_exports_through_the_module() -> None:
    net = Net()
    torch.testing.assert_close(net.to_torchscript()(X), net(X))
    torch.testing.assert_close(net.to_torchscript(method="trace", example_inputs=X)(X), net(X))
    with pytest.raises(ValueError, match=r"or set `self\.example_input_array`"):
        net.to_onnx("net.onnx")
    with pytest.raises(ModuleNotFoundError, match="pip install torch_tensorrt"):
        net.to_tensorrt("net.ts", X)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_also_in_a_run() -> None:
    """Properties that belong to a run are not compiled."""
    scripted: list[Any] = []

    class Scripts(Net):
        def on_train_end(self) -> None:
            scripted.append(self.to_torchscript())

    net = Scripts()
    fit(net)
    torch.testing.assert_close(scripted[0](X), net(X))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_belongs_to_no_run(duplicate: Any) -> None:
    net = Net()
    trainer = fit(net)
    twin = duplicate(net)
    assert (twin._trainer, twin._logbook) == (None, None)
    assert net.trainer is trainer
    assert torch.equal(twin(X), net(X))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_module() -> None:
    """Its steps are compiled, all else is the module's own, and its weights keep their names."""
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    class Steps(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
            return self.layer(batch[0]).mean()

    torch.manual_seed(0)
    net, plain = Steps(), Steps()
    plain.load_state_dict(net.state_dict())
    trainer = fit(torch.compile(net, backend=backend))  # type: ignore[arg-type]
    fit(plain)
    assert set(trainer.strategy.lightning_module_state_dict()) == {"layer.weight", "layer.bias"}
    trainer.save_checkpoint("compiled.ckpt")
    loaded = Steps.load_from_checkpoint("compiled.ckpt")
    assert torch.equal(loaded.layer.weight, plain.layer.weight)
    assert graphs and trainer.lightning_module is net


class Base:
    def hook(self) -> None: ...


class Overrides(Base):
    def hook(self) -> None: ...


def test_overridden_finds_what_the_user_wrote() -> None:
    mine, plain = Overrides(), Base()
    assert overridden(mine, "hook", Base) == mine.hook
    assert overridden(plain, "hook", Base) is None
    assert overridden(plain, "missing", Base) is None
    assert overridden(mine, "hook", Base, Overrides) is None
    plain.hook = lambda: None  # type: ignore[method-assign]
    assert overridden(plain, "hook", Base) is plain.hook
