"""What a profiler sees of a run besides the hooks. Without one, everything here hands back what it was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.loops.transfer import Transfer
from fulmen.utilities.generations import stand_in

if TYPE_CHECKING:
    from fulmen.data.feed import Feed
    from fulmen.loops.fit import FitLoop
    from fulmen.trainer.trainer import Trainer

F = TypeVar("F", bound=Callable[..., Any])


def watch(trainer: Trainer, action_name: str, function: F) -> F:
    """A function with the profiler around it.

    Args:
        trainer: Whose profiler.
        action_name: What the profiler calls it.
        function: The function.
    """
    wrap = trainer.profile_wrapper()
    return function if wrap is None else wrap(action_name, function)  # type: ignore[return-value]


def watch_strategy(trainer: Trainer, name: str, function: F) -> F:
    """The same for what the strategy answers for: the steps, backward, moving a batch."""
    return watch(trainer, f"[Strategy]{type(trainer.strategy).__name__}.{name}", function)


def watch_hook(trainer: Trainer, owner: object, name: str) -> Callable[..., Any]:
    """A hook with the profiler around it, if it is overridden.

    Args:
        trainer: Whose profiler.
        owner: A module, data module or callback.
        name: The hook's name.
    """
    method: Callable[..., Any] = stand_in(owner, name)
    base = next((base for base in (LightningModule, Callback) if isinstance(owner, base)), LightningDataModule)
    if getattr(method, "__func__", method) is getattr(base, name, None):
        return method
    return watch(trainer, f"[{base.__name__}]{type(owner).__name__}.{name}", method)


def watch_transfer(trainer: Trainer, plan: Transfer) -> Transfer:
    """A plan of how batches move, with the profiler around what the loop does of it."""
    if plan.apply is None:
        return plan
    return plan._replace(apply=watch_strategy(trainer, "batch_to_device", plan.apply))


def watch_training(fit: FitLoop) -> None:
    """Puts the profiler around the parts of training that `fit` has made for this run."""
    trainer, optimization, rates = fit.trainer, fit.optimization, fit.rates
    if trainer.profile_wrapper() is None:
        return
    module = type(trainer.lightning_module).__name__
    # on the instances, which last as long as the run
    optimization.__dict__["step"] = watch(trainer, "run_training_batch", optimization.step)
    optimization.__dict__["backward"] = watch_strategy(trainer, "backward", optimization.backward)
    rates.__dict__["_step_one"] = watch(trainer, f"[LightningModule]{module}.lr_scheduler_step", rates._step_one)


def watch_feed(trainer: Trainer, action_name: str, feed: Feed) -> Feed | WatchedFeed:
    """A pass over a loader, with the profiler around the fetching of each batch."""
    wrap = trainer.profile_wrapper()
    return feed if wrap is None else WatchedFeed(feed, wrap(action_name, next))


class WatchedFeed:
    """A feed whose batches are fetched by a function that is given.

    Args:
        feed: The feed.
        fetch: A ``next`` that the profiler watches.
    """

    def __init__(self, feed: Feed, fetch: Callable[[Iterator[Any], Any], Any]) -> None:
        self.feed = feed
        self.fetch = fetch

    @property
    def total(self) -> int | float:
        """The number of batches; see ``Feed.total``."""
        return self.feed.total

    def close(self) -> None:
        """Ends the pass; see ``Feed.close``."""
        self.feed.close()

    def __iter__(self) -> Iterator[Any]:
        batches, end, count = iter(self.feed), object(), 0
        # Asking after the last batch is no fetching, but has to be done: loaders end with it.
        while (batch := (self.fetch if count < self.total else next)(batches, end)) is not end:
            count += 1
            yield batch
