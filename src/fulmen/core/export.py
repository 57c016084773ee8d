"""A module in formats that run without it: ONNX, TorchScript, TensorRT."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import torch

from fulmen.core.run_state import parts_of
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.imports import require
from fulmen.utilities.suggest import did_you_mean

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule


def to_onnx(
    module: LightningModule,
    file_path: str | os.PathLike[str] | IO[bytes] | None = None,
    input_sample: Any = None,
    **kwargs: Any,
) -> Any:
    """Writes a module as ONNX, as it computes in evaluation.

    Args:
        module: The module.
        file_path: A path or an open binary file; None only makes the program.
        input_sample: An input of ``forward``: a tensor, a tuple of arguments, or a dict of named ones; None takes
            ``example_input_array``.
        **kwargs: For ``torch.onnx.export``.

    Returns:
        What ``torch.onnx.export`` returns.

    Raises:
        MisconfiguredValue: If there is no sample.
        ModuleNotFoundError: If a package that the export needs is missing; says how to install it.
    """
    args, named = _arguments(module, input_sample, "to_onnx", "input_sample")
    require("onnx", "onnx", "`to_onnx`")
    if kwargs.get("dynamo", True):
        require("onnxscript", "onnx", "`to_onnx`")
    if named:
        kwargs.setdefault("kwargs", named)
    export: Any = torch.onnx.export
    with _standalone(module):
        return export(module, args, file_path, **kwargs)


def to_torchscript(
    module: LightningModule,
    file_path: str | os.PathLike[str] | None = None,
    method: str | None = "script",
    example_inputs: Any = None,
    **kwargs: Any,
) -> Any:
    """Makes TorchScript of a module, as it computes in evaluation.

    Args:
        module: The module.
        file_path: Where to save it, if anywhere.
        method: ``"script"`` or ``"trace"``.
        example_inputs: For tracing: a tensor, a tuple of arguments, or a dict of named ones; None takes
            ``example_input_array``.
        **kwargs: For ``torch.jit.script`` or ``torch.jit.trace``.

    Returns:
        The scripted module.

    Raises:
        MisconfiguredValue: If the method is another, or there is no input to trace with.
    """
    if method not in ("script", "trace"):
        raise MisconfiguredValue(
            "`method` is 'script' or 'trace'.",
            got=method,
            fix=did_you_mean(method, ("script", "trace")) or "Pass `method='script'`.",
        )
    if method == "script":
        with _standalone(module):
            scripted = torch.jit.script(module, **kwargs)
    else:
        args, named = _arguments(module, example_inputs, "to_torchscript", "example_inputs")
        trace: Any = torch.jit.trace
        with _standalone(module):
            scripted = trace(module, args or None, example_kwarg_inputs=named or None, **kwargs)
    if file_path is not None:
        torch.jit.save(scripted, os.fspath(file_path))
    return scripted


def to_tensorrt(
    module: LightningModule,
    file_path: str | os.PathLike[str] | IO[bytes] | None = None,
    input_sample: Any = None,
    ir: str = "default",
    output_format: str = "exported_program",
    retrace: bool = False,
    default_device: str | torch.device = "cuda",
    **compile_kwargs: Any,
) -> Any:
    """Compiles a module with ``torch_tensorrt``, as it computes in evaluation.

    Args:
        module: The module.
        file_path: Where to save it, if anywhere.
        input_sample: An input of ``forward``; None takes ``example_input_array``.
        ir: The intermediate representation: ``"default"``, ``"dynamo"`` or ``"ts"``.
        output_format: ``"exported_program"`` or ``"torchscript"``; with ``ir="ts"`` the latter alone.
        retrace: Whether to trace the compiled graph again before it is saved.
        default_device: Where to compile, if the module is not on a CUDA device.
        **compile_kwargs: For ``torch_tensorrt.compile``.

    Returns:
        The compiled module.

    Raises:
        MisconfiguredValue: If there is no sample, or the output format does not go with `ir`.
        ModuleNotFoundError: If ``torch_tensorrt`` is missing; says how to install it.
    """
    if ir == "ts" and file_path is not None and output_format != "torchscript":
        raise MisconfiguredValue(
            "TorchScript (`ir='ts'`) is saved as TorchScript.",
            got=f"output_format={output_format!r}",
            fix="Pass `output_format='torchscript'`, or `ir='dynamo'`.",
        )
    tensorrt = require("torch_tensorrt", "tensorrt", "`to_tensorrt`")
    if module.device.type != "cuda":
        module.to(default_device)
    args, named = _arguments(module, input_sample, "to_tensorrt", "input_sample")
    inputs = {"kwarg_inputs": named} if named else {"inputs": list(args)}
    with _standalone(module):
        compiled = tensorrt.compile(module, ir=ir, **inputs, **compile_kwargs)
    if file_path is not None:
        if ir == "ts":
            torch.jit.save(compiled, file_path)
        else:
            tensorrt.save(compiled, file_path, output_format=output_format, retrace=retrace, **inputs)
    return compiled


def _arguments(
    module: LightningModule, sample: Any, method: str, argument: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the named arguments of ``forward`` that a sample stands for, on the module's device."""
    sample = module.example_input_array if sample is None else sample
    if sample is None:
        raise MisconfiguredValue(
            f"`{method}` needs an input of `forward` to follow through the model.",
            got=f"neither `{argument}` nor `{type(module).__name__}.example_input_array`",
            fix=f"Pass `{argument}=torch.rand(1, ...)`, or set `self.example_input_array` in `__init__`.",
        )
    sample = module.transfer_batch_to_device(sample, module.device, 0)
    if isinstance(sample, Mapping):
        return (), dict(sample)
    return sample if isinstance(sample, tuple) else (sample,), {}


class _NoTrainer:
    """Stands in for a Trainer, since tracing looks at every property of a module and one must not raise."""

    print = staticmethod(print)


_RUN = ("_trainer", "_fabric", "_logbook")


@contextmanager
def _standalone(module: LightningModule) -> Iterator[None]:
    """Takes a module out of its run, in evaluation mode and without gradients, and puts it back as it was."""
    modes = [(child, child.training) for child in module.modules()]
    runs = [(part, {name: vars(part).get(name) for name in _RUN}) for part in parts_of(module)]
    for part, run in runs:
        vars(part).update({**dict.fromkeys(run), "_trainer": _NoTrainer()})
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, run in runs:
            vars(part).update(run)
        for child, training in modes:
            child.training = training
