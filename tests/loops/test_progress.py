from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.runs import Net, data, fit

from fulmen import Callback
from fulmen.loops.progress import Progress

COUNTS = st.builds(
    Progress,
    epoch=st.integers(0, 9),
    batch=st.integers(0, 9),
    batches=st.integers(0, 9),
    steps=st.integers(0, 9),
    windows=st.integers(0, 9),
    epoch_done=st.booleans(),
)


@given(COUNTS)
def test_counts_come_back_from_a_checkpoint(progress: Progress) -> None:
    restored = Progress()
    restored.load_state_dict(progress.state_dict())
    assert restored == progress


@given(COUNTS)
def test_the_next_epoch_begins_with_no_batch(progress: Progress) -> None:
    before = progress.state_dict()
    progress.next_epoch()
    assert progress.state_dict() == {**before, "epoch": before["epoch"] + 1, "batch": 0, "epoch_done": False}


def test_counts_of_a_run() -> None:
    trainer = fit(Net(), data(5), max_epochs=2, accumulate_grad_batches=2)
    assert trainer.progress == Progress(epoch=2, batch=0, batches=10, steps=6, windows=6, epoch_done=False)


class Rated(Net):
    """With schedulers that step after each update, after every second batch, and after each epoch."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        rates = [torch.optim.lr_scheduler.StepLR(optimizer, 1) for _ in range(3)]
        each: dict[str, Any] = {"scheduler": rates[0], "interval": "step"}
        second: dict[str, Any] = {"scheduler": rates[1], "interval": "step", "frequency": 2}
        return [optimizer], [each, second, rates[2]]


class Watching(Callback):
    """Writes down the counts of schedulers and of updates, in all and in the epoch, and whether training is done."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def _see(self, event: str, trainer: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        counts = (loop.scheduler_progress, loop.automatic_optimization.optim_progress.optimizer.step)
        numbers = [(one.total.completed, one.current.completed) for one in counts]
        self.seen[f"{event} {trainer.current_epoch}"] = (*numbers, trainer.fit_loop.done)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._see("start", trainer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._see("first", trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._see("end", trainer)


def test_steps_are_counted_in_the_epoch_and_in_all() -> None:
    """As Lightning 2.6.6 counts them: present counts begin anew with the first batch of an epoch."""
    watching = Watching()
    fit(Rated(), data(3), max_epochs=2, accumulate_grad_batches=2, callbacks=[watching])
    assert watching.seen == {
        "start 0": ((0, 0), (0, 0), False),
        "first 0": ((0, 0), (0, 0), False),
        "end 0": ((4, 4), (2, 2), False),
        "start 1": ((4, 4), (2, 2), False),
        "first 1": ((4, 0), (2, 0), False),
        "end 1": ((8, 4), (4, 2), True),
    }


def test_present_counts_begin_anew_and_the_total_stays() -> None:
    trainer = fit(Rated(), data(3), max_epochs=1)
    for counts in (trainer.fit_loop.epoch_loop.scheduler_progress,
                   trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step):  # fmt: skip
        before = counts.total.completed
        counts.reset()
        assert (counts.current.completed, counts.total.completed) == (0, before)
        counts.increment_completed()
        assert (counts.current.completed, counts.total.completed) == (1, before + 1)
    assert trainer.global_step == 4
