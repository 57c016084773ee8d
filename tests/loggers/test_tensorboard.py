from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from fulmen.loggers import event_package
from fulmen.loggers.media import Histogram, Image, Text
from fulmen.loggers.tensorboard import TensorBoardLogger
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def load(folder: str | Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def curve(folder: str | Path, name: str) -> list[tuple[int, float]]:
    events = sorted(load(folder).Scalars(name), key=lambda event: event.wall_time)  # files come in their names' order
    return [(event.step, event.value) for event in events]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
        self.example_input_array: Tensor | None = torch.ones(2, 3)
        self.net[1].eval()  # frozen

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def test_tensorboard_reads_every_value_back(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    values = torch.linspace(-1, 1, 50).tolist()
    for step, value in enumerate(values):
        logger.log_metrics({"loss": value, "group/acc": torch.tensor([2 * value]), "epoch": step // 10}, 3 * step)
        logger.save()
    logger.log_metrics({"on": True, "f32": np.float32(0.5), "nan": float("nan")}, 1)
    logger.finalize("success")
    events = load(logger.log_dir)
    assert set(events.Tags()["scalars"]) == {"loss", "group/acc", "epoch", "on", "f32", "nan"}
    assert curve(logger.log_dir, "loss") == [(3 * step, pytest.approx(value)) for step, value in enumerate(values)]
    assert [event.value for event in events.Scalars("epoch")] == [step // 10 for step in range(50)]
    assert curve(logger.log_dir, "on") == [(1, 1.0)]


def test_several_runs_of_one_logger_make_one_curve(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    for step in range(3):
        logger.log_metrics({"a": step}, step)
        logger.finalize("success")
    assert curve(logger.log_dir, "a") == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_dictionary_becomes_several_curves_of_one_chart(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"loss": {"train": 1.0, "val": torch.tensor(2.0)}, "a": 3.0}, 5)
    logger.finalize("success")
    assert curve(logger.log_dir, "a") == [(5, 3.0)]
    assert curve(Path(logger.log_dir, "loss_train"), "loss") == [(5, 1.0)]
    assert curve(Path(logger.log_dir, "loss_val"), "loss") == [(5, 2.0)]


@pytest.mark.parametrize(
    ("metrics", "remedy"),
    [
        ({"a": "text"}, "log_hyperparams"),
        ({"a": None}, "Log a float"),
        ({"a": torch.ones(2)}, r"Log `value.mean\(\)`"),
        ({"a": {"b": "text"}}, "log_hyperparams"),
        ({3: 1.0}, 'Log it as `"3"`'),
        (1.0, r"log_metrics\(\{"),
    ],
)
def test_what_is_no_number_is_refused(tmp_path: Path, metrics: Any, remedy: str) -> None:
    logger = TensorBoardLogger(tmp_path)
    with pytest.raises(MisconfigurationException, match=remedy):
        logger.log_metrics(metrics, 0)
    logger.finalize("failed")


def test_hyper_parameters_are_shown_with_a_metric(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    logger = TensorBoardLogger(tmp_path, prefix="fold")
    logger.log_hyperparams(Namespace(lr=0.1, net={"act": "relu", "none": None}), {"best": torch.tensor(0.5)}, step=3)
    logger.finalize("success")
    assert curve(logger.log_dir, "fold-best") == [(3, 0.5)]
    content = load(logger.log_dir).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    found = HParamsPluginData.FromString(content).session_start_info.hparams
    assert found["lr"].number_value == 0.1
    assert (found["net/act"].string_value, found["net/none"].string_value) == ("relu", "None")
    content = load(logger.log_dir).summary_metadata["_hparams_/experiment"].plugin_data.content
    assert [info.name.tag for info in HParamsPluginData.FromString(content).experiment.metric_infos] == ["fold-best"]


@pytest.mark.parametrize(
    ("default", "metrics", "expected"),
    [
        (True, None, {"hp_metric": -1.0}),
        (False, None, {}),
        (True, 0.5, {"hp_metric": 0.5}),
        (False, 0.5, {"hp_metric": 0.5}),
        (True, {"acc": 0.5}, {"acc": 0.5}),
        (True, {}, {}),
    ],
)
def test_the_default_metric_of_hyper_parameters(tmp_path: Path, default: bool, metrics: Any, expected: Any) -> None:
    logger = TensorBoardLogger(tmp_path, default_hp_metric=default)
    logger.log_hyperparams({"lr": 0.1}, metrics)
    logger.log_metrics({"x": 0.0}, 0)
    logger.finalize("success")
    events = load(logger.log_dir)
    assert {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"] if name != "x"} == expected
    assert bool(events.summary_metadata.get("_hparams_/experiment")) == bool(expected)


def test_hyper_parameters_are_kept_beside_the_events(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    path = Path(logger.log_dir, "hparams.yaml")
    logger.save()
    assert path.read_text() == "{}\n"
    logger.log_hyperparams({"lr": 0.1})
    logger.log_hyperparams({"layers": [1, 2]})
    logger.save()
    assert yaml.safe_load(path.read_text()) == {"lr": 0.1, "layers": [1, 2]}
    again = TensorBoardLogger(tmp_path, version=0, default_hp_metric=False)
    again.log_hyperparams({"lr": 0.7})
    again.save()
    assert yaml.safe_load(path.read_text())["lr"] == 0.1, "an earlier run's file stays"
    with pytest.raises(MisconfigurationException, match=r"vars\(config\)"):
        logger.log_hyperparams("lr=0.1")  # type: ignore[arg-type]


def test_saving_is_free_where_there_is_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = TensorBoardLogger(tmp_path)
    logger.save()
    monkeypatch.setattr(os.path, "exists", lambda _: pytest.fail("the disk was asked"))
    for _ in range(3):
        logger.save()


def test_one_event_holds_all_values_of_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = TensorBoardLogger(tmp_path)
    summaries: list[Any] = []
    file = logger.experiment._get_file_writer()
    monkeypatch.setattr(file, "add_summary", lambda summary, step, time: summaries.append((len(summary.value), step)))
    logger.log_metrics({f"m{i}": float(i) for i in range(8)}, 3)
    logger.log_metrics({}, 4)
    assert summaries == [(8, 3)]
    logger.finalize("success")


def test_files_lie_where_they_were_asked_for(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="n", version="v", sub_dir="s", filename_suffix=".mine")
    assert (logger.sub_dir, logger.root_dir) == ("s", str(tmp_path / "n"))
    assert logger.log_dir == str(tmp_path / "n" / "v" / "s")
    assert not any(tmp_path.iterdir())
    logger.log_metrics({"a": 1.0}, 0)
    logger.finalize("success")
    events, hparams = sorted(os.listdir(logger.log_dir))
    assert events.startswith("events.out.tfevents.")
    assert events.endswith(".mine")
    assert hparams == "hparams.yaml"


def test_the_graph_is_recorded_without_a_mark_on_the_model(tmp_path: Path) -> None:
    logger, model = TensorBoardLogger(tmp_path, log_graph=True), Net().train()
    model.net[1].eval()
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    logger.log_graph(model)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    logger.finalize("success")
    graph = load(logger.log_dir).Graph()
    assert any("BatchNorm1d" in node.name for node in graph.node)


def test_a_graph_needs_an_input(tmp_path: Path) -> None:
    logger, model = TensorBoardLogger(tmp_path, log_graph=True), Net()
    model.example_input_array = None
    with pytest.warns(UserWarning, match=r"Set `self.example_input_array`"):
        logger.log_graph(model)
    logger.log_graph(model, torch.ones(1, 3))
    logger.finalize("success")
    assert load(logger.log_dir).Tags()["graph"]


def test_a_graph_that_cannot_be_traced_is_no_reason_to_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger, model = TensorBoardLogger(tmp_path, log_graph=True), Net()
    with pytest.warns(UserWarning, match="Check `example_input_array`"):
        logger.log_graph(model, torch.ones(1, 7))
    assert capsys.readouterr().out == ""
    assert model.training
    logger.finalize("success")


def test_no_graph_is_recorded_unless_it_was_asked_for(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    logger.log_graph(Net())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))])
def test_a_copy_writes_to_the_same_folder(tmp_path: Path, clone: Any) -> None:
    logger = clone(TensorBoardLogger(tmp_path))
    logger.log_metrics({"a": 1.0}, 0)
    other = clone(logger)
    logger.finalize("success")
    other.log_metrics({"a": 2.0}, 1)
    other.finalize("success")
    assert curve(logger.log_dir, "a") == [(0, 1.0), (1, 2.0)]


def test_the_experiment_is_a_summary_writer(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    logger = TensorBoardLogger(tmp_path, max_queue=5)
    assert isinstance(logger.experiment, SummaryWriter)
    assert (logger.experiment.max_queue, logger.experiment.flush_secs) == (5, 10)
    logger.experiment.add_histogram("weights", torch.ones(3), 1)
    logger.finalize("success")
    assert load(logger.log_dir).Tags()["histograms"] == ["weights"]


def test_the_package_is_imported_when_something_is_logged(tmp_path: Path) -> None:
    code = f"""
import sys
from fulmen.loggers import TensorBoardLogger
logger = TensorBoardLogger({str(tmp_path)!r})
before = "tensorboard" in sys.modules
logger.log_metrics({{"a": 1.0}}, 0)
logger.finalize("success")
print(before, "tensorboard" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_a_missing_package_is_named_when_the_logger_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(event_package, "available", lambda _: False)
    monkeypatch.setattr("fulmen.utilities.imports.importlib.import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install fulmen\[loggers\]"):
        TensorBoardLogger(tmp_path)


def test_the_older_package_does_where_only_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several libraries bring `tensorboardX`, and not `tensorboard`."""
    other = pytest.importorskip("tensorboardX")
    event_package._is_other.cache_clear()
    monkeypatch.setattr(event_package, "available", lambda name: name == "tensorboardX")
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    try:
        logger.log_hyperparams({"lr": 0.1, "act": "relu"}, {"best": 0.5}, step=3)
        logger.log_metrics({"loss": torch.tensor(2.0), "rates": {"a": 1.0, "b": 2.0}}, 1)
        logger.log_media("words", [Text("some")], 1)
        logger.log_media("weights", [Histogram(np.arange(9.0))], 1)
        logger.log_media("noise", [Image(np.zeros((4, 5, 3), np.uint8))], 1)
        logger.log_graph(Net())
        assert isinstance(logger.experiment, other.SummaryWriter)
        logger.finalize("success")
        logger.log_metrics({"loss": 3.0}, 2)
        logger.finalize("success")
    finally:
        event_package._is_other.cache_clear()
    assert curve(logger.log_dir, "loss") == [(1, 2.0), (2, 3.0)]
    assert curve(logger.log_dir, "best") == [(3, 0.5)]
    assert curve(Path(logger.log_dir) / "rates" / "b", "rates") == [(1, 2.0)]
    tags = load(logger.log_dir).Tags()
    assert (tags["images"], tags["histograms"], tags["graph"]) == (["noise"], ["weights"], True)


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    logger.log_hyperparams({"a": 1})
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_graph(Net())
    logger.save()
    logger.finalize("success")
    assert list(tmp_path.iterdir()) == []
