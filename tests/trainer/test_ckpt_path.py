from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.trainer.ckpt_path import check_checkpoint, find_checkpoint
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.states import TrainerFn

from .runs import QUIET, Net, data, fit

FIT, VALIDATE = TrainerFn.FITTING, TrainerFn.VALIDATING


class Validates(Net):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", self(batch[0]).mean())


def fitted(**flags: Any) -> Trainer:
    checkpoint = ModelCheckpoint("ckpt", save_last=True)
    return fit(Validates(), data(1), data(1), enable_checkpointing=True, callbacks=[checkpoint], **flags)


def find(trainer: Trainer, path: Any, fn: TrainerFn = VALIDATE, model_given: bool = True) -> str | None:
    return find_checkpoint(trainer, path, fn, model_given)


def test_a_path_is_taken_as_it_is() -> None:
    trainer = Trainer(**QUIET)
    Path("some.ckpt").touch()
    assert find(trainer, "some.ckpt") == find(trainer, Path("some.ckpt")) == "some.ckpt"
    assert find(trainer, "s3://bucket/some.ckpt") == "s3://bucket/some.ckpt"
    with pytest.raises(FileNotFoundError, match=r"'none\.ckpt'\.\nWhat to do: check the path"):
        find(trainer, "none.ckpt")


def test_without_a_path_the_best_weights_evaluate_a_model_that_was_fitted() -> None:
    trainer = fitted()
    best = trainer.checkpoint_callback.best_model_path
    assert find(trainer, None, model_given=False) == best
    assert find(trainer, None) is None
    assert find(trainer, None, FIT, model_given=False) is None
    assert find(Trainer(**QUIET), None, model_given=False) is None
    trainer.validate(dataloaders=data(1), verbose=False)
    assert trainer.ckpt_path == best


def test_best_and_last() -> None:
    trainer = fitted()
    assert find(trainer, "best") == trainer.checkpoint_callback.best_model_path
    assert find(trainer, "last") == trainer.checkpoint_callback.last_model_path


def test_the_newest_is_the_last() -> None:
    trainer = fitted()
    first, second = Path(trainer.checkpoint_callback.last_model_path), Path("ckpt/last-v1.ckpt").absolute()
    second.write_bytes(first.read_bytes())
    os.utime(first, (1, 1))
    assert find(trainer, "last") == str(second)


def test_there_is_no_last_one() -> None:
    with pytest.warns(UserWarning, match="starts from the model as it is"):
        assert find(Trainer(**QUIET), "last", FIT) is None


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        ({}, r"callbacks=\[ModelCheckpoint\(monitor="),
        ({"enable_checkpointing": True}, "Call `trainer.fit` first"),
        ({"fast_dev_run": True}, "Leave out `ckpt_path`, or `fast_dev_run`"),
    ],
)
def test_there_is_no_best_one(flags: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValueError, match=advice) as caught:
        find(Trainer(**{**QUIET, **flags}), "best")
    assert '.validate(ckpt_path="best")' in str(caught.value)


def test_several_callbacks_save() -> None:
    callbacks = [ModelCheckpoint("a"), ModelCheckpoint("b", every_n_train_steps=1)]
    trainer = fit(Net(), enable_checkpointing=True, callbacks=callbacks)
    with pytest.warns(UserWarning, match="takes the best of the first"):
        assert find(trainer, "best") == callbacks[0].best_model_path


@pytest.mark.parametrize("content", [torch.ones(2), [1], {"weight": 1}])
def test_what_is_no_checkpoint(content: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"`x\.pt` is none\.\n.*\n.*model\.load_state_dict\("):
        check_checkpoint(content, "x.pt")
    check_checkpoint({"state_dict": {}}, "x.pt")
