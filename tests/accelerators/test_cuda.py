from __future__ import annotations

import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import torch

from fulmen.accelerators import cuda
from fulmen.accelerators.cuda import CUDAAccelerator, find_usable_cuda_devices, get_nvidia_gpu_stats
from fulmen.utilities.exceptions import MisconfigurationException

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def four(monkeypatch):
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 4)


def test_devices_are_indices(four):
    assert CUDAAccelerator.is_available()
    assert CUDAAccelerator.auto_device_count() == 4
    assert CUDAAccelerator.parse_devices("1,3") == [1, 3]
    assert CUDAAccelerator.get_parallel_devices([1, 3]) == [torch.device("cuda", 1), torch.device("cuda", 3)]


def test_without_one_it_is_not_available(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert not CUDAAccelerator.is_available()
    assert not cuda.is_cuda_available()


def test_refuses_a_device_of_another_type():
    with pytest.raises(MisconfigurationException, match="accelerator='cpu'"):
        CUDAAccelerator().setup_device(torch.device("cpu"))


def test_flags_keep_the_order_of_the_bus(four, monkeypatch, caplog):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with caplog.at_level("INFO", logger="fulmen"):
        CUDAAccelerator.set_nvidia_flags(0)
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "CUDA_VISIBLE_DEVICES: [0,1,2,3]" in caplog.text


def test_usable_devices_are_those_that_give_memory(four, monkeypatch):
    def allocate(value, device):
        if device.index in (0, 2):
            raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")
        return value

    monkeypatch.setattr(torch, "tensor", allocate)
    assert find_usable_cuda_devices() == [1, 3]
    assert find_usable_cuda_devices(1) == [1]
    assert find_usable_cuda_devices(0) == []
    for impossible in (3, -2):
        with pytest.raises(MisconfigurationException, match=r"(?s)2 of 4 are usable.*Ask for fewer"):
            find_usable_cuda_devices(impossible)


def test_usable_devices_without_any(monkeypatch):
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: 0)
    with pytest.raises(MisconfigurationException, match="0 of 0 are usable"):
        find_usable_cuda_devices()


def test_nvidia_smi_is_asked_for_the_visible_device(monkeypatch):
    commands = []

    def run(command, **options):
        commands.append(command)
        return SimpleNamespace(stdout="93, 1024, 80000, 41, [N/A], 55, N/A\n")

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    stats = get_nvidia_gpu_stats(torch.device("cuda", 1))
    assert commands[0][-1] == "--id=6"
    assert stats["utilization.gpu (%)"] == 93.0
    assert stats["memory.free (MB)"] == 80000.0
    assert stats["fan.speed (%)"] == 0.0
    assert len(stats) == 7


def test_without_nvidia_smi_it_names_another_way(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="get_device_stats"):
        get_nvidia_gpu_stats(0)


@pytest.mark.gpu
@needs_cuda
def test_sets_the_current_device_and_reads_its_figures():
    accelerator = CUDAAccelerator()
    device = accelerator.get_parallel_devices(accelerator.parse_devices(-1))[-1]
    accelerator.setup_device(device)
    assert torch.cuda.current_device() == device.index
    kept = torch.ones(1000, device=device)
    assert accelerator.get_device_stats(device)["allocated_bytes.all.current"] >= kept.nbytes
    assert find_usable_cuda_devices(1)
    accelerator.setup(SimpleNamespace(local_rank=0))
    accelerator.teardown()
    torch.cuda.set_device(0)
