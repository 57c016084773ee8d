"""darts: its neural models as its users write them."""

from __future__ import annotations

import numpy as np
import pytest
from darts import TimeSeries
from darts.models import (
    BlockRNNModel,
    DLinearModel,
    NBEATSModel,
    NHiTSModel,
    NLinearModel,
    RNNModel,
    TCNModel,
    TFTModel,
    TiDEModel,
    TransformerModel,
    TSMixerModel,
)
from darts.utils.callbacks import TFMProgressBar
from darts.utils.likelihood_models import GaussianLikelihood, QuantileRegression
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
SHAPE = {"input_chunk_length": 12, "output_chunk_length": 4, "n_epochs": 2, "random_state": 0, "batch_size": 16}


class Listener(Callback):
    def __init__(self):
        self.seen = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen.append([trainer.current_epoch, float(trainer.callback_metrics["train_loss"])])


@pytest.fixture
def series():
    months = np.arange(96)
    values = np.sin(months * np.pi / 6) + 0.01 * months + 0.1 * np.random.default_rng(0).standard_normal(96)
    return TimeSeries.from_values(values.astype(np.float32))


@pytest.mark.parametrize(
    "kind, more",
    [
        (BlockRNNModel, {"model": "GRU", "hidden_dim": 8}),
        (RNNModel, {"model": "LSTM", "hidden_dim": 8, "training_length": 16}),
        (NBEATSModel, {"num_stacks": 2, "num_blocks": 1, "num_layers": 1, "layer_widths": 8}),
        (NHiTSModel, {"num_stacks": 2, "num_blocks": 1, "num_layers": 1, "layer_widths": 8}),
        (TCNModel, {"kernel_size": 2, "num_filters": 2}),
        (TransformerModel, {"d_model": 8, "nhead": 2, "num_encoder_layers": 1, "num_decoder_layers": 1}),
        (TFTModel, {"hidden_size": 4, "num_attention_heads": 2, "add_relative_index": True}),
        (NLinearModel, {}),
        (DLinearModel, {"likelihood": GaussianLikelihood()}),
        (TiDEModel, {"hidden_size": 8, "likelihood": QuantileRegression([0.1, 0.5, 0.9])}),
        (TSMixerModel, {"hidden_size": 4, "ff_size": 4, "num_blocks": 1}),
    ],
)
def test_fit_and_predict(kind, more, series, tmp_path, record_property):
    shape = {**SHAPE, **more}
    if kind is RNNModel:
        del shape["output_chunk_length"]
    model = kind(**shape, pl_trainer_kwargs=QUIET, work_dir=str(tmp_path))
    model.fit(series[:-12], val_series=series[-24:])
    record_property("forecast", model.predict(6, num_samples=1).values().ravel().tolist())
    record_property("epochs", model.epochs_trained)


def test_saving_loading_and_going_on(series, tmp_path, record_property):
    model = NBEATSModel(**SHAPE, num_stacks=2, layer_widths=8, pl_trainer_kwargs=QUIET)
    model.fit(series[:-12])
    model.save(str(tmp_path / "model.pt"))
    again = NBEATSModel.load(str(tmp_path / "model.pt"))
    assert np.array_equal(again.predict(4, series[:-12]).values(), model.predict(4).values())
    again.fit(series[:-12], epochs=4)
    record_property("epochs", again.epochs_trained)
    record_property("forecast", again.predict(4, series[:-12]).values().ravel().tolist())


def test_checkpoints_of_the_best_and_the_last(series, tmp_path, record_property):
    shape = {**SHAPE, "n_epochs": 3}
    model = DLinearModel(
        **shape,
        model_name="m",
        work_dir=str(tmp_path),
        save_checkpoints=True,
        force_reset=True,
        pl_trainer_kwargs=QUIET,
    )
    model.fit(series[:-24], val_series=series[-36:])
    for best in (True, False):
        loaded = DLinearModel.load_from_checkpoint("m", work_dir=str(tmp_path), best=best)
        record_property(f"forecast {best}", loaded.predict(4, series[:-12]).values().ravel().tolist())
    weights = DLinearModel(**shape, pl_trainer_kwargs=QUIET)
    weights.load_weights_from_checkpoint("m", work_dir=str(tmp_path), best=False)
    record_property("weights", weights.predict(4, series[:-12]).values().ravel().tolist())
    assert sorted(p.suffix for p in tmp_path.rglob("*.ckpt")) == [".ckpt", ".ckpt"]


def test_early_stopping_callbacks_and_metrics(series, tmp_path, record_property):
    from torchmetrics import MeanAbsoluteError, MetricCollection

    listener = Listener()
    stopping = EarlyStopping("val_loss", patience=1, min_delta=10.0)
    checkpoint = ModelCheckpoint(
        tmp_path, monitor="val_loss", filename="{epoch}-{val_MeanAbsoluteError:.3f}", mode="max"
    )
    callbacks = [stopping, checkpoint, listener, TFMProgressBar()]
    model = NLinearModel(
        **{**SHAPE, "n_epochs": 10},
        model_name="m",
        work_dir=str(tmp_path / "own"),
        save_checkpoints=True,
        torch_metrics=MetricCollection([MeanAbsoluteError()]),
        pl_trainer_kwargs={**QUIET, "enable_progress_bar": True, "callbacks": callbacks},
    )
    model.fit(series[:-24], val_series=series[-36:])
    record_property("seen", listener.seen)
    record_property("stopped", stopping.stopped_epoch)
    record_property("best", checkpoint.best_model_path.split("/")[-1])


def test_rates_are_found(series, record_property):
    # Lightning's search ends with the epochs (row 61 of docs/differences.md), so there are enough of them.
    model = NLinearModel(**{**SHAPE, "n_epochs": 20}, pl_trainer_kwargs=QUIET)
    found = model.lr_find(series, min_lr=1e-4, max_lr=0.1, num_training=40)
    record_property("rate", found.suggestion())


def test_history_is_forecast(series, record_property):
    model = NLinearModel(**SHAPE, pl_trainer_kwargs=QUIET)
    past = model.historical_forecasts(series, start=80, forecast_horizon=4, retrain=5)
    record_property("past", past.values().ravel().tolist())


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_precision(precision, series, record_property):
    if precision == "64-true":
        series = series.astype(np.float64)
    model = NLinearModel(**SHAPE, pl_trainer_kwargs={**QUIET, "precision": precision})
    try:
        model.fit(series)
        record_property("forecast", model.predict(4).values().ravel().tolist())
    except Exception as error:
        record_property("refused", type(error).__name__)
