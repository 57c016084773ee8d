"""Telling an error for want of memory from others, and giving memory back."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor

from fulmen.utilities.tree import apply_to_collection


def recursive_detach(in_dict: Any, to_cpu: bool = False) -> Any:
    """Detaches all tensors in a nest of dictionaries, lists and the like.

    Args:
        in_dict: The nest.
        to_cpu: Whether the tensors are moved to the host as well.

    Returns:
        A new nest; what is no tensor is kept as it is.
    """

    def detach(value: Tensor) -> Tensor:
        return value.detach().cpu() if to_cpu else value.detach()

    return apply_to_collection(in_dict, Tensor, detach)


def is_oom_error(exception: BaseException) -> bool:
    """Whether an exception says that memory, of the host or of a device, did not suffice."""
    return (
        isinstance(exception, (torch.OutOfMemoryError, MemoryError))
        or is_cuda_out_of_memory(exception)
        or is_cudnn_snafu(exception)
        or is_out_of_cpu_memory(exception)
        or _says(exception, "backend out of memory")  # MPS, XPU
    )


def is_cuda_out_of_memory(exception: BaseException) -> bool:
    """Whether an exception says that the memory of a CUDA device did not suffice."""
    return (_says(exception, "CUDA") and _says(exception, "out of memory")) or _says(
        exception, "CUBLAS_STATUS_ALLOC_FAILED"
    )


def is_cudnn_snafu(exception: BaseException) -> bool:
    """Whether an exception is one of those by which cuDNN says that it found no memory for its work."""
    return _says(exception, "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED.")


def is_out_of_cpu_memory(exception: BaseException) -> bool:
    """Whether an exception says that the memory of the host did not suffice."""
    return _says(exception, "DefaultCPUAllocator: can't allocate memory") or _says(
        exception, "DefaultCPUAllocator: not enough memory"
    )


def _says(exception: BaseException, text: str) -> bool:
    said = exception.args[0] if len(exception.args) == 1 else None
    return isinstance(exception, RuntimeError) and isinstance(said, str) and text in said


def garbage_collection_cuda() -> None:
    """Frees what nobody refers to, and gives memory that torch holds in reserve back to the device."""
    gc.collect()
    try:
        if torch.accelerator.is_available() and torch.accelerator.current_accelerator() is not None:
            torch.accelerator.empty_cache()
    except RuntimeError as error:
        if not is_oom_error(error):  # there may be too little memory even to ask for it
            raise
