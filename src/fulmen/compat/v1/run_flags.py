"""Arguments of 1.x's Trainer that a run has to know of: gradient norms, NaN, flushing, loaders, folders."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import torch

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.checkpoint_store import CheckpointStore
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.generations import stand_in
from fulmen.utilities.grads import grad_norm

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from fulmen.trainer.trainer import Trainer


def former(trainer: Trainer) -> dict[str, Any]:
    """Arguments of 1.x that a Trainer was made with, by name."""
    kept: dict[str, Any] = trainer.__dict__.setdefault("_former", {})
    return kept


def adapt(trainer: Trainer, owner: object) -> None:
    """Lets the arguments take part in a run; see ``fulmen.compat.v1.adapt``.

    Args:
        trainer: The Trainer.
        owner: A module, data module or callback.
    """
    flags = former(trainer)
    if not flags:
        return
    if isinstance(owner, (LightningModule, LightningDataModule)):
        _adapt_loader(owner, flags.get("multiple_trainloader_mode") or "max_size_cycle")
        if flags.get("prepare_data_per_node") is not None:
            owner.prepare_data_per_node = flags["prepare_data_per_node"]
    if isinstance(owner, LightningModule):
        watch = FlagWatch(flags)
        if watch.needed:
            trainer.companions = (*trainer.companions, watch)
        if flags.get("truncated_bptt_steps") is not None:
            owner.truncated_bptt_steps = flags["truncated_bptt_steps"]
        if flags.get("automatic_optimization") is False:
            owner.automatic_optimization = False
    elif isinstance(owner, CheckpointStore) and owner.dirpath is None and flags.get("weights_save_path") is not None:
        owner.dirpath = weights_folder(trainer, flags["weights_save_path"])


def weights_folder(trainer: Trainer, path: str | os.PathLike[str]) -> str:
    """Where checkpoints go below `weights_save_path`: by the logger's name and version, where there is one."""
    parts = [os.path.abspath(path)]
    if trainer.loggers:
        logger = trainer.loggers[0]
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        parts += [str(logger.name), version]
    return os.path.join(*parts, "checkpoints")


def combine(loaders: Any, mode: str | None) -> Any:
    """Several loaders as one, where the mode is not the usual one."""
    if mode in (None, "max_size_cycle") or not isinstance(loaders, (list, tuple, dict)):
        return loaders
    return CombinedLoader(loaders, mode)  # type: ignore[arg-type]


def _adapt_loader(owner: Any, mode: str) -> None:
    if mode != "max_size_cycle":
        before = stand_in(owner, "train_dataloader")
        owner.__dict__.setdefault("_stand_ins", {})["train_dataloader"] = lambda: combine(before(), mode)


class FlagWatch(Callback):
    """Logs the norms of gradients, looks for NaN, and has loggers write, as arguments of 1.x asked for.

    Args:
        flags: The arguments.

    Raises:
        MisconfiguredValue: If `track_grad_norm` is no norm.
    """

    def __init__(self, flags: dict[str, Any]) -> None:
        self.flags = flags
        self.norm = flags.get("track_grad_norm")
        if self.norm is not None and self.norm != -1 and not _is_norm(self.norm):
            raise MisconfiguredValue(
                '`track_grad_norm` is the p of the p-norm: a positive number or "inf"; -1 for none.',
                got=f"track_grad_norm={self.norm!r}",
                fix="`Trainer(track_grad_norm=2)`.",
            )
        self.every = flags.get("flush_logs_every_n_steps")

    @property
    def needed(self) -> bool:
        """Whether it has anything to do."""
        return any(map(self.listens_to, ("on_before_optimizer_step", "on_before_backward", "on_train_batch_end")))

    def listens_to(self, event: str) -> bool:
        """Whether an argument asks for an event."""
        return {
            "on_before_optimizer_step": self.norm not in (None, -1),
            "on_before_backward": bool(self.flags.get("terminate_on_nan")),
            "on_train_batch_end": bool(self.every),
        }.get(event, False)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Logs the norms."""
        assert self.norm is not None
        norms: Any = grad_norm(pl_module, self.norm)
        if not norms:
            return
        log = getattr(pl_module, "log_grad_norm", None)
        if log is not None:
            log(norms)
        else:
            pl_module.log_dict(norms, on_step=True, on_epoch=True)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Ends the run where the loss or a weight is not finite."""
        if not torch.isfinite(loss).all():
            raise _not_finite("The loss returned in `training_step`", loss.detach())
        for name, parameter in pl_module.named_parameters():
            if not torch.isfinite(parameter).all():
                raise _not_finite(f"The parameter `{name}`", "NaN or inf")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Has the loggers write what they hold."""
        assert self.every is not None
        if (trainer.progress.windows + 1) % self.every == 0:
            for logger in trainer.loggers:
                logger.save()


def _is_norm(value: Any) -> bool:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return not math.isnan(number) and number > 0


def _not_finite(what: str, got: Any) -> MisconfiguredValue:
    return MisconfiguredValue(
        f"{what} is not finite, and the Trainer was told to end there by `terminate_on_nan`.",
        got=str(got),
        fix="Lower the learning rate or clip gradients; `Trainer(detect_anomaly=True)` finds the operation.",
    )
