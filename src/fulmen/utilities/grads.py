"""Gradients: their norms, for looking at them, and their way into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fulmen.utilities.exceptions import MisconfiguredValue


def grad_norm(module: nn.Module, norm_type: float | int | str, group_separator: str = "/") -> dict[str, Tensor]:
    """The norm of each parameter's gradient, and of all together.

    Args:
        module: Whose parameters.
        norm_type: The p of the p-norm: a positive number or ``"inf"``.
        group_separator: Stands between the name of the norm and that of the parameter; loggers group by ``"/"``.

    Returns:
        Scalars by ``"grad_{p}_norm/{parameter}"``, with their total as ``"grad_{p}_norm_total"``; empty where no
        parameter has a gradient.

    Raises:
        MisconfiguredValue: If `norm_type` is no positive number.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> layer(torch.ones(1, 1)).backward()
        >>> grad_norm(layer, 2)
        {'grad_2.0_norm/weight': tensor(1.), 'grad_2.0_norm_total': tensor(1.)}
    """
    try:
        order = float(norm_type)
    except (TypeError, ValueError):
        order = 0.0
    if not order > 0:
        raise MisconfiguredValue(
            "`norm_type` must be a positive number or 'inf' (infinity norm).",
            got=norm_type,
            fix="Pass `norm_type=2` for the Euclidean norm, or `norm_type='inf'` for the largest element.",
        )
    norms = {
        f"grad_{order}_norm{group_separator}{name}": parameter.grad.norm(order)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    if norms:
        norms[f"grad_{order}_norm_total"] = torch.stack(list(norms.values())).norm(order)
    return norms


def gradients_of(module: nn.Module) -> dict[str, Tensor]:
    """A module's gradients by the names of its parameters."""
    return {name: p.grad.detach() for name, p in module.named_parameters() if p.grad is not None}


def put_gradients(module: nn.Module, gradients: Mapping[str, Tensor], factor: float = 1.0) -> None:
    """Gives a module gradients that :func:`gradients_of` found.

    Args:
        module: The module.
        gradients: By the names of its parameters; names that are not there any more are passed over.
        factor: What to multiply them with.
    """
    for name, parameter in module.named_parameters():
        if name in gradients:
            gradient = gradients[name].to(parameter.device)
            parameter.grad = gradient * factor if factor != 1.0 else gradient.clone()
