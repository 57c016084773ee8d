"""Parameter groups and what is frozen, in a checkpoint and back, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from fulmen.utilities.exceptions import MisconfiguredValue


def dump_groups(module: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
    """The groups of an optimizer, with the names of their parameters.

    Args:
        module: Whose names.
        optimizer: Its optimizer; parameters that are not the module's are left out.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [
        {**group, "params": [names[id(parameter)] for parameter in group["params"] if id(parameter) in names]}
        for group in optimizer.param_groups
    ]


def load_groups(module: nn.Module, optimizer: Optimizer, groups: list[dict[str, Any]]) -> list[nn.Parameter]:
    """Adds those groups that an optimizer had and has no more.

    Args:
        module: Whose names.
        optimizer: Its optimizer, as it is made at the start.
        groups: What :func:`dump_groups` gave.

    Returns:
        The parameters of the new groups.

    Raises:
        MisconfiguredValue: If a parameter is not there any more.
    """
    parameters = dict(module.named_parameters())
    gone = [name for group in groups for name in group["params"] if name not in parameters]
    if gone:
        raise MisconfiguredValue(
            "A run that finetunes goes on with the parameters that it was saved with.",
            got=f"a checkpoint with `{'`, `'.join(gone[:5])}`, and a `{type(module).__name__}` without",
            fix="Build the module as it was, or start anew from the weights with `load_from_checkpoint`.",
        )
    joined: list[nn.Parameter] = []
    for group in groups[len(optimizer.param_groups) :]:
        members = [parameters[name] for name in group["params"]]
        optimizer.add_param_group({**group, "params": members})
        joined += members
    return joined


def dump_frozen(module: nn.Module) -> dict[str, Any]:
    """Which parameters of a module are trained, and which batch-norm layers gather no statistics."""
    return {
        "trainable": [name for name, parameter in module.named_parameters() if parameter.requires_grad],
        "without_statistics": [
            name
            for name, layer in module.named_modules()
            if isinstance(layer, _BatchNorm) and not layer.track_running_stats
        ],
    }


def load_frozen(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Takes back what :func:`dump_frozen` gave."""
    trainable, resting = set(state["trainable"]), set(state["without_statistics"])
    for name, parameter in module.named_parameters():
        parameter.requires_grad = name in trainable
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm):
            layer.track_running_stats = name not in resting
