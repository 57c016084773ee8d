"""Rows of ``docs/differences.md`` on what a checkpoint holds, and when it is saved.

Most scripts log the number of optimizer steps as their metric: then a file whose name or score is not its own
``global_step`` carries the metric of other weights.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from .differing import batches, both, model, steps_in, trainer


def _validating(self: Any, batch: Tensor, batch_idx: int) -> None:
    """A ``validation_step`` whose metric is the step that it judges."""
    self.log("step_judged", float(self.trainer.global_step))


def _saved(
    pl: Any, root: Path, flags: dict[str, Any], validate: bool = True, changes: Any = None, **checkpoint: Any
) -> tuple[dict[str, int], Any]:
    """Train epochs of eight batches; return the step at which each file was saved, and the callback."""
    folder = root / pl.__name__
    saving = pl.callbacks.ModelCheckpoint(folder, **checkpoint)
    module = model(pl, **{"validation_step": _validating, **(changes or {})})
    trainer(pl, callbacks=[saving], **flags).fit(module, batches(8), batches(1) if validate else None)
    return steps_in(folder), saving


def test_the_best_file_holds_the_weights_that_were_judged(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row 3. Saves every two steps, validation every three."""

    def judged(pl: Any) -> list[tuple[float, int]]:
        checkpoint: dict[str, Any] = {
            "monitor": "step_judged",
            "every_n_train_steps": 2,
            "save_top_k": -1,
            "filename": "{step}",
        }
        files, saving = _saved(pl, tmp_path, {"val_check_interval": 3}, **checkpoint)
        return [(score.item(), files[Path(path).stem]) for path, score in saving.best_k_models.items()]

    theirs, ours = both(lightning, fulmen, judged)
    assert ours == [(3.0, 3), (6.0, 6)]
    assert [pair for pair in theirs if pair[0] != pair[1]]


def test_the_best_file_of_a_run_is_the_best(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 3. One validation an epoch; the best is that of the first."""

    def best(pl: Any) -> tuple[float, int]:
        checkpoint: dict[str, Any] = {"monitor": "step_judged", "mode": "min", "every_n_train_steps": 4}
        files, saving = _saved(pl, tmp_path, {"max_epochs": 2}, **checkpoint)
        return saving.best_model_score.item(), files[Path(saving.best_model_path).stem]

    theirs, ours = both(lightning, fulmen, best)
    assert ours == (8.0, 8)
    assert theirs[0] == 8.0
    assert theirs[1] > 8


def test_the_last_file_holds_the_last_weights(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 17. The metric is at its best after the first epoch."""

    def last(pl: Any) -> int:
        checkpoint: dict[str, Any] = {"monitor": "step_judged", "mode": "min", "save_last": True}
        return _saved(pl, tmp_path, {"max_epochs": 3}, **checkpoint)[0]["last"]

    theirs, ours = both(lightning, fulmen, last)
    assert theirs == 8
    assert ours == 24


def test_the_last_file_is_there_before_training_ends(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 17. The third epoch fails, and nothing but the last weights is to be kept."""

    def on_train_epoch_start(self: Any) -> None:
        if self.current_epoch == 2:
            raise ZeroDivisionError

    def kept(pl: Any) -> dict[str, int]:
        changes = {"on_train_epoch_start": on_train_epoch_start}
        with contextlib.suppress(ZeroDivisionError):
            _saved(pl, tmp_path, {"max_epochs": 3}, changes=changes, save_top_k=0, save_last=True)
        return steps_in(tmp_path / pl.__name__)

    theirs, ours = both(lightning, fulmen, kept)
    assert theirs == {}
    assert ours == {"last": 16}


@pytest.mark.parametrize("trigger", [{}, {"every_n_train_steps": 8}], ids=["epochs", "steps"])
def test_all_are_kept_where_all_are_asked_for(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, trigger: dict[str, int]
) -> None:
    """Row 18. A name without a field, and nothing to be kept but everything."""

    def kept(pl: Any) -> list[int]:
        flags = {"max_epochs": 3}
        files, _ = _saved(pl, tmp_path, flags, validate=False, filename="mine", save_top_k=-1, **trigger)
        return sorted(files.values())

    theirs, ours = both(lightning, fulmen, kept)
    assert theirs == [24]
    assert ours == [8, 16, 24]


def test_epochs_without_validation_are_saved(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 19. A flag that is about validation, and no validation."""

    def kept(pl: Any) -> list[int]:
        flags = {"max_epochs": 3, "check_val_every_n_epoch": 2}
        files, _ = _saved(pl, tmp_path, flags, validate=False, save_top_k=-1)
        return sorted(files.values())

    theirs, ours = both(lightning, fulmen, kept)
    assert theirs == []
    assert ours == [8, 16, 24]


@pytest.mark.parametrize(("every", "made"), [(2, [2, 4, 6, 10, 11, 12, 14]), (8, [11])])
def test_a_save_on_an_epochs_last_batch_is_made(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, every: int, made: list[int]
) -> None:
    """Row 20. Two epochs of eight steps; the metric comes from training, and validation runs inside epochs."""

    def training_step(self: Any, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("index", float(batch_idx))
        loss: Tensor = self.layer(batch).mean()
        return loss

    def kept(pl: Any) -> list[int]:
        checkpoint: dict[str, Any] = {"monitor": "index", "every_n_train_steps": every, "save_top_k": -1}
        flags = {"max_epochs": 2, "val_check_interval": 3}
        files, _ = _saved(pl, tmp_path, flags, changes={"training_step": training_step}, **checkpoint)
        return sorted(files.values())

    theirs, ours = both(lightning, fulmen, kept)
    assert ours == list(range(every, 17, every))
    assert theirs == made


def test_a_failing_save_does_not_hide_why_training_ended(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row 21. The third batch fails, and then the disk does."""

    def training_step(self: Any, batch: Tensor, batch_idx: int) -> Tensor:
        if batch_idx == 2:
            raise ZeroDivisionError("the bug")
        loss: Tensor = self.layer(batch).mean()
        return loss

    def on_save_checkpoint(self: Any, checkpoint: Any) -> None:
        raise OSError("No space left on device")

    def raised(pl: Any) -> str:
        changes = {"training_step": training_step, "on_save_checkpoint": on_save_checkpoint}
        try:
            _saved(pl, tmp_path, {}, changes=changes, save_on_exception=True)
        except Exception as error:
            return str(error)
        return ""

    theirs, ours = both(lightning, fulmen, raised)
    assert theirs == "No space left on device"
    assert ours == "the bug"


def test_a_metric_in_a_name_is_that_of_the_file(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 22. Ranked by a metric of training, named for one of validation."""

    def named(pl: Any) -> list[str]:
        checkpoint: dict[str, Any] = {
            "every_n_train_steps": 2,
            "save_top_k": -1,
            "filename": "{step}-{step_judged:.0f}",
        }
        return sorted(_saved(pl, tmp_path, {"val_check_interval": 3}, **checkpoint)[0])

    theirs, ours = both(lightning, fulmen, named)
    assert "step=4-step_judged=3" in theirs
    assert ours == ["step=3-step_judged=3", "step=6-step_judged=6", "step=8-step_judged=none"]


@pytest.mark.parametrize("value", [torch.nn.ReLU(), torch.relu, Path("data")], ids=["module", "function", "path"])
def test_what_is_saved_can_be_loaded(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, value: Any) -> None:
    """Row 23. By `load_from_checkpoint` as it is, and to go on with training."""

    def loaded(pl: Any) -> tuple[str, str]:
        class Model(pl.LightningModule):
            def __init__(self, width: int, value: Any) -> None:
                super().__init__()
                self.save_hyperparameters()
                self.layer = torch.nn.Linear(width, 1)

            def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
                loss: Tensor = self.layer(batch).mean()
                return loss

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), 0.1)

        path = tmp_path / f"{pl.__name__}.ckpt"
        runner = trainer(pl)
        runner.fit(Model(2, value), batches(1))
        runner.save_checkpoint(path)
        missing = {} if isinstance(value, Path) else {"value": value}
        return (
            _attempt(lambda: Model.load_from_checkpoint(path, **missing)),
            _attempt(lambda: trainer(pl, max_epochs=2).fit(Model(2, value), batches(1), ckpt_path=path)),
        )

    theirs, ours = both(lightning, fulmen, loaded)
    assert theirs == ("UnpicklingError", "UnpicklingError")
    assert ours == ("done", "done")


def _attempt(act: Any) -> str:
    try:
        act()
    except Exception as error:
        return type(error).__name__
    return "done"
