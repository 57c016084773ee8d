"""The three dictionaries of metrics that a Trainer shows, and the way of metrics to the loggers.

``callback_metrics`` is for callbacks and people, ``logged_metrics`` is what loggers got, ``progress_bar_metrics`` is
what the bar shows. They are filled when somebody reads them and when an epoch ends, never by a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fulmen.callbacks.x_axis import XAxisCounter
    from fulmen.loggers.logger import Logger
    from fulmen.loops.entries import Entry
    from fulmen.loops.progress import Progress
    from fulmen.loops.results import Results

Phase = Literal["step", "epoch"]
_SEEN = attrgetter("seen")


class Metrics:
    """What has been logged so far, as others see it.

    Args:
        progress: The counts of the run.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.loggers: list[Logger] = []
        self.counter: XAxisCounter | None = None
        self.reduce_step: Callable[[Results, bool], dict[str, Tensor]] | None = None  # where processes train together
        self._together: dict[str, Tensor] = {}  # values of single steps over all processes
        self._shared_at: dict[str, int] = {}  # and of which step each is
        self._by_step: dict[str, bool] = {}  # keys with values of steps; whether each process has its own
        self.step_values = False  # whether loggers are to have values of single steps, and of nothing else, of a key
        self.log_every_n_steps = 50
        self._callback: dict[str, Tensor] = {}
        self._logged: dict[str, Tensor] = {}
        self._bar: dict[str, float] = {}
        self._made_at: dict[str, int] = {}
        self.results: Results | None = None
        self.phase: Phase = "step"

    def reset(self) -> None:
        """Forgets everything, as at the start of a run."""
        for values in (
            self._callback,
            self._logged,
            self._bar,
            self._made_at,
            self._together,
            self._shared_at,
            self._by_step,
        ):
            values.clear()

    def state_dict(self) -> dict[str, Any]:
        """The newest values, for a checkpoint."""
        self._refresh()
        return {
            "callback": {key: value.detach() for key, value in self._callback.items()},
            "logged": {key: value.detach() for key, value in self._logged.items()},
            "bar": dict(self._bar),
            "made_at": dict(self._made_at),
            "together": {key: value.item() for key, value in self._together.items()},
            "shared_at": dict(self._shared_at),
            "by_step": dict(self._by_step),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self.reset()
        self._callback.update(state["callback"])
        self._logged.update(state["logged"])
        self._bar.update(state["bar"])
        self._made_at.update(state["made_at"])
        together = state.get("together", {})
        self._together.update({key: torch.tensor(value, dtype=torch.float64) for key, value in together.items()})
        self._shared_at.update(state.get("shared_at", {}))
        self._by_step.update(state.get("by_step", {}))

    def watch(self, results: Results | None, phase: Phase = "step") -> None:
        """Turns to the results of the pass that runs; None: nothing new will come."""
        self.results = results
        self.phase = phase

    def settle(self) -> None:
        """Brings in what there is, and turns away from the pass."""
        self._refresh()
        self.results = None

    def _refresh(self) -> None:
        if self.results is not None:
            self.collect(self.results.entries(), on_step=self.phase == "step", training=self.results.training)

    @property
    def callback(self) -> dict[str, Tensor]:
        """The newest value of every key."""
        self._refresh()
        return self._callback

    @property
    def logged(self) -> dict[str, Tensor]:
        """What goes to loggers, under the loggers' keys."""
        self._refresh()
        return self._logged

    @property
    def bar(self) -> dict[str, float]:
        """What the progress bar shows, as numbers."""
        self._refresh()
        return self._bar

    def made_at(self, name: str) -> int | None:
        """The number of optimizer steps after which a value of ``callback`` was made; None where there is none."""
        self._refresh()
        return self._made_at.get(name)

    def collect(self, entries: Iterable[Entry], on_step: bool, training: bool) -> dict[str, Tensor]:
        """Brings the values of entries into the dictionaries.

        Args:
            entries: Where they come from.
            on_step: Whether to take the step's values; else the epoch's.
            training: Whether they come from the training pass, whose step values callbacks see as well.

        Returns:
            Those meant for the loggers.
        """
        for_loggers: dict[str, Tensor] = {}
        if on_step and training:  # of one key that several hooks log, the newest value is shown
            entries = sorted(entries, key=_SEEN)
        for entry in entries:
            options: Any = entry.asked
            if self.reduce_step is not None:
                self._note(entry, training)
            if options.rank_zero_only and not entry.results.first:
                continue
            if not (entry.on_step if on_step else entry.on_epoch):
                self.step_values |= entry.on_step and options.logger is not False
                continue
            value = entry.step_value() if on_step else entry.epoch_value()
            if value is None:
                continue
            forked = entry.forked_key(on_step)
            is_shared = on_step and training and entry.is_synced
            if is_shared and entry.seen <= self._shared_at.get(forked, -1):  # else it was logged since
                value = self._together[forked].to(value)
            if options.logger is not False:
                for_loggers[forked] = value
            if options.prog_bar:
                self._bar[forked] = value.item()
            if training or not on_step:
                current = not on_step or entry.seen == entry.results.batch_index
                for key in (entry.key, forked):
                    self._callback[key] = value
                    if current:
                        self._made_at[key] = self.progress.steps
                    else:
                        self._made_at.pop(key, None)
        self._logged.update(for_loggers)
        return for_loggers

    def _note(self, entry: Entry, training: bool) -> None:
        """Takes note of whether processes can have other values of a key."""
        apart = entry.is_apart
        if apart or (training and entry.on_step):
            for key in {entry.key, entry.forked_key(True), entry.forked_key(not apart)}:
                self._by_step[key] = apart or not entry.is_synced or self._by_step.get(key, False)

    def is_own(self, key: str, entries: Iterable[Entry] = (), at_end: bool = False) -> bool:
        """Whether processes can have other values of a key. It is the same on all that have logged it.

        Args:
            key: The key.
            entries: What was logged in the epoch.
            at_end: Whether it is asked at the end of an epoch, which has reduced some of them.
        """
        if not at_end:
            return self._by_step.get(key, False)
        reduced = (entry for entry in entries if entry.on_epoch and not entry.is_apart)
        return key in self._by_step and not any(key in (one.key, one.forked_key(False)) for one in reduced)

    def due_at(self, windows: int) -> bool:
        """Whether the step values of a window go to the loggers; windows are counted from 0."""
        every = self.log_every_n_steps
        return every > 0 and (windows + 1) % every == 0

    def send_step(self) -> None:
        """Sends the training step's values to the loggers."""
        results = self.results
        if self.loggers and results is not None:
            values = {} if results.out else self.collect(results.entries(), on_step=True, training=True)
            hidden = {entry.forked_key(True) for entry in results.entries() if entry.asked.logger is False}  # type: ignore[attr-defined]
            shared = {key: value for key, value in self._together.items() if key not in hidden}
            self.send({**values, **shared}, self.progress.windows)

    def share_step(self, late: bool = False) -> None:
        """Makes a training step's values those of all processes, where they were logged so.

        Args:
            late: Whether it is for what hooks have logged after the step.
        """
        results = self.results
        if self.reduce_step is not None and results is not None:
            if results.batch_index == 0 and not late:  # values are those of the epoch, and batches counted by it
                self._together.clear()
                self._shared_at.clear()
            shared = self.reduce_step(results, late)
            self._together.update(shared)
            self._shared_at.update(dict.fromkeys(shared, results.batch_index))

    def send(self, values: dict[str, Tensor], step: int, epoch: bool = True) -> None:
        """Sends values to every logger.

        Args:
            values: By key. A key ``"step"`` replaces the x axis.
            step: The x axis.
            epoch: Whether the running epoch goes along.
        """
        if not values or not self.loggers:
            return
        scalars: dict[str, float] = {key: value.item() for key, value in values.items()}
        chosen = "step" in scalars
        if chosen:
            step = int(scalars.pop("step"))
        elif epoch:
            scalars.setdefault("epoch", self.progress.epoch)
        for logger in self.loggers:
            logger.log_metrics(metrics=scalars, step=step if chosen else self.place(logger, step))
            # A logger that writes in the background is not waited for.
            getattr(logger, "_save_soon", logger.save)()

    def place(self, logger: Logger, step: int | None = None) -> Any:
        """Where a run is now, on the x axis of a logger.

        Args:
            logger: The logger.
            step: The place on the axis ``"step"``; None for the windows of batches so far.
        """
        axis = getattr(logger, "x_axis", "step")
        if axis == "epoch":
            return self.progress.epoch
        if self.counter is not None and axis in ("samples", "time"):
            return self.counter.at(axis)
        return self.progress.windows if step is None else step
