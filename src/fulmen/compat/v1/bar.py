"""``get_progress_bar_dict`` of a module: what the bar shows beside what was logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.callbacks.progress.progress_bar import ProgressBar
from fulmen.compat.v1.heard import users
from fulmen.compat.v1.hints import hint

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


def put_bar_dict(trainer: Trainer, bar: ProgressBar) -> None:
    """Has a bar show what the module's ``get_progress_bar_dict`` returns, in place of what it would show of its own.

    Args:
        trainer: Who runs the module.
        bar: The bar.
    """
    bar.__dict__.pop("get_metrics", None)
    module = trainer.lightning_module
    if module is None or users(module, "get_progress_bar_dict") is None:
        return
    hint(
        "`get_progress_bar_dict`",
        "`self.log(name, value, prog_bar=True)`, or override `get_metrics` of a progress bar.",
    )
    shown = bar.get_metrics

    def get_metrics(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        own: dict[str, Any] = pl_module.get_progress_bar_dict()  # type: ignore[operator]
        logged = trainer.progress_bar_metrics
        return {**own, **{name: value for name, value in shown(trainer, pl_module).items() if name in logged}}

    bar.__dict__["get_metrics"] = get_metrics
