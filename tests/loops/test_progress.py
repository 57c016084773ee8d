from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.runs import Net, data, fit

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
