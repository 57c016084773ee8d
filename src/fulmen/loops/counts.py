"""Counts of a run as other code knows them: how much is ready, started, processed and completed.

They follow from the one record, `Progress`, and from the hook that runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.loops.fit import FitLoop

Four = tuple[int, int, int, int]
_NAMES = ("ready", "started", "processed", "completed")


class Tracked:
    """Something that is counted.

    Args:
        loop: The loop that counts it.
    """

    sets: tuple[str, ...] = ()  # the counts that decide, so that they may be set
    earlier = 0

    def __init__(self, loop: Any) -> None:
        self.loop = loop

    def read(self) -> Four:
        """The present counts, in the order ready, started, processed, completed."""
        raise NotImplementedError

    def read_total(self) -> Four:
        """The same of the whole run."""
        ready, started, processed, completed = self.read()
        earlier = self.earlier
        return ready + earlier, started + earlier, processed + earlier, completed + earlier

    def write(self, count: int) -> None:
        """Sets what has been done.

        Args:
            count: How many.
        """
        raise AttributeError(f"{type(self).__name__} are counted by the run, and cannot be set.")

    def reset(self) -> None:
        """Begins the present counts anew; the total stays."""
        earlier = self.read()[3]
        self.write(0)
        self.earlier += earlier


def _hook(loop: Any) -> str | None:
    hook: str | None = loop.trainer.logbook.hook
    return hook


class EpochCounts(Tracked):
    """The epochs of `fit`."""

    sets = ("processed",)

    def read(self) -> Four:
        """The present counts."""
        progress = self.loop.progress
        inside, done = progress.phase != "between", progress.epoch
        begun = inside or _hook(self.loop) == "on_train_epoch_start"
        return done + begun, done + inside, done + (progress.phase == "end"), done

    def write(self, count: int) -> None:
        """Sets the number of epochs that are complete."""
        self.loop.progress.epoch = count - (self.loop.progress.phase == "end")


class BatchCounts(Tracked):
    """The batches of an epoch of `fit`."""

    def read(self) -> Four:
        """The present counts."""
        progress, fit = self.loop.progress, self.loop
        if progress.phase in ("between", "end"):  # those of the epoch that is over
            done = fit.epoch_loop.batch_idx + 1
            return done, done, done, done
        done, hook = progress.batch, _hook(fit)
        ready = done + (progress.phase == "step")
        started = ready - (hook == "on_train_batch_start")
        return ready, started, done, done - (hook == "on_train_batch_end")

    def read_total(self) -> Four:
        """The counts of the whole run."""
        progress = self.loop.progress
        ready, started, processed, completed = self.read()
        before = progress.batches - processed
        return ready + before, started + before, processed + before, completed + before

    def reset(self) -> None:
        """Begins the epoch's counts anew; the total stays."""
        self.loop.progress.batch = 0
        self.loop.epoch_loop.batch_idx = -1

    @property
    def is_last_batch(self) -> bool:
        """Whether the running batch is the last of its epoch."""
        return bool(self.loop.epoch_loop.is_last_batch)


class StepCounts(Tracked):
    """The steps of the optimizers, in the running epoch and in all."""

    sets = ("completed",)
    _name = "steps"

    @property
    def earlier(self) -> int:  # type: ignore[override]
        """Those before the running epoch."""
        return int(getattr(self.loop.progress, f"earlier_{self._name}"))

    def read(self) -> Four:
        """The present counts."""
        steps = getattr(self.loop.progress, self._name) - self.earlier
        return steps, steps, steps, steps

    def write(self, count: int) -> None:
        """Sets the number of steps in the running epoch, and so ``trainer.global_step``."""
        setattr(self.loop.progress, self._name, self.earlier + count)

    def reset(self) -> None:
        """Begins the present counts anew; the total stays."""
        progress = self.loop.progress
        setattr(progress, f"earlier_{self._name}", getattr(progress, self._name))


class RateCounts(StepCounts):
    """The steps of the learning rate schedulers, in the running epoch and in all."""

    _name = "rates"


class PassCounts(Tracked):
    """The batches of a pass over loaders."""

    def read(self) -> Four:
        """The present counts."""
        done, running = self.loop.batches_done, str(_hook(self.loop)).endswith(("_batch_start", "_step"))
        ready = done + running
        return ready, ready - str(_hook(self.loop)).endswith("_batch_start"), done, done

    @property
    def is_last_batch(self) -> bool:
        """Whether the running batch is the last of its loader."""
        limits, index = self.loop.max_batches, self.loop.loader_index
        return bool(index < len(limits) and self.read()[0] == limits[index])


class Counts:
    """Four numbers of one thing.

    Args:
        tracked: What is counted.
        total: Whether over the whole run.
    """

    __slots__ = ("_total", "_tracked")

    def __init__(self, tracked: Tracked, total: bool) -> None:
        self._tracked = tracked
        self._total = total

    def _read(self, index: int) -> int:
        return (self._tracked.read_total() if self._total else self._tracked.read())[index]

    def _write(self, name: str, count: int) -> None:
        if name in self._tracked.sets:
            self._tracked.write(count - self._tracked.earlier if self._total else count)
        elif not self._tracked.sets:
            self._tracked.write(count)  # says that it cannot be done

    @property
    def ready(self) -> int:
        """How many were about to begin; the one that decides is another, so to set it changes nothing."""
        return self._read(0)

    @ready.setter
    def ready(self, count: int) -> None:
        self._write("ready", count)

    @property
    def started(self) -> int:
        """How many have begun."""
        return self._read(1)

    @started.setter
    def started(self, count: int) -> None:
        self._write("started", count)

    @property
    def processed(self) -> int:
        """How many were gone through, without the hooks at their end."""
        return self._read(2)

    @processed.setter
    def processed(self, count: int) -> None:
        self._write("processed", count)

    @property
    def completed(self) -> int:
        """How many are over."""
        return self._read(3)

    @completed.setter
    def completed(self, count: int) -> None:
        self._write("completed", count)

    def reset(self) -> None:
        """Begins the present counts anew; the total stays."""
        self._tracked.reset()

    def __repr__(self) -> str:
        return "Counts(" + ", ".join(f"{name}={getattr(self, name)}" for name in _NAMES) + ")"


class CountsView:
    """What is counted, at present and in the whole run.

    Args:
        tracked: What is counted.
    """

    def __init__(self, tracked: Tracked) -> None:
        self._tracked = tracked

    @property
    def current(self) -> Counts:
        """Since the beginning of what runs."""
        return Counts(self._tracked, total=False)

    @property
    def total(self) -> Counts:
        """Over the whole run."""
        return Counts(self._tracked, total=True)

    @property
    def is_last_batch(self) -> bool:
        """Whether the running batch is the last, where batches are counted."""
        return bool(getattr(self._tracked, "is_last_batch", False))

    def increment_ready(self) -> None:
        """Does nothing: what is ready follows from what is done."""

    increment_started = increment_ready

    def increment_processed(self) -> None:
        """Counts one more, where that is what decides."""
        if "processed" in self._tracked.sets:
            self.current.processed += 1

    def increment_completed(self) -> None:
        """Counts one more, where that is what decides."""
        if "completed" in self._tracked.sets:
            self.current.completed += 1

    def reset(self) -> None:
        """Begins the present counts anew; the total stays."""
        self._tracked.reset()

    def state_dict(self) -> dict[str, dict[str, int]]:
        """All numbers."""
        return {part: {name: getattr(getattr(self, part), name) for name in _NAMES} for part in ("total", "current")}

    def __repr__(self) -> str:
        return f"{type(self._tracked).__name__}(total={self.total}, current={self.current})"


class OptimizerCounts:
    """The counts of the optimizers.

    Args:
        fit_loop: The loop of `fit`.
    """

    def __init__(self, fit_loop: FitLoop) -> None:
        self.step = CountsView(StepCounts(fit_loop))


class OptimizationCounts:
    """The counts of optimization.

    Args:
        fit_loop: The loop of `fit`.
    """

    def __init__(self, fit_loop: FitLoop) -> None:
        self.optimizer = OptimizerCounts(fit_loop)

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps taken."""
        return self.optimizer.step.total.completed
