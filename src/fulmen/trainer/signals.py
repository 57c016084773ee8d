"""Signals that ask a run to stop: they are taken note of, and obeyed at the end of a step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from fulmen.utilities.exceptions import SIGTERMException
from fulmen.utilities.rank_zero import log, rank_zero_info

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


_CLOCK = "clock:"


class Signals:
    """Takes note of signals during `fit`, so that a run ends where everything can be saved.

    Attributes:
        received: The number of the signal that is to be obeyed; None if none came in this run.
        came: The numbers of all that came in this run.
        obeyed: Whether one was obeyed, so that the run ends.
    """

    received: int | None = None

    def __init__(self) -> None:
        self.came: set[int] = set()
        self.obeyed = False
        self.stops = False  # whether all processes know that training is to stop
        self._wants_stop = False  # whether this one wishes so, and the others do not know yet
        self._asked: dict[str, None] = {}  # what is due by the clock of rank 0, as far as others do not know
        self._granted: set[str] = set()  # what all have agreed is due
        self.requeue: int | None = None
        self._interrupts = 0
        self._process = 0
        self._earlier: dict[int, Any] = {}

    def forget(self) -> None:
        """Forgets what came in an earlier run."""
        self.received, self.obeyed, self.stops, self._interrupts = None, False, False, 0
        self._wants_stop = False
        self._asked.clear()
        self._granted.clear()
        self.came.clear()

    def listen(self, trainer: Trainer) -> None:
        """Puts handlers in place.

        Only the main thread may do so; signals that the process ignores, as one in the background ignores Ctrl-C, and
        those that code outside Python handles stay as they are.

        Args:
            trainer: Whose cluster may have a signal of its own.
        """
        self.requeue = requeue_signal(trainer)
        self._process = os.getpid()
        if threading.current_thread() is not threading.main_thread():
            return
        for number in filter(None, (signal.SIGTERM, signal.SIGINT, self.requeue)):
            earlier = signal.getsignal(number)
            if number not in self._earlier and earlier not in (None, signal.SIG_IGN):
                self._earlier[number] = earlier  # first, since the handler may be called at once
                signal.signal(number, self._note)
        peers = trainer.strategy.peers
        if peers is not None and self.requeue is not None:  # it is heard where the main thread sits in a collective
            peers.signals[self.requeue] = f"signal:{int(self.requeue)}"

    def close(self, trainer: Trainer) -> None:
        """Ends a run that came to its end, which a signal after the last step may have asked to stop."""
        if self.received is not None:
            self.obey(trainer)
        self.restore()
        if self.received is not None:  # it came just before
            self.obey(trainer)

    def restore(self) -> None:
        """Puts back the handlers that were there before, except where somebody has replaced ours since."""
        for number, earlier in self._earlier.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, earlier)
        self._earlier.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        """The handler. It saves and prints nothing: a signal may come in the middle of anything."""
        earlier = self._earlier.get(number)
        if os.getpid() != self._process:  # a child that was forked during the run, and must be able to end
            signal.signal(number, earlier if earlier is not None else signal.SIG_DFL)
            signal.raise_signal(number)
            return
        self.came.add(number)
        self.received = next(one for one in (self.requeue, signal.SIGTERM, signal.SIGINT) if one in self.came)
        if callable(earlier) and earlier is not signal.default_int_handler:
            earlier(number, frame)
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt

    def check(self, trainer: Trainer, position: tuple[int, ...]) -> None:
        """Stops a run, or lets it stop, where all of its processes have agreed to; see ``strategies/peers``.

        Args:
            trainer: The Trainer, at a place where it may stop.
            position: The place, in the order in which they are reached.
        """
        peers = trainer.strategy.peers
        if peers is None:
            if self.received is not None:
                self.obey(trainer)
            return
        reason = peers.gate(position, self._wish(trainer))
        if reason == "stop":
            trainer.should_stop = self.stops = True
            self._wants_stop = False
        elif reason.startswith(_CLOCK):
            self._asked.pop(reason, None)
            self._granted.add(reason)
        elif reason:
            self.received = int(reason.partition(":")[2])
            self.obey(trainer)
        elif not trainer.should_stop:
            self.stops = False

    def _wish(self, trainer: Trainer) -> str:
        """What this process would like all of them to do at the next place where they agree."""
        if self.received is not None:
            return f"signal:{self.received}"
        if trainer.should_stop and not self.stops:
            # held back until all know: one that stops alone leaves the others waiting in their next step
            self._wants_stop, trainer.should_stop = True, False
        if self._wants_stop:
            return "stop"
        return next(iter(self._asked), "")

    def is_time(self, trainer: Trainer, what: str, is_over: Callable[[], bool]) -> bool:
        """Whether something is due by the clock: that of rank 0, and for all processes after the same step.

        Several processes hear of it a step or two after it came due on rank 0. In between there is no collective.

        Args:
            trainer: The Trainer.
            what: What it is, by a name that is the same on all processes.
            is_over: Whether this process's clock says so.
        """
        name = _CLOCK + what
        if name in self._granted:
            self._granted.discard(name)
            return True
        if trainer.is_global_zero and name not in self._asked and is_over():
            self._asked[name] = None
        return False

    def obey(self, trainer: Trainer) -> NoReturn:
        """Saves everything, and ends the run.

        Args:
            trainer: The Trainer, at the end of a step of training or evaluation.

        Raises:
            SIGTERMException: On SIGTERM, and on the signal after which a cluster starts the job again.
            KeyboardInterrupt: On Ctrl-C.
        """
        assert self.received is not None
        self.obeyed = True
        name = "Ctrl-C" if self.received == signal.SIGINT else signal.Signals(self.received).name
        failure: Exception | None = None
        try:
            rank_zero_info(f"{name}: {self._save(trainer)}")
        except Exception as error:  # whatever it is, the run was asked to end
            failure = error
            log.error("%s: training stops here, and saving has failed: %s", name, error, exc_info=error)
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt from failure
        raise SIGTERMException from failure

    def _save(self, trainer: Trainer) -> str:
        """Saves what there is to save.

        Returns:
            What was done, as a sentence.
        """
        begun = not trainer.sanity_checking and trainer.progress.batches > 0
        if trainer.fast_dev_run:
            return "training stops here. Nothing is saved under `fast_dev_run`."
        peers = trainer.strategy.peers
        if peers is not None and not peers.healthy():
            return "training stops here. Nothing is saved, since another process of the run has failed."
        if self.received == self.requeue:
            from fulmen.trainer.slurm import save_and_requeue  # only jobs of a cluster pay for it

            return save_and_requeue(trainer, begun)
        if not begun:
            return "training stops before its first step, so there is nothing to save."
        callback = next((one for one in trainer.checkpoint_callbacks if hasattr(one, "save_now")), None)
        if callback is None:
            return (
                "training stops here. Nothing is saved, since this Trainer has no `ModelCheckpoint`; add one with "
                "`Trainer(callbacks=[ModelCheckpoint()])`."
            )
        path = callback.save_now(trainer)
        return f'everything is saved to {path}. Training stops here; go on with `fit(ckpt_path="last")`.'


def requeue_signal(trainer: Trainer) -> int | None:
    """The signal after which the cluster starts the job again; None where nothing does that."""
    environment = trainer.strategy.cluster_environment
    if getattr(environment, "auto_requeue", False) and environment.detect():
        return getattr(environment, "requeue_signal", None)
    return None
