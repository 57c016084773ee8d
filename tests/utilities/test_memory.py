from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch

from fulmen.utilities import memory
from fulmen.utilities.memory import is_oom_error, recursive_detach

SAID: dict[str, tuple[BaseException, str]] = {
    "cuda": (RuntimeError("CUDA error: out of memory"), "is_cuda_out_of_memory"),
    "cuda's own": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "is_cuda_out_of_memory"),
    "cublas": (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "is_cuda_out_of_memory"),
    "cudnn": (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may"), "is_cudnn_snafu"),
    "host": (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "is_out_of_cpu_memory"),
    "host, on Windows": (RuntimeError("DefaultCPUAllocator: not enough memory: you"), "is_out_of_cpu_memory"),
}
KINDS = ("is_cuda_out_of_memory", "is_cudnn_snafu", "is_out_of_cpu_memory")


@pytest.mark.parametrize("name", SAID)
def test_want_of_memory(name: str) -> None:
    error, kind = SAID[name]
    assert is_oom_error(error)
    assert [which for which in KINDS if getattr(memory, which)(error)] == [kind]


def test_what_torch_says_really() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_oom_error(caught.value)
    with pytest.raises(MemoryError) as python:
        bytearray(1 << 60)
    assert is_oom_error(python.value)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error"), RuntimeError("out of memory"), RuntimeError(), RuntimeError("CUDA out of memory", 1),
     RuntimeError(3), ValueError("CUDA out of memory")],
    ids=repr,
)  # fmt: skip
def test_other_errors(error: BaseException) -> None:
    assert not is_oom_error(error) and not any(getattr(memory, which)(error) for which in KINDS)


def test_recursive_detach() -> None:
    grown = torch.ones(1, requires_grad=True) * 2
    nest: Any = {"a": grown, "b": OrderedDict(c=[grown, 3], d="text")}
    for to_cpu in (False, True):
        found = recursive_detach(nest, to_cpu=to_cpu)
        assert not found["a"].requires_grad and not found["b"]["c"][0].requires_grad
        assert found["b"]["c"][1:] == [3] and found["b"]["d"] == "text" and type(found["b"]) is OrderedDict
    assert nest["a"] is grown


def test_garbage_is_collected() -> None:
    import weakref

    class Loop:
        pass

    loop = Loop()
    loop.itself = loop  # type: ignore[attr-defined]
    gone = weakref.ref(loop)
    del loop
    memory.garbage_collection_cuda()
    assert gone() is None
