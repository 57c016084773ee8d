"""neuralforecast: fit, predict, cross-validate, save, load and tune."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import GRU, LSTM, MLP, NBEATS, NHITS, TFT, DLinear, PatchTST, TSMixer

SHAPE = {"h": 4, "input_size": 12, "max_steps": 4, "accelerator": "cpu", "random_seed": 1}
SHAPE |= {"enable_progress_bar": False, "logger": False, "enable_model_summary": False}


@pytest.fixture
def table():
    draw = np.random.default_rng(0)
    dates = pd.date_range("2015-01-31", periods=80, freq="ME")
    rows = [
        pd.DataFrame({"unique_id": name, "ds": dates, "y": np.sin(np.arange(80) / 2) + 0.1 * draw.standard_normal(80)})
        for name in ("a", "b")
    ]
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize(
    "kind, more",
    [
        (MLP, {"hidden_size": 8}),
        (NHITS, {"mlp_units": 3 * [[8, 8]]}),
        (NBEATS, {"mlp_units": 3 * [[8, 8]], "loss": MQLoss(level=[80])}),
        (GRU, {"encoder_hidden_size": 8}),
        (LSTM, {"encoder_hidden_size": 8, "val_check_steps": 2, "early_stop_patience_steps": 1}),
        (TFT, {"hidden_size": 8, "n_head": 2}),
        (DLinear, {}),
        (PatchTST, {"hidden_size": 8, "n_heads": 2, "patch_len": 4}),
        (TSMixer, {"n_series": 2, "n_block": 1, "ff_dim": 8}),
    ],
)
def test_fit_and_predict(kind, more, table, tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    forecast = NeuralForecast([kind(**SHAPE, **more)], freq="ME")
    forecast.fit(table, val_size=8)
    numbers = forecast.predict().select_dtypes("number")
    record_property("forecast", numbers.to_numpy().ravel().tolist())
    model = forecast.models[0]
    record_property("losses", [list(map(float, pair)) for pair in model.train_trajectories + model.valid_trajectories])


def test_saving_and_loading(table, tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    forecast = NeuralForecast([NHITS(**SHAPE)], freq="ME")
    forecast.fit(table)
    forecast.save(str(tmp_path / "saved"), overwrite=True)
    again = NeuralForecast.load(str(tmp_path / "saved"))
    expected = forecast.predict()["NHITS"].tolist()
    assert again.predict(df=table)["NHITS"].tolist() == expected
    record_property("forecast", expected)


def test_cross_validation(table, tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    forecast = NeuralForecast([MLP(**SHAPE, hidden_size=8)], freq="ME")
    record_property("past", forecast.cross_validation(table, n_windows=3, refit=True)["MLP"].tolist())


def test_tuning_with_optuna(table, tmp_path, monkeypatch, record_property):
    import optuna
    from neuralforecast.auto import AutoMLP

    monkeypatch.chdir(tmp_path)

    def config(trial):
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        return {k: v for k, v in SHAPE.items() if k != "h"} | {"learning_rate": rate, "hidden_size": 8}

    auto = AutoMLP(h=4, config=config, backend="optuna", num_samples=3, search_alg=optuna.samplers.RandomSampler(0))
    forecast = NeuralForecast([auto], freq="ME")
    forecast.fit(table, val_size=8)
    record_property("values", [trial.value for trial in forecast.models[0].results.trials])
