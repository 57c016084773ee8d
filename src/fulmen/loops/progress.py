"""How far a run has come: one record, advanced in one place each, which every counter shown is a view of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Phase = Literal["between", "step", "batch", "validation", "validated", "ready", "end"]


@dataclass(slots=True)
class Progress:
    """Counts of a training run.

    Attributes:
        epoch: Epochs that are complete.
        batch: Batches done in the running epoch.
        batches: Batches done in all.
        steps: Optimizer steps taken.
        windows: Accumulation windows closed, the x axis of what is logged while training.
        epoch_done: Whether the running epoch has seen its last batch.
        phase: Where in a run it is, which says what is still to be done: ``"between"`` epochs; in a ``"step"``; after
            a ``"batch"``, before what follows on it; in a ``"validation"``; with that behind it, ``"validated"``;
            ``"ready"`` for the next batch; at the ``"end"`` of an epoch.
        rates: Steps of learning rate schedulers that the run has made; shown, and nothing follows from it.
        earlier_steps: Optimizer steps taken before the running epoch; shown, and nothing follows from it.
        earlier_rates: Steps of schedulers made before the running epoch; shown, and nothing follows from it.
    """

    epoch: int = 0
    batch: int = 0
    batches: int = 0
    steps: int = 0
    windows: int = 0
    epoch_done: bool = False
    phase: Phase = "between"
    rates: int = field(default=0, compare=False)
    earlier_steps: int = field(default=0, compare=False)
    earlier_rates: int = field(default=0, compare=False)

    def begin_epoch(self) -> None:
        """Counts what is shown of an epoch anew."""
        self.earlier_steps, self.earlier_rates = self.steps, self.rates

    def next_epoch(self) -> None:
        """Counts the running epoch as complete."""
        self.epoch += 1
        self.batch = 0
        self.epoch_done = False
        self.phase = "between"

    def state_dict(self) -> dict[str, Any]:
        """The counts, for a checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)
