from __future__ import annotations

import platform
import sys
from types import SimpleNamespace

import pytest
import torch

from fulmen.accelerators.mps import MPSAccelerator, get_device_stats
from fulmen.utilities.exceptions import MisconfigurationException


@pytest.mark.parametrize("machine, available", [("arm64", True), ("x86_64", False)])
def test_needs_an_apple_processor_and_a_native_python(monkeypatch, machine, available):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert MPSAccelerator.is_available() is available


@pytest.mark.parametrize("devices", [1, "1", [0], -1])
def test_there_is_one_device(devices):
    assert MPSAccelerator.auto_device_count() == 1
    assert MPSAccelerator.get_parallel_devices(MPSAccelerator.parse_devices(devices)) == [torch.device("mps", 0)]


@pytest.mark.parametrize("devices", [2, [1], "0,1"])
def test_more_than_one_is_an_error(devices):
    with pytest.raises(MisconfigurationException, match=r"there: 0\."):
        MPSAccelerator.parse_devices(devices)


def test_refuses_a_device_of_another_type():
    MPSAccelerator().setup_device(torch.device("mps"))
    with pytest.raises(MisconfigurationException, match="accelerator='cpu'"):
        MPSAccelerator().setup_device(torch.device("cpu"))


def test_load_is_read_with_psutil(monkeypatch):
    load = SimpleNamespace(percent=30.0)
    psutil = SimpleNamespace(virtual_memory=lambda: load, swap_memory=lambda: load, cpu_percent=lambda: 12.5)
    monkeypatch.setitem(sys.modules, "psutil", psutil)
    assert get_device_stats() == {"M1_vm_percent": 30.0, "M1_percent": 12.5, "M1_swap_percent": 30.0}
    assert MPSAccelerator().get_device_stats("mps") == get_device_stats()
