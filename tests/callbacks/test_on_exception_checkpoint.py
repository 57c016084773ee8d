from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.callbacks.progress.runs import Model, loader

from fulmen import Trainer
from fulmen.callbacks import OnExceptionCheckpoint
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore:.*there is no validation loader.*")
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "max_epochs": 2, "num_sanity_val_steps": 0,
}  # fmt: skip


class Failing(Model):
    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self.at, self.error = at, error

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.trainer.progress.batches == self.at:
            raise self.error
        return super().training_step(batch, batch_idx)


class BadTest(Model):
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        raise ValueError("wanted")


@pytest.mark.filterwarnings("ignore:The checkpoint was made in the middle of a step")
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, accumulate: int) -> None:
    def fit(at: int, start: str | None = None) -> tuple[Any, Any]:
        torch.manual_seed(3)
        module = Failing(at, ValueError("wanted"))
        callback = OnExceptionCheckpoint(tmp_path)
        trainer = Trainer(callbacks=[callback], accumulate_grad_batches=accumulate, **QUIET)
        try:
            trainer.fit(module, loader(6), ckpt_path=start)
        except ValueError:
            return callback.ckpt_path, trainer
        return module.layer.weight.detach(), trainer

    whole, trainer = fit(-1)
    path, failed = fit(8)
    assert path == str(tmp_path / "on_exception.ckpt")
    resumed, after = fit(-1, path)
    assert torch.equal(resumed, whole)
    assert (after.global_step, after.current_epoch) == (trainer.global_step, trainer.current_epoch)
    assert failed.global_step < after.global_step


def test_ctrl_c_saves(tmp_path: Path) -> None:
    callback = OnExceptionCheckpoint(tmp_path, "stopped")
    with pytest.raises(KeyboardInterrupt):
        Trainer(callbacks=[callback], **QUIET).fit(Failing(3, KeyboardInterrupt()), loader(6))
    assert torch.load(tmp_path / "stopped.ckpt", weights_only=True)["global_step"] == 3


def test_what_has_nothing_to_save_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "on_exception.ckpt"
    path.write_bytes(b"the one to go on from")
    for call, model in (("fit", Failing(0, ValueError("wanted"))), ("test", BadTest())):
        with pytest.raises(ValueError, match="wanted"):
            getattr(Trainer(callbacks=[OnExceptionCheckpoint(tmp_path)], **QUIET), call)(model, loader(2))
    assert path.read_bytes() == b"the one to go on from"


def test_a_save_that_fails_does_not_hide_the_error(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file where the folder would be")
    callback = OnExceptionCheckpoint(tmp_path / "folder")
    with pytest.warns(UserWarning, match="could not be saved"), pytest.raises(ValueError, match="wanted"):
        Trainer(callbacks=[callback], **QUIET).fit(Failing(2, ValueError("wanted")), loader(6))


def test_a_folder_is_needed() -> None:
    with pytest.raises(TypeError, match=r'OnExceptionCheckpoint\("checkpoints"\)'):
        OnExceptionCheckpoint(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["", None, 3])
def test_a_name_is_needed(wrong: Any) -> None:
    with pytest.raises(MisconfigurationException, match='write `filename="crashed"`'):
        OnExceptionCheckpoint("d", filename=wrong)
