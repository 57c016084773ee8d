from __future__ import annotations

from typing import Any

import pytest

from fulmen.demos import boring_classes as demos
from fulmen.trainer.trainer import Trainer

OFF: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "limit_train_batches": 2,
    "limit_val_batches": 2,
    "limit_test_batches": 2,
    "limit_predict_batches": 2,
}


@pytest.mark.filterwarnings("ignore:There is a validation loader")
@pytest.mark.parametrize("model", [demos.BoringModel, demos.ManualOptimBoringModel, demos.DemoModel])
@pytest.mark.parametrize("data", [None, demos.BoringDataModule, demos.BoringDataModuleNoLen])
def test_all_run(model: Any, data: Any) -> None:
    """Each model on each data, in each of the Trainer's methods."""
    if data is None and model is demos.DemoModel:
        data = demos.BoringDataModule
    module, trainer = model(), Trainer(**OFF)
    given = {} if data is None else {"datamodule": data()}
    trainer.fit(module, **given)
    assert trainer.global_step == 2
    if model is not demos.DemoModel:
        trainer.validate(module, **given, verbose=False)
        trainer.test(module, **given, verbose=False)
    predictions = trainer.predict(module, **given)
    assert predictions is not None and len(predictions) == 2


def test_two_loaders_a_stage() -> None:
    class Model(demos.BoringModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = demos.nn.Linear(4, 2)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            one, other = batch
            return self.step(one) + self.step(other)

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return self.step(batch)

    trainer = Trainer(**OFF)
    trainer.fit(Model(), datamodule=demos.IterableBoringDataModule())
    assert trainer.global_step == 2
