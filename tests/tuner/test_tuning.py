from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tuner.models import SWEEP, Data, Model, files
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import BatchSizeFinder, LearningRateFinder
from fulmen.loggers import CSVLogger
from fulmen.tuner import Tuner
from fulmen.tuner.batch_size_scaling import _Search
from fulmen.tuner.lr_finder import _LRFinder


def test_with_everything_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loggers, checkpoints, bars, summaries and a profiler: no file before `fit`, and in `fit` those of `fit` alone."""
    monkeypatch.chdir(tmp_path)
    trainer = pl.Trainer(
        max_epochs=1, logger=CSVLogger(tmp_path), profiler="simple", accelerator="cpu", log_every_n_steps=1
    )
    model, data = Model(), Data()
    before = dict(vars(trainer)) if trainer.callbacks else {}
    tuner = Tuner(trainer)
    found = tuner.lr_find(model, datamodule=data, num_training=20, **SWEEP)
    size = tuner.scale_batch_size(model, datamodule=data, max_trials=2)
    assert isinstance(found, _LRFinder) and model.lr == found.suggestion() and size == 4
    assert vars(trainer) == before
    assert files(tmp_path) == []
    assert "Finding best initial lr: 100%" in capsys.readouterr().err
    trainer.fit(model, datamodule=data)
    version = tmp_path / "lightning_logs" / "version_0"
    assert len((version / "metrics.csv").read_text().splitlines()) == 10  # seven steps, validation, epoch, header
    assert [path.name for path in (version / "checkpoints").iterdir()] == ["epoch=0-step=7.ckpt"]
    assert trainer.profiler.summary().count("[Callback]LearningRateFinder") == 0


def test_logs_and_checkpoints_beside_the_callbacks(tmp_path: Path) -> None:
    """What a module logs in a trial reaches nobody, and the bar of the run is not disturbed."""
    logger = CSVLogger(tmp_path)
    finders = [LearningRateFinder(num_training_steps=20, **SWEEP), BatchSizeFinder(max_trials=2)]
    trainer = pl.Trainer(max_epochs=1, logger=logger, callbacks=finders, accelerator="cpu", log_every_n_steps=1)
    trainer.fit(Model(), datamodule=Data())
    rows = Path(logger.log_dir, "metrics.csv").read_text().splitlines()
    assert len(rows) == 10 and trainer.global_step == 7
    assert trainer.progress.batches == 7


def test_a_model_that_draws_in_setup_and_fails_there() -> None:
    class Failing(Model):
        def setup(self, stage: str) -> None:
            self.steps = 7
            torch.rand(3)
            raise ValueError("not ready")

    model, data = Failing(), Data()
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    state = torch.get_rng_state()
    for tune in (Tuner(trainer).lr_find, Tuner(trainer).scale_batch_size):
        with pytest.raises(ValueError, match="not ready"):
            tune(model, datamodule=data)
    assert model.steps == 0 and model.head is None and not hasattr(data, "samples") and data.calls == []
    assert torch.equal(torch.get_rng_state(), state)


def test_hooks_see_a_run(tmp_path: Path) -> None:
    """In a trial the Trainer is in `fit`, at the counts of the run, with a logger that keeps nothing."""
    facts: list[Any] = []

    class Asking(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            trainer = self.trainer
            self.logger.experiment.add_scalar("a", 1)  # type: ignore[union-attr]
            facts.append((trainer.training, trainer.current_epoch, trainer.global_step, trainer.num_training_batches))
            return super().training_step(batch, batch_idx)

    trainer = pl.Trainer(logger=CSVLogger(tmp_path), enable_checkpointing=False, enable_progress_bar=False)
    Tuner(trainer).lr_find(Asking(), datamodule=Data(), num_training=10, update_attr=False, **SWEEP)
    assert facts == [(True, step // 7, step, 7) for step in range(10)]
    assert files(tmp_path) == []


def test_inner_names() -> None:
    assert _Search(lambda size: size <= 5, lambda: None, 64).run("binsearch", 2, 25, 0.0) == 5


@pytest.mark.parametrize("several", [False, True])
def test_loaders_as_arguments(several: bool) -> None:
    data = Data()
    data.setup("fit")
    loader = DataLoader(data.samples, 4)
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    found = Tuner(trainer).lr_find(
        Model(), [loader, loader] if several else loader, loader, num_training=12, update_attr=False, **SWEEP
    )
    assert found is not None and len(found.results["lr"]) == 12
