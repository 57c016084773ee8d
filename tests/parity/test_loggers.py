"""The loggers leave the files that PyTorch Lightning's leave."""

from __future__ import annotations

import os
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fulmen.loggers
from fulmen.core.module import LightningModule

lightning: Any = pytest.importorskip("pytorch_lightning")
theirs: Any = pytest.importorskip("pytorch_lightning.loggers")
ours: Any = fulmen.loggers

KINDS = ["CSVLogger", "TensorBoardLogger"]
names = st.sampled_from(["loss", "acc", "epoch", "Step", "a b", 'quo"te', "com,ma", "é"])
calls = st.lists(
    st.tuples(
        st.dictionaries(names, st.floats(allow_nan=False) | st.integers(), max_size=4),
        st.integers(0, 300),
        st.booleans(),
    ),
    min_size=1,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(min_size=1), inner),
    max_leaves=8,
)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, but for the event files, whose names hold time and process."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "tfevents" not in path.name
    }


def events(folder: Path) -> list[tuple[str, str]]:
    """The events below a folder as text, value by value, without the time they were written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    found = []
    for path in sorted(folder.rglob("*tfevents*")):
        where = str(path.parent.relative_to(folder))
        for event in LegacyEventFileLoader(str(path)).Load():
            found += [(where, f"{event.step} {value}") for value in event.summary.value]
            if not event.summary.value:
                found.append((where, str(event.WhichOneof("what"))))
    return found


@given(logged=calls)
def test_the_csv_file_is_the_same(tmp_path_factory: pytest.TempPathFactory, logged: list[Any]) -> None:
    found = []
    for package in (ours, theirs):
        folder = tmp_path_factory.mktemp("logs")
        logger = package.CSVLogger(folder, flush_logs_every_n_steps=7)
        for metrics, step, save in logged:
            logger.log_metrics(metrics, step)
            if save:
                logger.save()
        logger.finalize("success")
        found.append(files(folder))
    assert found[0] == found[1]


def test_odd_values_are_written_the_same(tmp_path: Path) -> None:
    import numpy as np

    values = [torch.tensor(0.1), torch.tensor([3]), torch.tensor(True), torch.tensor(1.1).bfloat16(), float("nan")]
    values += [float("-inf"), True, None, "text", 'with "quotes"\nand, lines', np.float32(0.1), np.array(7), [1, 2]]
    for package in (ours, theirs):
        logger = package.CSVLogger(tmp_path / package.__name__, prefix="p")
        for step, value in enumerate(values):
            logger.log_metrics({"value": value, f"value_{step}": value})
        logger.finalize("success")
    assert files(tmp_path / ours.__name__) == files(tmp_path / theirs.__name__)


@settings(suppress_health_check=[HealthCheck.too_slow])
# without names that are empty: there YAML has two spellings; or that a namespace has itself
@given(hparams=st.dictionaries(st.text(min_size=1).filter(lambda name: name not in dir(Namespace)), plain, max_size=5))
@pytest.mark.parametrize("kind", KINDS)
def test_hyper_parameters_are_written_the_same(
    tmp_path_factory: pytest.TempPathFactory, kind: str, hparams: dict[str, Any]
) -> None:
    options = {} if kind == "CSVLogger" else {"default_hp_metric": False}
    found = []
    for package in (ours, theirs):
        folder = tmp_path_factory.mktemp("logs")
        logger = getattr(package, kind)(folder, **options)
        logger.log_hyperparams(Namespace(**hparams))
        logger.save()
        found.append(files(folder))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "folders",
    [
        [],
        ["version_0", "version_4"],
        ["version_a", "foo", "my_version_7", "version_-1", "version_1.5", "version_ 4", "version_1x", "12"],
        ["version_3", "version_2_b", "version_x"],
        ["version_1_000"],
        ["version_03"],
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_next_version_is_the_same(tmp_path: Path, kind: str, folders: list[str]) -> None:
    for folder in folders:
        (tmp_path / "lightning_logs" / folder).mkdir(parents=True)
    mine, other = getattr(ours, kind)(tmp_path), getattr(theirs, kind)(tmp_path)
    assert mine.version == other.version
    assert mine.log_dir == other.log_dir


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"version": 3},
        {"version": "best"},
        {"version": ""},
        {"name": None},
        {"name": ""},
        {"name": "a/b", "version": "c/d"},
        {"name": None, "version": "q"},
    ],
)
@pytest.mark.parametrize("save_dir", ["logs", "", "./a/../b", "logs/", Path("logs")])
@pytest.mark.parametrize("kind", KINDS)
def test_names_and_folders_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, save_dir: Any, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    mine, other = getattr(ours, kind)(save_dir, **options), getattr(theirs, kind)(save_dir, **options)
    for attribute in ("name", "version", "save_dir", "root_dir", "log_dir", "group_separator"):
        assert getattr(mine, attribute) == getattr(other, attribute), attribute
    assert os.listdir(tmp_path) == []


def write_metrics(logger: Any) -> None:
    for step in range(5):
        logger.log_metrics({"a/b": 0.1 * step, "t": torch.tensor([step]), "epoch": 0, "on": True}, step)
        logger.save()
    logger.log_metrics({"chart": {"x": 1.0, "y": torch.tensor(2.0)}, "last": 1e300}, 9)
    logger.log_metrics({"without a step": 1})


def write_hparams(logger: Any) -> None:
    logger.log_hyperparams({"lr": 0.1, "net": {"act": "relu", "k": (1, 2)}, "none": None, "on": True, "i": 3})
    logger.log_hyperparams(Namespace(lr=0.2), {"acc": 0.5, "t": torch.tensor(1.5)}, step=4)
    logger.log_hyperparams({"lr": 0.3}, 0.25)
    logger.log_hyperparams({})


@pytest.mark.parametrize("write", [write_metrics, write_hparams])
@pytest.mark.parametrize(
    "options",
    [{}, {"default_hp_metric": False}, {"log_graph": True}, {"version": "v", "name": None}, {"sub_dir": "sub"}],
    ids=str,
)
def test_tensorboard_sees_the_same(tmp_path: Path, write: Any, options: dict[str, Any]) -> None:
    found = []
    for package in (ours, theirs):
        folder = tmp_path / package.__name__
        logger = package.TensorBoardLogger(folder, **options)
        write(logger)
        logger.save()
        logger.finalize("success")
        found.append((files(folder), events(folder)))
    assert found[0] == found[1]


def make_model(base: Any) -> Any:
    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.example_input_array = torch.ones(2, 3)
            self.scale = torch.nn.Parameter(torch.ones(1))
            self.net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.scale * self.net(x).relu()
            return out

        def on_after_batch_transfer(self, batch: torch.Tensor, dataloader_idx: int) -> torch.Tensor:
            return batch * 2

    return Net()


@pytest.mark.parametrize("given", [None, torch.ones(4, 3)], ids=["example", "given"])
@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
def test_tensorboard_shows_the_same_graph(tmp_path: Path, given: Any) -> None:
    for package, base in ((ours, LightningModule), (theirs, lightning.LightningModule)):
        logger = package.TensorBoardLogger(tmp_path / package.__name__, log_graph=True)
        logger.log_graph(make_model(base), given)
        logger.finalize("success")
    nodes = [
        {(node.name, node.op, tuple(node.input)) for node in graph(tmp_path / package.__name__)}
        for package in (ours, theirs)
    ]
    assert len(nodes[0]) > 5
    assert nodes[0] == nodes[1]


def graph(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "lightning_logs" / "version_0"))
    found.Reload()
    return found.Graph().node


def test_an_earlier_run_s_metrics_make_way(tmp_path: Path) -> None:
    """Lightning deletes them; here they are kept under another name."""
    for package in (ours, theirs):
        for value in (1.0, 2.0):
            logger = package.CSVLogger(tmp_path / package.__name__, version=0)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                logger.log_metrics({"a": value}, 0)
            assert bool(caught) == (value == 2.0)
            logger.finalize("success")
    mine, other = (files(tmp_path / package.__name__) for package in (ours, theirs))
    folder = os.path.join("lightning_logs", "version_0")
    assert mine.pop(os.path.join(folder, "metrics_1.csv")) == b"a,step\r\n1.0,0\r\n"
    assert mine == other


def test_rows_without_a_step_are_counted_over_saves(tmp_path: Path) -> None:
    """Lightning counts from 0 again after each save."""
    steps = []
    for package in (ours, theirs):
        logger = package.CSVLogger(tmp_path / package.__name__)
        for _ in range(3):
            logger.log_metrics({"a": 1.0})
            logger.save()
        steps.append([line.split(",")[1] for line in Path(logger.log_dir, "metrics.csv").read_text().split()[1:]])
    assert steps == [["0", "1", "2"], ["0", "0", "0"]]
