from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fulmen.core.device_dtype import DeviceDtypeMixin


class Child(DeviceDtypeMixin):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)


class Parent(DeviceDtypeMixin):
    def __init__(self) -> None:
        super().__init__()
        self.child = Child()
        self.nested = nn.Sequential(Child(), nn.ReLU())
        self.empty = DeviceDtypeMixin()


CONVERSIONS: dict[str, Callable[[nn.Module], Any]] = {
    "to dtype": lambda module: module.to(torch.float64),
    "to device": lambda module: module.to("meta"),
    "to both": lambda module: module.to("meta", torch.float16),
    "to tensor": lambda module: module.to(torch.ones(1, dtype=torch.bfloat16)),
    "to keyword": lambda module: module.to(dtype=torch.float16),
    "to nothing": lambda module: module.to(memory_format=torch.channels_last),
    "cpu": lambda module: module.to_empty(device="cpu").cpu(),
    "to_empty": lambda module: module.to_empty(device="meta"),
    "double": lambda module: module.double(),
    "float": lambda module: module.float(),
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "type": lambda module: module.type(torch.float64),
    "type by name": lambda module: module.type("torch.DoubleTensor"),
    "share_memory": lambda module: module.to_empty(device="cpu").share_memory(),
}


@given(st.lists(st.sampled_from(sorted(CONVERSIONS)), max_size=4))
def test_follows_the_weights_through_every_conversion(conversions: list[str]) -> None:
    parent = Parent()
    for name in conversions:
        if parent.device.type == "meta" and name == "to tensor":
            continue  # there is no way off the meta device but `to_empty`
        if parent.device.type == "meta" and name in ("type by name",):
            continue
        assert CONVERSIONS[name](parent) is parent
    weight = parent.child.layer.weight
    for module in (parent, parent.child, parent.nested[0], parent.empty):
        assert (module.device, module.dtype) == (weight.device, weight.dtype)


def test_a_child_moves_alone() -> None:
    parent = Parent()
    parent.child.double()
    assert (parent.dtype, parent.child.dtype) == (torch.float32, torch.float64)


def test_a_failed_conversion_changes_nothing() -> None:
    parent = Parent()
    with pytest.raises(TypeError, match="floating point"):
        parent.to(torch.int64)
    assert parent.dtype == torch.float32
    parent.to("meta")
    with pytest.raises(NotImplementedError, match="meta"):
        parent.to("cpu")
    assert parent.device.type == "meta"


def test_starts_where_tensors_are_made() -> None:
    assert (Parent().device, Parent().dtype) == (torch.device("cpu"), torch.float32)
    with torch.device("meta"):
        module = DeviceDtypeMixin()
    assert module.device.type == "meta"
    assert module.to("cpu", torch.float64).device.type == "cpu"
    torch.set_default_dtype(torch.float64)
    try:
        assert Parent().dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_dtype_cannot_be_set() -> None:
    with pytest.raises(RuntimeError, match=r"Use `module.to\(dtype\)`"):
        Parent().dtype = torch.float16


@pytest.mark.gpu
def test_names_the_index_of_a_device() -> None:
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None
    assert Parent().to(accelerator.type).device.index == 0
