from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from fulmen.accelerators.cpu import CPUAccelerator, get_cpu_stats
from fulmen.utilities.exceptions import MisconfigurationException


def test_is_always_there_also_on_the_class():
    assert CPUAccelerator.is_available()
    assert CPUAccelerator.name() == "cpu"
    assert CPUAccelerator.auto_device_count() == 1


@pytest.mark.parametrize("devices, count", [(1, 1), ("1", 1), (3, 3), (" 2 ", 2)])
def test_devices_are_a_number_of_processes(devices, count):
    assert CPUAccelerator.parse_devices(devices) == count
    assert CPUAccelerator.get_parallel_devices(devices) == [torch.device("cpu")] * count


@pytest.mark.parametrize("devices", [0, -1, "-1", [0], "0,1", None, 1.5, "x", (), True])
def test_anything_else_is_an_error_that_offers_both_ways(devices):
    with pytest.raises(MisconfigurationException, match=r'(?s)`devices=1`.*`accelerator="gpu"`'):
        CPUAccelerator.parse_devices(devices)


def test_sets_up_only_the_cpu():
    CPUAccelerator().setup_device(torch.device("cpu"))
    with pytest.raises(MisconfigurationException, match="accelerator='cuda'"):
        CPUAccelerator().setup_device(torch.device("cuda"))


def test_load_is_read_with_psutil(monkeypatch):
    load = SimpleNamespace(percent=30.0)
    psutil = SimpleNamespace(virtual_memory=lambda: load, swap_memory=lambda: load, cpu_percent=lambda: 12.5)
    monkeypatch.setitem(sys.modules, "psutil", psutil)
    expected = {"cpu_vm_percent": 30.0, "cpu_percent": 12.5, "cpu_swap_percent": 30.0}
    assert get_cpu_stats() == expected
    assert CPUAccelerator().get_device_stats("cpu") == expected


def test_load_without_psutil_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ModuleNotFoundError, match="pip install psutil"):
        get_cpu_stats()
