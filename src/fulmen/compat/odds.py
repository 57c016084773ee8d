"""Small things that programs import from Lightning's utilities and that Fulmen itself has no use for."""

from __future__ import annotations

import inspect
import io
import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fulmen.accelerators.cuda import find_usable_cuda_devices, num_cuda_devices
from fulmen.accelerators.devices import indices
from fulmen.loggers.values import as_params
from fulmen.strategies.optimizer_state import move_optimizer
from fulmen.utilities.cloud_io import get_filesystem
from fulmen.utilities.enums import LightningEnum
from fulmen.utilities.rank_zero import rank_zero_deprecation, rank_zero_info, rank_zero_warn
from fulmen.utilities.tree import apply_to_collection

T_destination = TypeVar("T_destination", bound=dict[str, Any])
TransferableDataType = TypeVar("TransferableDataType")
CollectibleGroup: TypeAlias = Any
ProcessGroup: TypeAlias = Any
RedOpType: TypeAlias = Any
EPOCH_OUTPUT: TypeAlias = list[Any]
FLOAT16_EPSILON, FLOAT32_EPSILON, FLOAT64_EPSILON = (
    float(torch.finfo(dtype).eps) for dtype in (torch.float16, torch.float32, torch.float64)
)
LIGHTNING_LOGO = ""
CHECKPOINT_PAST_HPARAMS_KEYS = ("hparams", "module_arguments")
CONVERSION_DTYPES = [(bool, torch.uint8), (int, torch.int), (float, torch.float)]
CPU_DEVICE = torch.device("cpu")
PARAMETER_NUM_UNITS = [" ", "K", "M", "B", "T"]
ReduceOp: Any = getattr(torch.distributed, "ReduceOp", None)  # PyTorch can be built without
default_pg_timeout = timedelta(minutes=30)
max_seed_value, min_seed_value = 2**32 - 1, 0


class AMPType(LightningEnum):
    """What made mixed precision in 1.x."""

    APEX = "apex"
    NATIVE = "native"


class DeviceType(LightningEnum):
    """The devices of 1.x."""

    CPU = "CPU"
    GPU = "GPU"
    IPU = "IPU"
    TPU = "TPU"


class DistributedType(LightningEnum):
    """The strategies of 1.x."""

    DP = "dp"
    DDP = "ddp"
    DDP2 = "ddp2"
    DDP_CPU = "ddp_cpu"
    DDP_SPAWN = "ddp_spawn"
    TPU_SPAWN = "tpu_spawn"
    DEEPSPEED = "deepspeed"
    HOROVOD = "horovod"
    DDP_SHARDED = "ddp_sharded"
    DDP_SHARDED_SPAWN = "ddp_sharded_spawn"
    DDP_FULLY_SHARDED = "ddp_fully_sharded"


class ModelSummaryMode(LightningEnum):
    """How deep 1.x's summary went."""

    TOP = "top"
    FULL = "full"


class PrecisionType(LightningEnum):
    """The precisions of 1.x."""

    HALF = "16"
    FLOAT = "32"
    FULL = "64"
    BFLOAT = "bf16"
    MIXED = "mixed"


class AutoRestartBatchKeys(LightningEnum):
    """Keys in the batches of 1.x's fault-tolerant training."""

    PL_RESTART_META = "__pl_restart_meta"


class DeadlockDetectedException(Exception):
    """What 1.x raised where one of several processes had failed."""


class WarningCache(set[str]):
    """Says each thing once."""

    def warn(self, message: str, stacklevel: int = 5, **kwargs: Any) -> None:
        """Warns, unless it did."""
        self._once(rank_zero_warn, message, stacklevel, kwargs)

    def deprecation(self, message: str, stacklevel: int = 6, **kwargs: Any) -> None:
        """Warns of something that will go, unless it did."""
        self._once(rank_zero_deprecation, message, stacklevel, kwargs)

    def info(self, message: str, stacklevel: int = 5, **kwargs: Any) -> None:
        """Logs, unless it did."""
        self._once(rank_zero_info, message, stacklevel, kwargs)

    def _once(self, say: Callable[..., Any], message: str, stacklevel: int, kwargs: dict[str, Any]) -> None:
        if message not in self:
            self.add(message)
            say(message, stacklevel=stacklevel, **kwargs)


def rank_prefixed_message(message: str, rank: int | None) -> str:
    """A message that says which process it is of."""
    return message if rank is None else f"[rank: {rank}] {message}"


def convert_tensors_to_scalars(data: Any) -> Any:
    """Tensors of one element become numbers, in any nest of collections.

    Args:
        data: The nest.

    Returns:
        The same nest of numbers.

    Raises:
        ValueError: If a tensor has more than one element.
    """

    def scalar(value: Tensor) -> Any:
        if value.numel() != 1:
            raise ValueError(f"The metric `{value}` does not contain a single element, and cannot become a number.")
        return value.item()

    return apply_to_collection(data, Tensor, scalar)


def convert_to_tensors(data: Any, device: torch.device | str | int) -> Any:
    """Numbers and arrays become tensors on a device, in any nest of collections."""
    import numpy

    data = apply_to_collection(data, (bool, int, float), lambda value: torch.tensor(value, device=device))
    data = apply_to_collection(data, numpy.ndarray, torch.from_numpy)
    return apply_to_collection(data, Tensor, lambda value: value.to(device).contiguous())


def is_param_in_hook_signature(
    hook_fx: Callable[..., Any], param: str, explicit: bool = False, min_args: int | None = None
) -> bool:
    """Whether a hook takes an argument.

    Args:
        hook_fx: The hook.
        param: The name of the argument.
        explicit: Whether ``*args`` does not count.
        min_args: A number of arguments that is enough.
    """
    hook_fx = getattr(hook_fx, "__wrapped__", hook_fx)
    spec = inspect.getfullargspec(hook_fx)
    names = spec.args[1:]  # without `self`
    enough = min_args is not None and len(names) >= min_args
    return param in names or enough or (not explicit and spec.varargs is not None)


def is_wrapped(obj: object) -> bool:
    """Whether a ``Fabric`` has wrapped an object: none has, since there is none."""
    return False


def unwrap_lightning_module(wrapped_model: nn.Module) -> nn.Module:
    """The user's module: nothing wraps it but what PyTorch does."""
    wrapped = type(wrapped_model).__module__.startswith("torch.nn.parallel")
    return wrapped_model.module if wrapped else wrapped_model  # type: ignore[return-value]


def call_register_accelerators(*args: Any, **kwargs: Any) -> None:
    """Does nothing: the accelerators are registered."""


def _distributed_is_initialized() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def gather_all_tensors(result: Tensor, group: Any = None) -> list[Tensor]:
    """The tensors of all processes; of this one where it is alone."""
    if not _distributed_is_initialized():
        return [result]
    gathered = [torch.zeros_like(result) for _ in range(torch.distributed.get_world_size(group))]
    torch.distributed.all_gather(gathered, result.contiguous(), group)
    return gathered


def _optimizers_to_device(optimizers: Sequence[Optimizer], device: torch.device) -> None:
    for optimizer in optimizers:
        move_optimizer(optimizer, device)


def _parse_gpu_ids(
    gpus: int | str | Sequence[int] | None, include_cuda: bool = False, include_mps: bool = False
) -> list[int] | None:
    if gpus is None or gpus in (0, "0") or gpus == []:
        return None
    return indices(gpus, "cuda", num_cuda_devices() if include_cuda or not include_mps else 1)


def _determine_root_gpu_device(gpus: Sequence[Any] | None) -> Any:
    return gpus[0] if gpus else None


def pick_single_gpu(exclude_gpus: Sequence[int] = ()) -> int:
    """The first GPU with room on it."""
    return next(index for index in find_usable_cuda_devices() if index not in exclude_gpus)


def pick_multiple_gpus(nb: int) -> list[int]:
    """GPUs with room on them."""
    return find_usable_cuda_devices(nb)


def get_model_size_mb(model: nn.Module) -> float:
    """How large a module is as a file, in MB."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.tell() / 1e6


def check_finite_loss(loss: Tensor | None) -> None:
    """Raises where a loss is not a finite number.

    Args:
        loss: The loss; None is fine.

    Raises:
        ValueError: With the loss.
    """
    if loss is not None and not torch.isfinite(loss).all():
        raise ValueError(f"The loss that `training_step` returned is {loss}.")


def detect_nan_parameters(model: nn.Module) -> None:
    """Raises where a parameter is not a finite number.

    Args:
        model: The module.

    Raises:
        ValueError: With the name of the first one.
    """
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"The parameter `{name}` holds values that are no finite numbers.")


def print_nan_gradients(model: nn.Module) -> None:
    """Prints the parameters whose gradients are not all numbers."""
    for parameter in model.parameters():
        if parameter.grad is not None and torch.isnan(parameter.grad.float()).any():
            print(parameter, parameter.grad)


def atomic_save(checkpoint: Mapping[str, Any], filepath: str | os.PathLike[str] | io.BytesIO) -> None:
    """Writes a file whole, or not at all."""
    content = io.BytesIO()
    torch.save(checkpoint, content)
    if isinstance(filepath, io.BytesIO):
        filepath.write(content.getvalue())
        return
    files = get_filesystem(filepath)
    with files.transaction, files.open(os.fspath(filepath), "wb") as file:
        file.write(content.getvalue())


def _is_local_file_protocol(path: str | os.PathLike[str]) -> bool:
    return "://" not in str(path) or str(path).startswith(("file://", "local://"))


def _is_dir(fs: Any, path: str | os.PathLike[str], strict: bool = False) -> bool:
    return bool(fs.isdir(os.fspath(path)))


def _add_prefix(metrics: Mapping[str, Any], prefix: str, separator: str) -> Mapping[str, Any]:
    return {f"{prefix}{separator}{name}": value for name, value in metrics.items()} if prefix else metrics


def _flatten_dict(params: Mapping[Any, Any], delimiter: str = "/", parent_key: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in params.items():
        name = f"{parent_key}{delimiter}{key}" if parent_key else str(key)
        nested = isinstance(value, (Mapping, Namespace))
        flat.update(_flatten_dict(as_params(value), delimiter, name) if nested else {name: value})
    return flat


def _log_hyperparams(trainer: Any) -> None:
    """Does nothing: the Trainer has logged them."""
