"""The progress in our files and in Lightning's: each goes on from the other's at the right epoch, batch and step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from fulmen.checkpoint.lightning_layout import loops_of, progress_of
from fulmen.loops.progress import Progress

from .scenarios import quiet

BATCHES, EPOCHS = 4, 3
CASES = pytest.mark.parametrize(
    ("manual", "flags"),
    [
        (False, {}),
        (False, {"accumulate_grad_batches": 3, "limit_val_batches": 0}),
        (False, {"val_check_interval": 2}),
        (True, {}),
    ],
    ids=["plain", "accumulation", "validation in the middle", "manual"],
)


def _module(package: ModuleType, manual: bool) -> Any:
    class Model(package.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)
            self.automatic_optimization = not manual

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch[0]).mean()
            if manual:
                for _ in range(2):
                    self.optimizers().step()
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            pass

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    return Model()


def _fit(package: ModuleType, callback: Any, manual: bool, epochs: int, path: str | None = None, **flags: Any) -> Any:
    data: Any = DataLoader(TensorDataset(torch.ones(2 * BATCHES, 2)), batch_size=2)
    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = package.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=[callback], num_sanity_val_steps=0, **off, **flags
    )
    trainer.fit(_module(package, manual), data, data, ckpt_path=path)
    return trainer


def _snapshots(package: ModuleType, manual: bool, flags: dict[str, Any]) -> list[tuple[str, dict[str, Any], Any]]:
    """Checkpoints of a run of two epochs: where each was taken, the file, and our counts if the run is ours."""
    found = []

    class Save(package.Callback):  # type: ignore[name-defined, misc]
        def save(self, trainer: Any, where: str) -> None:
            trainer.save_checkpoint("snapshot.ckpt")
            counts = asdict(trainer.progress) if hasattr(trainer, "progress") else None
            found.append((where, torch.load("snapshot.ckpt", weights_only=True), counts))

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.save(trainer, "batch")

        def on_validation_end(self, trainer: Any, module: Any) -> None:
            self.save(trainer, "validation")

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            self.save(trainer, "epoch")

    saving = Save()
    trainer = _fit(package, saving, manual, 2, **flags)
    saving.save(trainer, "fit")
    return found


def _continued(package: ModuleType, checkpoint: dict[str, Any], manual: bool, flags: dict[str, Any]) -> Any:
    """The epoch, batch and step of each batch that a resumed run sees, and its last counts."""
    seen: list[tuple[int, int, int]] = []

    class Watch(package.Callback):  # type: ignore[name-defined, misc]
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            seen.append((trainer.current_epoch, batch_idx, trainer.global_step))

    torch.save(checkpoint, "resumed.ckpt")
    trainer = _fit(package, Watch(), manual, EPOCHS, "resumed.ckpt", **flags)
    return seen, trainer.global_step, trainer.current_epoch


def _rest(manual: bool, flags: dict[str, Any], batches: int, steps: int) -> Any:
    """What a run that goes on after a count of batches has to see."""
    window = flags.get("accumulate_grad_batches", 1)
    seen = []
    for count in range(batches, EPOCHS * BATCHES):
        epoch, batch = divmod(count, BATCHES)
        seen.append((epoch, batch, steps))
        steps += 2 if manual else int((batch + 1) % window == 0 or batch + 1 == BATCHES)
    return seen, steps, EPOCHS


def _check(run: Callable[[], Any]) -> Any:
    with quiet():
        return run()


@CASES
def test_counts_of_lightnings_files(lightning: ModuleType, manual: bool, flags: dict[str, Any]) -> None:
    snapshots = _check(lambda: _snapshots(lightning, manual, flags))
    batches = 0
    for where, checkpoint, _ in snapshots:
        batches += where == "batch"
        epoch, batch = divmod(batches, BATCHES)
        done = batch == 0 and where != "fit"
        counts = progress_of(checkpoint)
        expected = {
            "epoch": epoch - done,
            "batch": BATCHES if done else batch,
            "batches": batches,
            "steps": checkpoint["global_step"],
            "windows": batches if manual else checkpoint["global_step"],
            "epoch_done": done,
        }
        assert counts == expected, where
        Progress().load_state_dict(counts)


@CASES
def test_lightning_goes_on_from_our_counts(
    lightning: ModuleType, fulmen: ModuleType, manual: bool, flags: dict[str, Any]
) -> None:
    snapshots = _check(lambda: _snapshots(fulmen, manual, flags))
    assert len(snapshots) > 2 * BATCHES
    for where, checkpoint, counts in snapshots:
        theirs = {key: value for key, value in checkpoint.items() if key != "fulmen"}
        theirs["loops"] = loops_of(counts)
        found = _check(lambda theirs=theirs: _continued(lightning, theirs, manual, flags))
        assert found == _rest(manual, flags, counts["batches"], checkpoint["global_step"]), (where, counts)


@CASES
def test_our_entry_has_the_shape_of_lightnings(lightning: ModuleType, manual: bool, flags: dict[str, Any]) -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items() if key != "_batches_that_stepped"}
        return type(value)

    for where, checkpoint, _ in _check(lambda: _snapshots(lightning, manual, flags)):
        ours = loops_of(progress_of(checkpoint))
        assert shape(ours) == shape(checkpoint["loops"]), where
        assert progress_of({**checkpoint, "loops": ours}) == progress_of(checkpoint)


def test_a_file_without_loops_counts_as_an_epochs_end() -> None:
    counts = progress_of({"epoch": 3, "global_step": 40})
    assert counts == {"epoch": 3, "batch": 0, "batches": 0, "steps": 40, "windows": 40, "epoch_done": True}
