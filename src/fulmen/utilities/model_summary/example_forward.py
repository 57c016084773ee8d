"""One forward pass with a model's example input, which leaves no trace in the model or the random state."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from fulmen.utilities.seed import isolate_rng

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

    from fulmen.core.module import LightningModule


def forward_example(model: LightningModule) -> FlopCounterMode:
    """Runs ``forward`` once on ``example_input_array``, in evaluation mode and without gradients.

    The example goes the way of a batch first: the three transfer hooks, and what the precision makes of inputs.

    Args:
        model: The model; its ``example_input_array`` is a tensor, a tuple or list of positional arguments, or a
            mapping of keyword arguments.

    Returns:
        The counter with the floating point operations of every module.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with contextlib.ExitStack() as stack:
        stack.enter_context(isolate_rng(include_cuda=model.device.type != "cpu"))
        stack.enter_context(kept_modes(model))
        stack.enter_context(kept_buffers(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_without_compilation())
        example = model.on_before_batch_transfer(model.example_input_array, 0)
        example = model.transfer_batch_to_device(example, model.device, 0)
        example = model.on_after_batch_transfer(example, 0)
        if model._trainer is not None:
            precision = model._trainer.precision_plugin
            example = precision.convert_input(example)
            stack.enter_context(precision.forward_context())
        model.eval()
        stack.enter_context(counter)
        if isinstance(example, Mapping):
            model(**example)
        elif isinstance(example, (list, tuple)):
            model(*example)
        else:
            model(example)
    return counter


@contextlib.contextmanager
def kept_modes(model: nn.Module) -> Generator[None]:
    """Gives every module back its mode, training or evaluation, after the ``with`` block."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            # Assigned past `train()`, which modules override, and which cannot tell children apart.
            module.training = training


@contextlib.contextmanager
def kept_buffers(model: nn.Module) -> Generator[None]:
    """Gives every buffer back its values after the ``with`` block; those that it only then initialized stay."""
    kept = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)
        for name, buffer in module._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, values in kept:
                buffer.copy_(values)
                module._buffers[name] = buffer


@contextlib.contextmanager
def _without_compilation() -> Generator[None]:
    """Runs compiled modules as they were written: nobody wants to wait for a compiler to see a table."""
    if "torch._dynamo" in sys.modules:
        with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
            # The counter's hooks: the extra time that they fire counts nothing.
            warnings.filterwarnings("ignore", message=r"Using `torch.compile\(module\)` when there are global hooks")
            yield
    else:
        yield
