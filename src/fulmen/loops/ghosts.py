"""Rounds in which this process has no batch, while others still train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.data.ghost import GHOST
from fulmen.data.rounds import RoundFeed
from fulmen.loops.manual import Manual
from fulmen.loops.named import Named
from fulmen.loops.optimize import Automatic
from fulmen.loops.recipe import needs_closure
from fulmen.loops.results import Results

if TYPE_CHECKING:
    from fulmen.loops.fit import FitLoop


class Ghosts:
    """Sees to it that a process that ran out of batches goes on like the others, and adds nothing to what they do.

    Hooks of a round are called as everywhere, with the last batch that this process had. What they log has no weight.

    Args:
        fit: The loop.
        feed: The rounds of the epoch.

    Attributes:
        here: Whether this process has a batch in the running round.
        batch: The last batch that this process had; None before its first.
    """

    def __init__(self, fit: FitLoop, feed: RoundFeed) -> None:
        self.fit, self.feed = fit, feed
        self.strategy, self.book = fit.trainer.strategy, fit.trainer.logbook
        self.here = True
        self.batch: Any = None
        module = fit.trainer.lightning_module
        rank, world = self.strategy.global_rank, self.strategy.world_size
        self.scratch = Results(module, True, self.strategy.root_device, rank, world)
        # Where windows do not add up weights themselves, each batch counts as its mean over those that have one.
        self.by_round = fit.trainer.accumulate_grad_batches == 1 or not fit.trainer.exact_accumulation

    def begin_round(self, batch: Any, index: int) -> bool:
        """Takes note of who has a batch.

        Args:
            batch: What the feed handed out.
            index: The number of the round.

        Returns:
            Whether this process has one.
        """
        active, results = self.feed.active, self.fit.results
        self.here = batch is not GHOST
        results.out, results.some_out = not self.here, len(active) < self.strategy.world_size
        if self.by_round:
            self.fit.optimization.share = self.strategy.world_size / len(active)
        if not self.here:
            results.batch_index = index
            self.book.open(self.scratch)
        return self.here

    def shown(self, batch: Any) -> Any:
        """What hooks get as the batch: the last that this process had, where it has none now."""
        if self.here:
            self.batch = batch
        return self.batch

    def share_buffers(self) -> None:
        """Gives all processes the newest buffers, between steps: what is saved is the first process's."""
        if self.fit.progress.phase != "step" and self.feed.active:
            self.strategy.lead = self.feed.active[0]
        if self.strategy.lead:
            self.strategy.sync_buffers()

    def end_round(self) -> None:
        """Takes note of whose buffers are the newest, and lets hooks log again."""
        self.strategy.lead = self.feed.active[0]
        if not self.here:
            self.book.open(self.fit.results)

    def end_epoch(self) -> None:
        """Gives all processes the buffers of one that trained to the end."""
        self.batch, results = None, self.fit.results
        results.out = results.some_out = False
        if self.strategy.lead:
            self.strategy.sync_buffers()
            self.strategy.lead = 0


def why_not_uneven(fit: FitLoop) -> str | None:
    """What all processes need as many batches for, as the beginning of a sentence; None: they need not.

    Args:
        fit: The loop.
    """
    trainer, kind = fit.trainer, fit.optimization
    if isinstance(kind, Named):
        return "With optimizers by name"
    if isinstance(kind, Manual):
        return "Under manual optimization"
    if type(kind) is not Automatic:
        return "With optimizers by index"
    if any(map(needs_closure, trainer.optimizers)):
        return "With an optimizer that computes the loss itself"
    return trainer.strategy.why_not_uneven()


def feed_rounds(fit: FitLoop, loader: Any, options: dict[str, Any]) -> tuple[RoundFeed, Ghosts]:
    """Opens an epoch in which processes may have different numbers of batches.

    Args:
        fit: The loop.
        loader: The loader, or the rest of it.
        options: See ``Feed``.
    """
    data, strategy = fit.data, fit.trainer.strategy
    assert data.division is not None
    feed = RoundFeed(
        loader,
        data.division.rounds,
        division=data.division,
        strategy=strategy,
        refusal=why_not_uneven(fit),
        **options,
    )
    return feed, Ghosts(fit, feed)
