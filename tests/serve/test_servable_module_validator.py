"""A module is served over real HTTP before training; what cannot be served is told with its reason."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
import torch

from fulmen.demos.boring_classes import BoringModel
from fulmen.serve.servable_module_validator import ServableModuleValidator
from fulmen.utilities.exceptions import MisconfigurationException

from .served import Served, fit


def test_a_module_that_can_be_served(caplog: pytest.LogCaptureFixture) -> None:
    callback = ServableModuleValidator(port=0)
    assert callback.successful is None and callback.resp is None
    caplog.set_level("INFO", "fulmen")
    fit(Served(), callback)
    assert callback.successful is True
    assert callback.resp.status_code == 200 and callback.resp.json() == {"output": [2.0, 4.0]}
    assert callback.state_dict() == {"successful": True, "optimization": None, "server": "fastapi"}
    assert "it answered {'output': [2.0, 4.0]}" in caplog.text


def test_training_is_the_same_with_and_without() -> None:
    """Also where the module draws random numbers when it is served, and is partly in evaluation mode."""

    class Drawing(Served):
        def serve_step(self, x: Any) -> Any:
            assert not self.training and torch.is_inference_mode_enabled()
            torch.rand(3)
            return super().serve_step(x)

    weights = []
    for callbacks in ((), (ServableModuleValidator(port=0),)):
        torch.manual_seed(1)
        module = Drawing()
        fit(module, *callbacks)
        assert module.training and module.dropout.training
        weights.append(module.layer.weight)
    assert torch.equal(*weights)


def test_nothing_stays_behind() -> None:
    before = set(threading.enumerate())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):  # the port is free again
        fit(Served(), ServableModuleValidator(port=port))
    assert set(threading.enumerate()) <= before


class OtherAnswer(Served):
    def configure_response(self) -> dict[str, Any]:
        return {"output": [0.0]}


class Failing(Served):
    def serve_step(self, x: Any) -> Any:
        raise ValueError("boom")


class NoBody(Served):
    def configure_payload(self) -> dict[str, Any]:
        return {"x": [1.0]}


class NoInput(Served):
    def configure_payload(self) -> dict[str, Any]:
        return {"body": {"y": [1.0]}}


class NoOutput(Served):
    def serve_step(self, x: Any) -> Any:
        return {"out": x}


CASES = pytest.mark.parametrize(
    ("module", "message"),
    [
        (OtherAnswer, "(?s)instead of .*What to do: Mend `serve_step`"),
        (Failing, "(?s)ValueError: boom.*Mend `configure_serialization` or `serve_step`"),
        (NoOutput, "(?s)KeyError: 'output'.*Mend"),
        (NoBody, r"(?s)Return `\{'body': \{'x': ...\}\}`"),
        (NoInput, r"(?s)without x.*Return `\{'body': \{'x': ...\}\}`"),
        (BoringModel, r"Write `class BoringModel\(ServableModule, LightningModule\)`"),
    ],
)


@CASES
def test_a_module_that_cannot(module: Any, message: str) -> None:
    callback = ServableModuleValidator(port=0)
    with pytest.raises(MisconfigurationException, match=message):
        fit(module(), callback)
    assert callback.successful is False


@CASES
def test_a_failure_may_be_a_warning(module: Any, message: str) -> None:
    callback = ServableModuleValidator(port=0, exit_on_failure=False)
    with pytest.warns(UserWarning, match=message):
        fit(module(), callback)
    assert callback.successful is False


def test_the_error_of_the_module_is_the_cause() -> None:
    with pytest.raises(MisconfigurationException) as caught:
        fit(Failing(), ServableModuleValidator(port=0))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_slow_module() -> None:
    class Slow(Served):
        def serve_step(self, x: Any) -> Any:
            time.sleep(1.5)
            return super().serve_step(x)

    with pytest.raises(MisconfigurationException, match=r"timeout=3\)`, or make `serve_step` faster"):
        fit(Slow(), ServableModuleValidator(port=0, timeout=1))


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MisconfigurationException, match=r"port=0\)` takes a port that is free"):
            fit(Served(), ServableModuleValidator(port=taken.getsockname()[1]))


@pytest.mark.parametrize(
    ("arguments", "message"), [({"server": "ml_server"}, 'server="fastapi"'), ({"optimization": "trt"}, "Leave it out")]
)
def test_what_there_is_not(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(NotImplementedError, match=message):
        ServableModuleValidator(**arguments)  # type: ignore[arg-type]
