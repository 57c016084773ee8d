"""pytorch-tabular: fit, evaluate, predict, save, load and the search for a rate. Its own tests need the internet."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import CategoryEmbeddingModelConfig, FTTransformerConfig, GANDALFConfig


@pytest.fixture
def table():
    draw = np.random.default_rng(0)
    made = pd.DataFrame(draw.standard_normal((200, 3)), columns=["a", "b", "c"])
    made["kind"] = draw.choice(["x", "y", "z"], 200)
    made["target"] = made["a"] * 2 + (made["kind"] == "x") * 3 + 0.1 * draw.standard_normal(200)
    return made


def model_of(config, folder, **more):
    trainer = {"max_epochs": 3, "batch_size": 32, "accelerator": "cpu", "progress_bar": "none", "seed": 1}
    trainer |= {"checkpoints_path": str(folder / "saved"), "trainer_kwargs": {"enable_model_summary": False}}
    return TabularModel(
        data_config=DataConfig(target=["target"], continuous_cols=["a", "b", "c"], categorical_cols=["kind"]),
        model_config=config,
        optimizer_config=OptimizerConfig(),
        trainer_config=TrainerConfig(**{**trainer, **more}),
        verbose=False,
    )


@pytest.mark.parametrize(
    "config",
    [
        CategoryEmbeddingModelConfig(task="regression", layers="8-4"),
        GANDALFConfig(task="regression", gflu_stages=2),
        FTTransformerConfig(task="regression", input_embed_dim=8, num_heads=2, num_attn_blocks=1),
    ],
    ids=lambda config: type(config).__name__,
)
def test_fit_evaluate_predict(config, table, tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    model = model_of(config, tmp_path, early_stopping="valid_loss", early_stopping_patience=1)
    model.fit(train=table[:150], validation=table[150:])
    record_property("metrics", [dict(found) for found in model.evaluate(table[150:], verbose=False)])
    expected = model.predict(table[150:]).to_numpy().ravel().tolist()
    record_property("forecast", expected)
    model.save_model(str(tmp_path / "model"))
    again = TabularModel.load_model(str(tmp_path / "model"))
    assert again.predict(table[150:]).to_numpy().ravel().tolist() == expected


def test_the_rate_is_found(table, tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    model = model_of(CategoryEmbeddingModelConfig(task="regression", layers="8-4"), tmp_path, auto_lr_find=True)
    model.fit(train=table[:150], validation=table[150:])
    record_property("steps", model.trainer.global_step)
