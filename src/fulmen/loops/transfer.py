"""How a batch gets to the device: by the feed, ahead of time, unless the user has a hand in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from fulmen.core.hooks import DataHooks
from fulmen.core.module import overridden
from fulmen.precision.precision import Precision
from fulmen.strategies.overrides import override, through

if TYPE_CHECKING:
    from fulmen.core.datamodule import LightningDataModule
    from fulmen.core.module import LightningModule
    from fulmen.strategies.strategy import Strategy

_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Transfer(NamedTuple):
    """How batches move.

    Attributes:
        device: Where the feed moves them ahead of time; None where it leaves them alone.
        apply: What the loop calls with the batch and the loader's index; None for nothing.
    """

    device: torch.device | None
    apply: Callable[..., Any] | None


def plan_transfer(
    module: LightningModule, datamodule: LightningDataModule | None, strategy: Strategy, stage_hook: str
) -> Transfer:
    """Decides how batches move.

    A transfer or augmentation hook of the user's runs at its usual place, in the loop, before the batch's first event;
    then nothing is moved ahead of time. The data module's hooks come before the module's.

    Args:
        module: Whose hooks may be overridden.
        datamodule: Whose hooks may be overridden, and then win.
        strategy: Where the model lies.
        stage_hook: The loader hook of the stage.

    Returns:
        The plan.
    """
    precision: Precision = strategy.precision_plugin
    convert = precision.convert_input if overridden(precision, "convert_input", Precision) else None
    device = strategy.root_device
    owners = [owner for owner in (datamodule, module) if owner is not None]
    chosen = {
        name: next((found for owner in owners if (found := overridden(owner, name, DataHooks))), None)
        for name in _HOOKS
    }
    by_strategy = override(strategy, "batch_to_device") is not None
    if not by_strategy and not any(chosen.values()):
        ahead = device if device.type != "cpu" else None
        return Transfer(ahead, None if convert is None else lambda batch, dataloader_idx=0: convert(batch))
    before = chosen[_HOOKS[0]] or module.on_before_batch_transfer
    move = chosen[_HOOKS[1]] or module.transfer_batch_to_device
    after = chosen[_HOOKS[2]] or module.on_after_batch_transfer

    def apply(batch: Any, dataloader_idx: int = 0) -> Any:
        if convert is not None:
            batch = convert(batch)
        batch = before(batch, dataloader_idx)
        batch = move(batch, device, dataloader_idx)
        return after(batch, dataloader_idx)

    if not by_strategy:
        return Transfer(None, apply)
    to_device = through(
        strategy,
        "batch_to_device",
        lambda batch, device, dataloader_idx: after(move(batch, device, dataloader_idx), dataloader_idx),
    )

    def hand_over(batch: Any, dataloader_idx: int = 0) -> Any:
        batch = before(batch if convert is None else convert(batch), dataloader_idx)
        return to_device(batch, dataloader_idx=dataloader_idx)

    return Transfer(None, hand_over)
