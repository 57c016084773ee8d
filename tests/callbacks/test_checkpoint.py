from __future__ import annotations

from fulmen.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint


def test_those_that_judge_an_epoch_say_so() -> None:
    assert Checkpoint.judges_epoch and ModelCheckpoint.judges_epoch and EarlyStopping.judges_epoch
    assert not hasattr(Callback, "judges_epoch")


def test_a_checkpoint_is_a_callback() -> None:
    assert isinstance(Checkpoint(), Callback) and issubclass(ModelCheckpoint, Checkpoint)
