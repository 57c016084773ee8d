"""Every checkpoint holds the weights that earned the metric it is named and ranked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import fulmen as pl


class CountsItsSteps(pl.LightningModule):
    """Its only weight counts optimizer steps, and so does the metric that validation logs."""

    def __init__(self) -> None:
        super().__init__()
        self.count = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.log("train_step", float(self.trainer.global_step + 1))
        return self.count * batch.mean()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_step", float(self.trainer.global_step))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.mark.filterwarnings("ignore:.*saved nothing")  # where the last validation comes before the first save
@given(
    trigger=st.none() | st.tuples(st.sampled_from(["every_n_train_steps", "every_n_epochs"]), st.integers(1, 5)),
    validate_every=st.sampled_from([1, 2, 3, 5, 0.5, 1.0]),
    accumulate=st.integers(1, 3),
    batches=st.integers(5, 7),
    every_n_epoch=st.sampled_from([1, 1, 2, None]),
    loaders=st.integers(1, 3),
    mode=st.sampled_from(["max", "min"]),
    save_on_train_epoch_end=st.sampled_from([None, True, False]),
    save_top_k=st.sampled_from([-1, 1, 2]),
    save_last=st.sampled_from([None, True, "link"]),
)
def test_every_metric_is_that_of_its_weights(
    tmp_path_factory: pytest.TempPathFactory,
    trigger: tuple[str, int] | None,
    validate_every: float,
    accumulate: int,
    batches: int,
    every_n_epoch: int | None,
    loaders: int,
    mode: str,
    save_on_train_epoch_end: bool | None,
    save_top_k: int,
    save_last: Any,
) -> None:
    root = tmp_path_factory.mktemp("run")
    key = "val_step" if loaders == 1 else f"val_step/dataloader_idx_{loaders - 1}"
    checkpoint = pl.callbacks.ModelCheckpoint(
        monitor=key,
        mode=mode,
        filename="{step}-{val_step:.0f}" if loaders == 1 else "{step}",
        save_top_k=save_top_k,
        save_last=save_last,
        save_on_train_epoch_end=save_on_train_epoch_end,
        **dict([trigger] if trigger else []),  # type: ignore[arg-type]
    )
    trainer = pl.Trainer(
        default_root_dir=root,
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[checkpoint],
        accumulate_grad_batches=accumulate,
        val_check_interval=validate_every,
        check_val_every_n_epoch=every_n_epoch if every_n_epoch or isinstance(validate_every, int) else 1,
    )
    validation = [DataLoader(torch.ones(1, 1)) for _ in range(loaders)]
    trainer.fit(CountsItsSteps(), DataLoader(torch.ones(batches, 1)), validation)
    check(root / "checkpoints", checkpoint, key if loaders == 1 else None)


def test_a_metric_of_training_steps_is_saved_at_once(tmp_path: Path) -> None:
    checkpoint = pl.callbacks.ModelCheckpoint(
        monitor="train_step", mode="max", filename="{step}-{train_step:.0f}", save_top_k=-1, every_n_train_steps=2
    )
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        max_steps=6,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[checkpoint],
        limit_val_batches=0,
    )
    trainer.fit(CountsItsSteps(), DataLoader(torch.ones(4, 1)), DataLoader(torch.ones(1, 1)))
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {f"step={step}-train_step={step}.ckpt" for step in (2, 4, 6)}
    check(tmp_path / "checkpoints", checkpoint, key="train_step")


def check(folder: Path, checkpoint: pl.callbacks.ModelCheckpoint, key: str | None) -> None:
    """The weights' own count is the judge: of the step in the file, of the label, and of the score."""
    for path in folder.glob("*.ckpt"):
        content = torch.load(path, weights_only=False)
        count = -int(content["state_dict"]["count"])
        assert content["global_step"] == count
        if path.name.startswith("last"):
            continue
        assert path.name == (f"step={count}-{key}={count}.ckpt" if key else f"step={count}.ckpt")
        assert checkpoint.best_k_models[str(path)] == count
        state = content["callbacks"][checkpoint.state_key]
        assert state["best_k_models"][str(path)] == state["current_score"] == count
    assert all(Path(path).exists() for path in checkpoint.best_k_models)
