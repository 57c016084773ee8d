"""The batches of a training epoch, for one process or one of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.data.feed import Feed

if TYPE_CHECKING:
    from fulmen.loops.fit import FitLoop
    from fulmen.loops.ghosts import Ghosts


def make_feed(fit: FitLoop, saved: dict[str, Any] | None) -> tuple[Feed, Ghosts | None]:
    """Makes a pass over the training loader.

    Args:
        fit: The loop.
        saved: Where an earlier run was in the pass.

    Returns:
        The pass; and where processes may have different numbers of batches, what sees to it that all go on together.
    """
    trainer, data = fit.trainer, fit.data
    inherited, fit.inherited = fit.inherited, None
    loader, saved, limit = data.reopened(saved)
    options: dict[str, Any] = {
        "device": fit.device,
        "fast": trainer.fast_data,
        "saved": saved,
        "inherited": inherited,
        "window": trainer.accumulate_grad_batches,
    }
    if data.uneven:
        from fulmen.loops.ghosts import feed_rounds  # one process has no use for it

        return feed_rounds(fit, loader, options)
    return Feed(loader, limit, **options), None
