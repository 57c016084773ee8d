from __future__ import annotations

import pytest
import torch

from fulmen.accelerators.devices import current_type
from fulmen.accelerators.generic import GenericAccelerator
from fulmen.utilities.exceptions import MisconfigurationException


@pytest.fixture
def xpu(monkeypatch):
    """A machine whose accelerator is two XPUs; what is asked of it is recorded."""
    asked = []
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("xpu"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "set_device_index", asked.append)
    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: asked.append("empty_cache"))
    return asked


def test_takes_the_machines_own_device(xpu):
    accelerator = GenericAccelerator()
    assert accelerator.name() == current_type() == "xpu"
    assert accelerator.is_available()
    assert accelerator.auto_device_count() == 2
    chosen = accelerator.parse_devices([1])
    (device,) = accelerator.get_parallel_devices(chosen)
    assert device == torch.device("xpu", 1)
    accelerator.setup_device(device)
    accelerator.teardown()
    assert xpu == [1, "empty_cache"]


def test_refuses_a_device_of_another_type(xpu):
    with pytest.raises(MisconfigurationException, match="accelerator='cpu'"):
        GenericAccelerator().setup_device(torch.device("cpu"))


def test_a_type_that_is_not_here_is_not_available(xpu):
    absent = GenericAccelerator("hpu")
    assert not absent.is_available()
    assert absent.auto_device_count() == 0
    absent.teardown()
    assert xpu == []


def test_a_machine_without_any_says_so(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    with pytest.raises(MisconfigurationException, match='Pass `accelerator="cpu"`'):
        GenericAccelerator()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_runs_on_what_is_here():
    accelerator = GenericAccelerator()
    device = accelerator.get_parallel_devices(accelerator.parse_devices(1))[0]
    accelerator.setup_device(device)
    assert torch.ones(3, device=device).sum().item() == 3.0
    assert accelerator.get_device_stats(device)
    accelerator.teardown()
