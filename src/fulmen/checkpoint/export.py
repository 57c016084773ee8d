"""Weights for other programs: the ``safetensors`` file of a checkpoint."""

from __future__ import annotations

import json
import os
from typing import Any

import torch

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.imports import require
from fulmen.utilities.rank_zero import rank_zero_warn
from fulmen.utilities.safe_load import PathOrFile, describe, load


def export_safetensors(
    checkpoint_path: PathOrFile, out: str | os.PathLike[str], *, copy_tied: bool = True, prefix: str = ""
) -> list[str]:
    """Writes the weights of a checkpoint as a ``safetensors`` file, which other programs read without running code.

    Read it with ``safetensors.torch.load_file(out)``, and give the result to ``model.load_state_dict``.

    Args:
        checkpoint_path: The checkpoint, or a file that holds a ``state_dict`` alone. It is read safely.
        out: The file to write; what was there is replaced when the new one is whole.
        copy_tied: Tied weights share their memory, which the format does not know. True writes them under each of
            their names, so that ``load_state_dict`` finds all of them; False under the first name alone. Either way
            the file's metadata has an entry ``"tied"``: JSON that gives for each other name the first one.
        prefix: Write only the weights whose names begin with this, and without it: ``"model."`` for the network that
            a module holds as ``self.model``.

    Returns:
        The names that were written.

    Raises:
        MisconfigurationException: If the file holds no weights.
        MisconfiguredType: If a weight is of a layout that the format does not know.

    Example:
        ``export_safetensors("last.ckpt", "model.safetensors")``
    """
    save_file = require("safetensors.torch", "safetensors", "`export_safetensors`").save_file
    checkpoint = load(checkpoint_path, map_location="cpu", weights_only=True)
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else {}
    tensors = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if isinstance(value, torch.Tensor) and name.startswith(prefix)
    }
    if not tensors:
        raise MisconfigurationException(
            "A file of weights needs a checkpoint that holds some.",
            got=f"`{describe(checkpoint_path)}`, which has none{f' that begin with {prefix!r}' if prefix else ''}",
            fix="Name a checkpoint, or a file with a `state_dict`; `prefix` is the attribute's name and a dot.",
        )
    others = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if others:
        rank_zero_warn(f"A safetensors file holds tensors alone; these parts of the weights are left out: {others}")
    written, tied = _apart(tensors, copy_tied)
    target = os.path.abspath(os.fspath(out))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    beside = f"{target}.{os.urandom(4).hex()}.part"
    try:
        save_file(written, beside, metadata={"format": "pt", **({"tied": json.dumps(tied)} if tied else {})})
        os.replace(beside, target)
    finally:
        if os.path.exists(beside):
            os.remove(beside)
    return list(written)


def _apart(tensors: dict[str, Any], copy_tied: bool) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors, each with memory of its own, and for each tied one the first name of its weight."""
    written: dict[str, torch.Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[Any, str] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise MisconfiguredType(
                "A safetensors file holds dense tensors.",
                got=f"`{name}`, which is {tensor.layout if not tensor.is_quantized else 'quantized'}",
                fix="Make it dense (`to_dense()`, `dequantize()`) before the checkpoint is saved.",
            )
        memory = tensor.untyped_storage().data_ptr()
        where = (memory, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and where in first:
            tied[name] = first[where]
            if not copy_tied:
                continue
        first.setdefault(where, name)
        # a view of a larger tensor, or of one that is written too, needs a copy
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        own = whole and memory not in storages and tensor.is_contiguous()
        written[name] = tensor.detach() if own else tensor.detach().clone(memory_format=torch.contiguous_format)
        storages.add(memory)
    return written, tied
