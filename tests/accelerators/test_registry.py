from __future__ import annotations

import pytest
import torch

from fulmen.accelerators import cuda, registry
from fulmen.accelerators.accelerator import Accelerator
from fulmen.accelerators.cpu import CPUAccelerator
from fulmen.accelerators.cuda import CUDAAccelerator
from fulmen.accelerators.generic import GenericAccelerator
from fulmen.accelerators.mps import MPSAccelerator
from fulmen.accelerators.registry import AcceleratorRegistry, choose, for_device
from fulmen.utilities.exceptions import MisconfigurationException


def machine(monkeypatch, kind: str | None, count: int = 0) -> None:
    """Makes the machine have `count` accelerators of one type."""
    device = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: device)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
    monkeypatch.setattr(cuda, "num_cuda_devices", lambda: count if kind == "cuda" else 0)
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: kind == "mps"))


@pytest.fixture
def bare(monkeypatch):
    machine(monkeypatch, None)


@pytest.mark.parametrize(
    "kind, cls",
    [(None, CPUAccelerator), ("cuda", CUDAAccelerator), ("mps", MPSAccelerator), ("xpu", GenericAccelerator)],
)
def test_auto_takes_what_the_machine_has(monkeypatch, kind, cls):
    machine(monkeypatch, kind, 1)
    accelerator, devices = choose()
    assert type(accelerator) is cls
    assert [device.type for device in devices] == [kind or "cpu"]


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_gpu_and_the_type_itself_name_the_same(monkeypatch, kind):
    machine(monkeypatch, kind, 1)
    by_name, devices = choose(kind, [0])
    as_gpu, same = choose("gpu", [0])
    assert type(by_name) is type(as_gpu)
    assert devices == same == [torch.device(kind, 0)]


def test_auto_devices_are_all_that_there_are(monkeypatch):
    machine(monkeypatch, "cuda", 4)
    assert choose("gpu", "auto")[1] == [torch.device("cuda", index) for index in range(4)]


def test_several_devices_are_returned(monkeypatch):
    machine(monkeypatch, "cuda", 4)
    assert choose("gpu", "0,2")[1] == [torch.device("cuda", 0), torch.device("cuda", 2)]
    assert len(choose("gpu", -1)[1]) == 4
    assert choose("cpu", 2)[1] == [torch.device("cpu")] * 2


def test_the_cpu_can_be_had_beside_a_gpu(monkeypatch):
    machine(monkeypatch, "cuda", 2)
    accelerator, devices = choose("cpu")
    assert isinstance(accelerator, CPUAccelerator)
    assert devices == [torch.device("cpu")]


def test_no_gpu_says_how_to_go_on(bare):
    with pytest.raises(MisconfigurationException, match=r'(?s)needs a GPU.*`accelerator="auto"` to use a GPU only'):
        choose("gpu", 1)


@pytest.mark.parametrize("name", ["cuda", "mps", "xpu", CUDAAccelerator()])
def test_what_is_not_there_names_what_is(bare, name):
    with pytest.raises(MisconfigurationException, match=r"(?s)is not available on this machine.*'auto', 'cpu'"):
        choose(name, 1)


def test_what_is_there_includes_an_accelerator_without_a_class_of_its_own(monkeypatch):
    machine(monkeypatch, "xpu", 1)
    with pytest.raises(MisconfigurationException, match="'auto', 'cpu', 'xpu'"):
        choose("cuda", 1)


@pytest.mark.parametrize(
    "name, remedy", [("cudda", "Did you mean 'cuda'"), ("GPU", "Did you mean 'gpu'"), (None, "'cpu'")]
)
def test_an_unknown_name_offers_the_closest(bare, name, remedy):
    with pytest.raises(MisconfigurationException, match=remedy):
        choose(name, 1)


@pytest.mark.parametrize("name", ["cuda:1", torch.device("cuda", 1)])
def test_an_index_belongs_into_devices(monkeypatch, name):
    machine(monkeypatch, "cuda", 2)
    with pytest.raises(MisconfigurationException, match=r"`accelerator='cuda', devices=\[1\]`"):
        choose(name, 1)


def test_tpus_come_later(bare):
    with pytest.raises(MisconfigurationException, match=r"(?s)TPUs are not supported yet.*Choose among: 'auto', 'cpu'"):
        choose("tpu", 1)


class Pretend(Accelerator):
    """Two devices of PyTorch's type without data."""

    def is_available(self) -> bool:
        return True

    def auto_device_count(self) -> int:
        return 2

    def parse_devices(self, devices):
        return int(devices)

    def get_parallel_devices(self, devices):
        return [torch.device("meta")] * devices

    def setup_device(self, device):
        self.current = device


@pytest.fixture
def pretend():
    Pretend.register_accelerators(AcceleratorRegistry)
    yield
    AcceleratorRegistry.remove("pretend")


def test_a_users_accelerator_works_by_name_and_as_it_is(pretend):
    accelerator, devices = choose("pretend", "2")
    assert isinstance(accelerator, Pretend)
    assert devices == [torch.device("meta")] * 2
    own = Pretend()
    assert choose(own, "auto") == (own, [torch.device("meta")] * own.auto_device_count())
    assert own.name() == "pretend"
    assert own.get_device_stats("meta") == {}
    assert "pretend" in AcceleratorRegistry.available_accelerators()


def test_registration_takes_arguments_and_decorates():
    try:

        @AcceleratorRegistry.register("meta", device_type="meta")
        class Meta(GenericAccelerator):
            pass

        assert AcceleratorRegistry.make("meta").name() == "meta"
        assert isinstance(for_device(torch.device("meta")), Meta)
    finally:
        AcceleratorRegistry.remove("meta")


def test_every_device_belongs_to_an_accelerator():
    for kind, cls in (("cpu", CPUAccelerator), ("cuda", CUDAAccelerator), ("mps", MPSAccelerator)):
        assert type(for_device(torch.device(kind))) is cls
    assert for_device(torch.device("xpu")).name() == "xpu"


def test_the_built_in_names_are_registered():
    assert {"cpu", "cuda", "mps"} <= AcceleratorRegistry.available_accelerators()
    assert registry.AcceleratorRegistry["cpu"]["accelerator"] is CPUAccelerator


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_auto_finds_the_accelerator_of_this_machine():
    accelerator, devices = choose()
    assert devices[0].type == torch.accelerator.current_accelerator().type
    accelerator.setup_device(devices[0])
    assert torch.ones(2, device=devices[0]).sum().item() == 2.0
