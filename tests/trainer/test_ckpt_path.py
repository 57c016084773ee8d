from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from tests.runs import QUIET, Net, data, fit

from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.checkpoint.store import atomic_save
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.trainer.ckpt_path import check_checkpoint, find_checkpoint
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.safe_load import DamagedCheckpointError
from fulmen.utilities.states import TrainerFn
from fulmen.utilities.whole_files import is_remote

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


def damage(path: Any) -> None:
    """Flips a bit as a disk does, which leaves the date as it was."""
    path, date = Path(path), os.stat(path).st_mtime_ns
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(date, date))


def saving(*folders: Any, **flags: Any) -> Trainer:
    callbacks = [ModelCheckpoint(folder, every_n_epochs=1 + place) for place, folder in enumerate(folders)]
    return Trainer(**{**QUIET, "enable_checkpointing": True, "callbacks": callbacks, **flags})


def saved(path: Any, step: int = 1, resumable: bool = True) -> str:
    atomic_save({"global_step": step, **({"optimizer_states": []} if resumable else {})}, path)
    return path if is_remote(str(path)) else str(Path(path).absolute())


def test_the_newest_whole_one_is_the_last_and_each_broken_one_is_named() -> None:
    paths = [saved(f"a/{name}.ckpt") for name in ("first", "second", "last", "fourth")]
    trainer = saving("a")
    assert find(trainer, "last", FIT) == find(trainer, "auto", FIT) == paths[3]
    damage(paths[3])
    with pytest.warns(UserWarning, match=r"fourth\.ckpt is damaged, and passed over: .*digest differs"):
        assert find(trainer, "last", FIT) == paths[2]
    Path(paths[2]).write_bytes(Path(paths[2]).read_bytes()[:-1])
    with pytest.warns(UserWarning) as told:
        assert find(trainer, "auto", FIT) == paths[1]
    assert sorted(name for one in told for name in ("fourth", "last") if f"{name}.ckpt" in str(one.message)) == [
        "fourth", "last",
    ]  # fmt: skip


def test_the_newest_of_all_callbacks() -> None:
    first, second = saved("a/x.ckpt"), saved("b/y.ckpt")
    trainer = saving("a", "b", "none")
    assert find(trainer, "last") == second
    assert saved(first) == find(trainer, "last") == first


def test_the_last_may_be_a_link_a_folder_or_a_file_of_others() -> None:
    path = saved("a/epoch=0-step=1.ckpt")
    os.symlink("epoch=0-step=1.ckpt", "a/last.ckpt")
    os.symlink("nowhere", "a/last-v1.ckpt")
    trainer = saving("a")
    assert os.path.realpath(str(find(trainer, "last"))) == path
    torch.save({"state_dict": {}}, "a/epoch=1-step=2.ckpt")
    assert find(trainer, "last") == os.path.abspath("a/epoch=1-step=2.ckpt")
    torch.save({"state_dict": {}}, "a/pretrained.ckpt")  # it was put there, and nobody knows what it is
    assert find(trainer, "last") == os.path.abspath("a/epoch=1-step=2.ckpt")
    os.mkdir("a/last-v2.ckpt")
    assert find(trainer, "last") == os.path.abspath("a/last-v2.ckpt")


def test_training_goes_on_only_from_what_holds_its_state() -> None:
    whole, weights = saved("a/whole.ckpt"), saved("a/weights.ckpt", resumable=False)
    trainer = saving("a")
    assert find(trainer, "last", FIT) == whole
    assert find(trainer, "last", VALIDATE) == weights


def test_names_with_folders_in_them_are_found() -> None:
    path = saved("a/sub/epoch=0.ckpt")
    saved("a/sub/deeper/epoch=1.ckpt")
    callback = ModelCheckpoint("a", filename="sub/{epoch}")
    assert find(saving(callbacks=[callback]), "last") == path


def test_a_remote_last_one() -> None:
    saved("memory://runs/a/first.ckpt")
    path = saved("memory://runs/a/second.ckpt")
    trainer = saving("memory://runs/a")
    assert find(trainer, "last") == path
    memory = fsspec.filesystem("memory")
    memory.pipe("/runs/a/second.ckpt", memory.cat("/runs/a/second.ckpt")[:-1])
    with pytest.warns(UserWarning, match=r"second\.ckpt is damaged, and passed over"):
        assert find(trainer, "last") == "memory://runs/a/first.ckpt"


def counted(version: Any = None) -> Trainer:
    return saving(None, logger=CSVLogger("logs", "mine", version))


def test_the_folder_of_a_killed_run_is_found_from_a_new_version() -> None:
    first, second = (saved(f"logs/mine/version_{number}/checkpoints/x.ckpt") for number in (0, 10))
    os.makedirs("logs/mine/version_11/checkpoints")
    saved("logs/other/version_12/checkpoints/x.ckpt")
    saved("logs/mine/named/checkpoints/x.ckpt")
    trainer = counted()
    assert trainer.logger is not None and trainer.logger.version == 12
    assert find(trainer, "last") == find(trainer, "auto") == second
    damage(second)
    with pytest.warns(UserWarning, match="version_10.* is damaged, and passed over"):
        assert find(counted(), "last") == first


def test_a_run_of_its_own_does_not_go_on_from_another_one() -> None:
    """A version that has files, or a name, or a folder that was asked for."""
    own = saved("logs/mine/version_1/checkpoints/x.ckpt")
    for number in (0, 2):
        saved(f"logs/mine/version_{number}/checkpoints/x.ckpt")
    assert find(counted(1), "last") == own
    for trainer in (counted("named"), saving("here", logger=CSVLogger("logs", "mine"))):
        assert find(trainer, "auto") is None


@pytest.mark.parametrize("fn", [FIT, VALIDATE, TrainerFn.TESTING, TrainerFn.PREDICTING])
def test_auto_starts_anew_in_silence_where_there_is_nothing(fn: TrainerFn) -> None:
    for trainer in (Trainer(**QUIET), saving("a"), counted()):
        assert find(trainer, "auto", fn) is None
    damage(saved("a/x.ckpt"))
    with (
        pytest.warns(UserWarning, match="no file can be gone on from, so"),
        pytest.warns(UserWarning, match=r"x\.ckpt is damaged, and passed over") as told,
    ):
        assert find(saving("a"), "auto", fn) is None
    assert len([one for one in told if "damaged" in str(one.message)]) == 1
    with pytest.warns(UserWarning, match="model (is used )?as it is"):
        assert find(saving("b"), "last", fn) is None


@pytest.mark.filterwarnings("ignore:The folder of checkpoints .* is not empty")
def test_auto_goes_on_and_ends_where_one_run_would() -> None:
    for epochs in (1, 2):
        trainer = saving("ckpt", max_epochs=epochs)
        trainer.fit(Net(), data(2), ckpt_path="auto")
        assert trainer.global_step == 2 * epochs
        assert (trainer.ckpt_path is None) == (epochs == 1)


def test_the_next_best_where_the_best_is_damaged() -> None:
    callback = ModelCheckpoint("a", monitor="loss", mode="max", save_top_k=3)
    paths = [saved(f"a/{score}.ckpt") for score in (1, 3, 2)]
    callback.best_k_models = {path: torch.tensor(float(score)) for path, score in zip(paths, (1, 3, 2), strict=True)}
    callback.best_model_path = paths[1]
    trainer = saving(callbacks=[callback])
    assert find(trainer, "best") == paths[1]
    damage(paths[1])
    with pytest.warns(UserWarning, match=r"3\.ckpt is damaged or gone, and passed over"):
        assert find(trainer, "best") == paths[2]
    with pytest.warns(UserWarning, match=r"3\.ckpt is damaged or gone, and passed over"):
        assert find(trainer, None, model_given=False) == paths[2]
    os.remove(paths[2])
    damage(paths[0])
    with pytest.warns(UserWarning, match="is damaged or gone, and passed over"):
        assert find(trainer, "best") == paths[1]  # and reading it says what is wrong


def test_a_damaged_path_is_an_error_that_offers_the_one_before() -> None:
    trainer = fit(Net(), data(4), enable_checkpointing=True, callbacks=[keeps_all()])
    first, second = sorted(map(str, Path("ckpt").glob("*.ckpt")))
    damage(second)
    with pytest.raises(DamagedCheckpointError, match=f"Load the newest whole checkpoint before it: `{first}`"):
        Trainer(**QUIET).fit(Net(), data(4), ckpt_path=second)
    assert trainer.global_step == 4


def keeps_all() -> ModelCheckpoint:
    return ModelCheckpoint("ckpt", every_n_train_steps=2, save_top_k=-1)


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
