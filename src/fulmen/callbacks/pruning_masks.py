"""Pruned tensors of a module: their masks, in a checkpoint and back, and the names that they have meanwhile.

``torch.nn.utils.prune`` keeps a pruned ``weight`` as a parameter ``weight_orig`` and a buffer ``weight_mask``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

Part = tuple[nn.Module, str]  # a layer, and the name of one of its parameters


def mask_of(part: Part) -> Tensor | None:
    """The mask of a parameter; None where it is not pruned."""
    mask: Tensor | None = getattr(part[0], f"{part[1]}_mask", None)
    return mask


def parameter_of(part: Part) -> Tensor:
    """The parameter itself, pruned or not."""
    layer, name = part
    value: Tensor = getattr(layer, name if name in layer._parameters else f"{name}_orig")
    return value


def count_pruned(part: Part) -> tuple[int, int]:
    """How many elements of a parameter are pruned, and how many it has."""
    mask = mask_of(part)
    value: Tensor = getattr(*part)
    return 0 if mask is None else int((mask == 0).sum()), value.numel()


def refresh(parts: Iterable[Part]) -> None:
    """Puts pruned tensors in step with their parameters; else a forward pass does that, and an update takes it back."""
    for layer, name in parts:
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == name:
                setattr(layer, name, hook.apply_mask(layer))


def keep_places(layer: nn.Module, names: list[str]) -> None:
    """Puts parameters that were renamed where they were: optimizers know parameters by their order.

    Args:
        layer: The layer.
        names: The names of its parameters before, in order.
    """
    values = dict(layer._parameters)
    now = [next((n for n in (name, f"{name}_orig", name.removesuffix("_orig")) if n in values), "") for name in names]
    if set(now) == set(values):
        layer._parameters.clear()
        layer._parameters.update((name, values[name]) for name in now)


def remove_pruning(module: nn.Module, masked: bool = True) -> None:
    """Makes parameters of pruned tensors, under their own names.

    Args:
        module: The module.
        masked: Whether what is pruned stays 0; else it is what it was.
    """
    for layer in module.modules():
        for key, hook in list(layer._forward_pre_hooks.items()):
            if not isinstance(hook, prune.BasePruningMethod):
                continue
            name = str(hook._tensor_name)
            names, value = list(layer._parameters), getattr(layer, f"{name}_orig").detach().clone()
            hook.remove(layer)
            del layer._forward_pre_hooks[key]
            keep_places(layer, names)
            if not masked:
                layer._parameters[name].data.copy_(value)  # type: ignore[union-attr]


def prune_with_mask(part: Part, mask: Tensor) -> None:
    """Prunes a parameter with a mask."""
    layer, name = part
    names = list(layer._parameters)
    prune.custom_from_mask(layer, name, mask)
    keep_places(layer, names)


def dump_masks(parts: Mapping[str, Part]) -> dict[str, Any]:
    """The masks of parameters by name, and what they hide."""
    masks = {name: mask != 0 for name, part in parts.items() if (mask := mask_of(part)) is not None}
    hidden = {name: getattr(parts[name][0], f"{parts[name][1]}_orig").detach()[~mask] for name, mask in masks.items()}
    return {"masks": masks, "hidden": hidden}


@torch.no_grad()
def load_masks(parts: Mapping[str, Part], state: Mapping[str, Any]) -> None:
    """Prunes parameters as they were, with what :func:`dump_masks` gave."""
    for name, mask in state["masks"].items():
        if name not in parts:
            continue
        layer, attribute = part = parts[name]
        parameter: Tensor = getattr(layer, attribute)
        mask = mask.to(parameter.device)
        prune_with_mask(part, mask.to(parameter.dtype))
        original: Tensor = getattr(layer, f"{attribute}_orig")
        original[~mask] = state["hidden"][name].to(original)
        refresh([part])


def plain_weights(weights: Mapping[str, Any], masked: bool = True) -> dict[str, Any]:
    """Weights under the names that they have without pruning.

    Args:
        weights: A module's weights by name.
        masked: Whether what is pruned is 0; else it is what it was.
    """
    plain: dict[str, Any] = {}
    for key, value in weights.items():
        base = key.removesuffix("_orig")
        if base != key and f"{base}_mask" in weights:
            mask = weights[f"{base}_mask"]
            plain[base] = value * mask.to(value) if masked else value
        elif not (key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in weights):
            plain[key] = value
    return plain
