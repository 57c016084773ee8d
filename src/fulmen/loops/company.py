"""What several processes do together in an evaluation or a prediction; see :mod:`fulmen.data.sharding`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fulmen.data.feed import Feed
from fulmen.data.shared_feed import SharedFeed
from fulmen.loops.entries import Entry
from fulmen.loops.reduction import reduce_results
from fulmen.loops.results import Results
from fulmen.loops.sanity import without_trace
from fulmen.loops.step_values import Steps, step_values

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

_COLLECTIVES = ("all_gather", "broadcast", "barrier", "reduce", "reduce_boolean_decision")
_NAMES = frozenset({*_COLLECTIVES, "all_reduce"})


def make_feed(
    trainer: Trainer, loader: Any, limit: int | float, own: int | float | None, divided: bool, **options: Any
) -> Feed:
    """One pass over a loader: all of it, or this process's part.

    Args:
        trainer: Whose strategy.
        loader: The loader.
        limit: The most batches of the whole pass.
        own: The most of this process's, where the data shard themselves; None for its part of `limit`.
        divided: Whether they are known to.
        **options: See :class:`Feed`.
    """
    strategy = trainer.strategy
    if strategy.world_size == 1 or not trainer.use_distributed_sampler:
        return Feed(loader, limit, **options)
    return SharedFeed(loader, limit, strategy=strategy, own_limit=own, divided=divided, **options)


class Company:
    """The processes that make a pass together.

    Args:
        trainer: The Trainer.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.strategy = trainer.strategy
        self.steps: Steps = {}
        self.batches: dict[int | None, int] = {}
        self._inside = self._called = False

    @classmethod
    def of(cls, trainer: Trainer) -> Company | None:
        """None where a process is alone."""
        return cls(trainer) if trainer.strategy.world_size > 1 else None

    def begin(self, steps: Steps | None = None) -> None:
        """Begins a pass, with values of single steps that an earlier run had not sent yet."""
        self.steps, self.batches, self._called = dict(steps or {}), {}, False

    # Steps that call collectives.

    @contextmanager
    def noting(self) -> Generator[None]:
        """Takes note, meanwhile, of whether a step has processes wait for each other."""
        table = self.strategy.__dict__
        for name in _COLLECTIVES:
            table[name] = self._noted(getattr(self.strategy, name))
        try:
            yield
        finally:
            for name in _COLLECTIVES:
                del table[name]

    def _noted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self._called |= self._inside
            return method(*args, **kwargs)

        return noted

    def watched(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """A step that is watched for that."""

        def run(*args: Any) -> Any:
            self._inside = True
            try:
                return step(*args)
            finally:
                self._inside = False

        return run

    def keep_step(
        self, name: str, feed: Feed, done: int, step: Callable[..., Any], batch: Any, which: tuple[int, ...]
    ) -> None:
        """Runs the step once more where another process has one more batch and waits for this one in its step.

        Nothing of it is kept: no log, no count of a metric, no random number.

        Args:
            name: The step's.
            feed: The pass.
            done: How many batches of it were this process's.
            step: The step.
            batch: The last of them.
            which: The loader's number, where there are several.
        """
        meets = self._called if done else _meets(self.trainer.lightning_module, step)
        if not meets or not isinstance(feed, SharedFeed) or not feed.runs_out_early(done):
            return
        book, module, device = self.trainer.logbook, self.trainer.lightning_module, self.strategy.root_device
        before = book.results
        with without_trace(module, [], device):
            if not done:
                batch = next(iter(Feed(feed.loader, 1, device=feed.device, fast=feed.fast)))
            scratch = Results(module, training=False, device=device)
            scratch.begin_batch(batch, 0)
            book.open(None if before is None else scratch, which[0] if which else None)
            book.enter(name)
            step(batch, max(done - 1, 0), *which)
        book.open(before, before.dataloader_idx if before is not None else None)

    # What was logged.

    def hold(self, entries: list[Entry], table: int | None, place: int) -> list[Entry]:
        """Keeps values of a step that are to be those of all processes, until they come together.

        Args:
            entries: Entries with values of a step.
            table: The loader's number, where there are several.
            place: The step's place on the x axis.

        Returns:
            The entries of which the first process's own values are sent.
        """
        values = step_values(entries)
        if values:
            self.steps.setdefault(str(table), []).append((place, values))
        return [entry for entry in entries if entry.forked_key(True) not in values]

    def reduce(self, results: Results, last: bool = True) -> None:
        """Makes the epoch's values those of all processes, and sends those of single steps.

        Args:
            results: What was logged.
            last: Whether nothing will be logged any more.
        """
        metrics = self.trainer.metrics
        for place, values in reduce_results(self.strategy, results, self.batches, self.steps, last):
            metrics.send(values, place, epoch=False)
        self.steps = {}
        for index in results.indices():
            if index is not None:  # shown so far were this process's own
                metrics.collect(results.entries_of(index), on_step=False, training=False)


def _meets(module: Any, step: Callable[..., Any]) -> bool:
    """Whether a step that has not run calls collectives, as far as its code says, and that of methods it calls."""
    kind = type(module)
    own = _own_methods(kind)
    todo = [getattr(step, "__func__", step)]
    todo += [getattr(kind, name, None) for name in ("validation_step", "test_step", "predict_step")]
    seen: set[Any] = set()
    while todo:
        code = getattr(todo.pop(), "__code__", None)
        if code is None or code in seen:
            continue
        if _NAMES & set(code.co_names):
            return True
        seen.add(code)
        todo += [getattr(kind, name) for name in code.co_names if name in own]
    return False


def _own_methods(kind: type) -> set[str]:
    """The names of what a module's classes of the user's own define."""
    users = (base for base in kind.__mro__ if not base.__module__.startswith(("fulmen.", "torch.", "builtins")))
    return {name for base in users for name in vars(base)}
