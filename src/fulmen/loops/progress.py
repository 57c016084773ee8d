"""How far a run has come: one record, advanced in one place each, which every counter shown is a view of."""

from __future__ import annotations

from dataclasses import asdict, dataclass


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
    """

    epoch: int = 0
    batch: int = 0
    batches: int = 0
    steps: int = 0
    windows: int = 0
    epoch_done: bool = False

    def next_epoch(self) -> None:
        """Counts the running epoch as complete."""
        self.epoch += 1
        self.batch = 0
        self.epoch_done = False

    def state_dict(self) -> dict[str, int | bool]:
        """The counts, for a checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, int | bool]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)
