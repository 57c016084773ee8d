from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fulmen.core.export import to_onnx, to_tensorrt, to_torchscript
from fulmen.core.module import LightningModule

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.dropout = nn.Dropout(0.9)
        self.frozen = nn.Dropout(0.9).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.dropout(self.layer(x)))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("loss", batch.sum())
        return self(batch).sum()


class Unscriptable:
    """In place of a Trainer: TorchScript can do nothing with it."""

    loggers: tuple[Any, ...] = ()


X = torch.rand(4, 3)


def expected(net: Net) -> Tensor:
    with torch.no_grad():
        return net.layer(X)


@pytest.fixture
def net() -> Net:
    net = Net()
    net._trainer = Unscriptable()
    return net


@pytest.fixture(autouse=True)
def _as_it_was(net: Net) -> Any:
    trainer = net._trainer
    yield
    assert net._trainer is trainer
    assert [module.training for module in (net, net.layer, net.dropout, net.frozen)] == [True, True, True, False]


@pytest.mark.parametrize("method", ["script", "trace"])
def test_torchscript_computes_the_same(net: Net, method: str) -> None:
    net.example_input_array = X
    scripted = to_torchscript(net, "net.pt", method)
    for version in (scripted, torch.jit.load("net.pt")):
        torch.testing.assert_close(version(X), expected(net))


@pytest.mark.parametrize("sample", [X, (X,), {"x": X}], ids=["tensor", "tuple", "dict"])
def test_tracing_takes_any_kind_of_sample(net: Net, sample: Any) -> None:
    torch.testing.assert_close(to_torchscript(net, method="trace", example_inputs=sample)(X), expected(net))


def test_mistakes_say_what_to_write(net: Net) -> None:
    with pytest.raises(ValueError, match="Did you mean `trace`"):
        to_torchscript(net, method="traec")
    with pytest.raises(ValueError, match="Pass `example_inputs="):
        to_torchscript(net, method="trace")
    with pytest.raises(ValueError, match=r"Pass `input_sample=.*or set `self.example_input_array`"):
        to_onnx(net, "net.onnx")
    with pytest.raises(ValueError, match="Pass `output_format='torchscript'`"):
        to_tensorrt(net, "net.ts", X, ir="ts")


@pytest.mark.parametrize("sample", [X, {"x": X}], ids=["tensor", "dict"])
def test_onnx_computes_the_same(net: Net, sample: Any) -> None:
    onnx = pytest.importorskip("onnx", reason="an optional package")
    reference = pytest.importorskip("onnx.reference", reason="an optional package")
    pytest.importorskip("onnxscript", reason="an optional package")
    to_onnx(net, "net.onnx", sample, verbose=False)
    model = onnx.load("net.onnx")
    (output,) = reference.ReferenceEvaluator(model).run(None, {model.graph.input[0].name: X.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), expected(net))


@pytest.mark.parametrize(
    ("missing", "act"),
    [("onnx", to_onnx), ("onnxscript", to_onnx), ("torch_tensorrt", to_tensorrt)],
)
def test_a_missing_package_is_named(net: Net, missing: str, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {missing}"):
        act(net, "file", X)


@pytest.mark.parametrize("ir", ["dynamo", "ts"])
def test_tensorrt_compiles_and_saves(net: Net, ir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a package that only writes down what it is asked, as the real one needs its own hardware."""
    calls: dict[str, Any] = {}
    trainer = net._trainer

    def compile(module: Net, **kwargs: Any) -> Any:
        calls["compile"] = (module.training, module._trainer is trainer, torch.is_grad_enabled(), kwargs)
        return torch.jit.trace(module, kwargs["inputs"][0])

    fake = types.ModuleType("torch_tensorrt")
    fake.compile = compile
    fake.save = lambda compiled, path, **kwargs: calls.update(save=kwargs)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", fake)
    output_format = "torchscript" if ir == "ts" else "exported_program"
    to_tensorrt(net, "net.ts", X, ir=ir, output_format=output_format, default_device="cpu", min_block_size=1)
    training, attached, gradients, kwargs = calls["compile"]
    assert not (training or attached or gradients)
    assert (kwargs["ir"], kwargs["min_block_size"]) == (ir, 1)
    assert torch.equal(kwargs["inputs"][0], X)
    assert Path("net.ts").exists() == (ir == "ts")
    assert (calls.get("save", {}).get("output_format") == "exported_program") == (ir == "dynamo")


@pytest.mark.parametrize("method", ["script", "trace"])
@pytest.mark.parametrize("attached", [False, True])
def test_modules_inside_of_a_module_go_to_torchscript(method: str, attached: bool) -> None:
    """torch asks each of them for its trainer, which not all have."""

    class Outer(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.chain = Net(), nn.Sequential(Net())

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + self.chain(x)

    outer = Outer()
    if attached:
        outer.trainer = Unscriptable()  # type: ignore[assignment]
    x = torch.ones(1, 3)
    scripted = to_torchscript(outer, method=method, example_inputs=x)
    assert torch.equal(scripted(x), outer.eval()(x))
    assert (outer.inner._trainer is not None) == attached
