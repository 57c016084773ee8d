from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.checkpoint.lightning_layout import loops_of, progress_of
from fulmen.loops.progress import Progress
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.migration.utils import CURRENT, is_old, migrate_checkpoint, pl_legacy_patch

from .old import KEY, all_versions, checkpoint, loops

VERSIONS = pytest.mark.parametrize("version", all_versions())


@VERSIONS
def test_old_layouts_become_that_of_today(version: str) -> None:
    """They can be gone on from, and they name all that Lightning 2.6 looks for."""
    old = all_versions()[version]
    assert is_old(old)
    made, done = migrate_checkpoint(old)
    assert made is old and not is_old(made) and "2.0.0" in done
    assert (made["pytorch-lightning_version"], made["legacy_pytorch-lightning_version"]) == (CURRENT, version)
    progress = progress_of(made)
    assert (progress["epoch"], progress["steps"], progress["epoch_done"]) == (3, 10, False)
    assert set(made["callbacks"]) == {
        KEY % ("" if not version.startswith("1.9") else ", 'save_on_train_epoch_end': True")
    }
    today = loops_of(Progress().state_dict())["fit_loop"]
    lacking = {key for key in today if not key.startswith("epoch_loop.val_loop.")} - set(made["loops"]["fit_loop"])
    assert not lacking
    assert not [key for key in made["loops"]["fit_loop"] if "batch_loop" in key or "dataloader" in key]


@VERSIONS
def test_a_second_time_changes_nothing(version: str) -> None:
    made, _ = migrate_checkpoint(all_versions()[version])
    before = repr(made)
    assert migrate_checkpoint(made)[1] == {} and repr(made) == before


@VERSIONS
def test_a_run_goes_on(version: str, tmp_path: Path) -> None:
    """Three epochs are over, and the optimizer has stepped ten times."""
    torch.save(all_versions()[version], tmp_path / "old.ckpt")
    epochs = []

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            epochs.append(self.current_epoch)
            return self.layer(batch).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = pl.Trainer(max_epochs=5, accelerator="cpu", limit_val_batches=0, **off)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The checkpoint holds the states of callbacks")
        trainer.fit(Model(), DataLoader(torch.zeros(2, 2)), ckpt_path=str(tmp_path / "old.ckpt"))
    assert epochs == [3, 3, 4, 4] and trainer.global_step == 14


def test_states_at_the_top_go_to_their_callbacks() -> None:
    old = checkpoint("0.9.0", checkpoint_callback_best_model_path="x", early_stop_callback_wait=2, callbacks={})
    old.update(checkpoint_callback_best=1.5, early_stop_callback_patience=3)
    made, done = migrate_checkpoint(old)
    assert made["callbacks"] == {
        "ModelCheckpoint": {"best_model_path": "x", "best_model_score": 1.5},
        "EarlyStopping": {"wait_count": 2, "patience": 3},
    }
    assert "0.10.0" in done and not [key for key in made if "callback_" in key]


def test_up_to_a_version() -> None:
    made, done = migrate_checkpoint(checkpoint("1.5.0", loops=loops()), target_version="1.6.5")
    assert list(done) == ["1.6.0", "1.6.5"] and made["pytorch-lightning_version"] == "1.6.5"
    assert "epoch_loop.batch_loop.state_dict" in made["loops"]["fit_loop"]
    assert list(migrate_checkpoint(made)[1]) == ["1.9.0", "2.0.0"]
    assert made["legacy_pytorch-lightning_version"] == "1.5.0"


def test_apex_is_left_out() -> None:
    with pytest.warns(UserWarning, match="16-mixed"):
        made, _ = migrate_checkpoint(checkpoint("1.4.0", amp_scaling_state={"scale": 1}))
    assert "amp_scaling_state" not in made


def test_two_states_under_one_key() -> None:
    keys = [KEY % f", 'save_on_train_epoch_end': {value}" for value in (True, False)]
    with pytest.warns(UserWarning, match="give the callbacks different monitors"):
        made, _ = migrate_checkpoint(
            checkpoint("1.6.0", loops=loops(), callbacks={keys[0]: {"a": 1}, keys[1]: {"a": 2}})
        )
    assert made["callbacks"] == {KEY % "": {"a": 2}}


def test_a_checkpoint_of_tomorrow() -> None:
    with pytest.warns(UserWarning, match="upgrade Fulmen"):
        made, done = migrate_checkpoint({"pytorch-lightning_version": "99.0.0"})
    assert made == {"pytorch-lightning_version": "99.0.0"} and done == {}


@pytest.mark.parametrize("version", [None, 1.5])
def test_a_checkpoint_without_a_version(version: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"'pytorch-lightning_version'\] = '1.5.0'"):
        migrate_checkpoint({"pytorch-lightning_version": version, "state_dict": {}})


def test_weights_alone_stay_weights() -> None:
    made, _ = migrate_checkpoint({"pytorch-lightning_version": "1.6.0", "state_dict": {}, "global_step": 3})
    assert "optimizer_states" not in made and "loops" not in made


def test_names_in_files_of_classes_that_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written with modules under Lightning's names, and read where there are none."""
    package = ModuleType("pytorch_lightning.callbacks.early_stopping")
    package.EarlyStopping = type("EarlyStopping", (), {"__module__": package.__name__})  # type: ignore[attr-defined]
    tools = ModuleType("pytorch_lightning.utilities.argparse_utils")
    exec("def _gpus_arg_default(x): return x", vars(tools))
    with monkeypatch.context() as patch:
        for module in (package, tools):
            patch.setitem(sys.modules, module.__name__, module)
        old = checkpoint("1.4.0", callbacks={package.EarlyStopping: {"wait_count": 1}})
        old["hyper_parameters"] = {"gpus": tools._gpus_arg_default}
        torch.save(old, tmp_path / "old.ckpt")
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "old.ckpt", weights_only=True)
    with pl_legacy_patch():
        found = torch.load(tmp_path / "old.ckpt", weights_only=True)
    assert migrate_checkpoint(found)[0]["callbacks"] == {"EarlyStopping": {"wait_count": 1}}
    with pytest.raises(Exception, match="weights_only"):  # the names are allowed in the block alone
        torch.load(tmp_path / "old.ckpt", weights_only=True)
