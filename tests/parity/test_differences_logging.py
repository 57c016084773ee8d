"""Rows of ``docs/differences.md`` on loggers, the monitor of learning rates, and the progress bar."""

from __future__ import annotations

import contextlib
import csv
import io
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

from .differing import Recording, batches, both, model, trainer


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_of_an_earlier_run_are_kept(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 28. Two runs that are given one version."""

    def kept(pl: Any) -> set[str]:
        for value in ("1.0", "2.0"):
            logger = pl.loggers.CSVLogger(tmp_path / pl.__name__, version=0)
            logger.log_metrics({"value": float(value)}, 0)
            logger.finalize("success")
        return {row["value"] for file in Path(logger.log_dir).glob("*.csv") for row in _table(file)}

    theirs, ours = both(lightning, fulmen, kept)
    assert theirs == {"2.0"}
    assert ours == {"1.0", "2.0"}


def test_rows_without_a_step_are_numbered(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 29. Five rows, of which each second is followed by a save."""

    def numbers(pl: Any) -> list[str]:
        logger = pl.loggers.CSVLogger(tmp_path / pl.__name__)
        for index in range(5):
            logger.log_metrics({"value": 1.0})
            if index % 2:
                logger.save()
        logger.finalize("success")
        return [row["step"] for row in _table(Path(logger.log_dir, "metrics.csv"))]

    theirs, ours = both(lightning, fulmen, numbers)
    assert ours == [str(number) for number in range(5)]
    assert theirs == ["0", "1", "0", "1", "0"]


def _summaries(folder: Path) -> list[Any]:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    files = folder.rglob("*tfevents*")
    return [
        value for file in files for event in LegacyEventFileLoader(str(file)).Load() for value in event.summary.value
    ]


def test_the_page_of_hyper_parameters_names_metrics_that_exist(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row 30. A logger with a prefix."""
    pytest.importorskip("tensorboard", reason="it reads what was written")

    def named(pl: Any) -> tuple[set[str], set[str]]:
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        logger = pl.loggers.TensorBoardLogger(tmp_path / pl.__name__, prefix="run")
        logger.log_hyperparams({"rate": 0.1}, {"accuracy": 0.5})
        logger.finalize("success")
        curves, on_page = set(), set()
        for value in _summaries(tmp_path / pl.__name__):
            if value.tag == "_hparams_/experiment":
                page = HParamsPluginData.FromString(value.metadata.plugin_data.content).experiment
                on_page |= {metric.name.tag for metric in page.metric_infos}
            elif not value.tag.startswith("_hparams_"):
                curves.add(value.tag)
        return on_page, curves

    theirs, ours = both(lightning, fulmen, named)
    assert theirs == ({"accuracy"}, {"run-accuracy"})
    assert ours == ({"run-accuracy"}, {"run-accuracy"})


def test_drawing_the_graph_leaves_frozen_parts_frozen(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row 31. A part in evaluation mode."""
    pytest.importorskip("tensorboard", reason="the graph is drawn for it")

    def modes(pl: Any) -> list[bool]:
        module = model(pl, forward=lambda self, x: self.frozen(self.layer(x)))
        module.frozen = torch.nn.BatchNorm1d(1).eval()
        pl.loggers.TensorBoardLogger(tmp_path / pl.__name__, log_graph=True).log_graph(module, torch.ones(2, 2))
        return [module.training, module.frozen.training]

    theirs, ours = both(lightning, fulmen, modes)
    assert theirs == [True, True]
    assert ours == [True, False]


def test_a_graph_that_cannot_be_drawn_stops_nobody(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 31. A `forward` that cannot be traced, of a model that can be trained."""
    pytest.importorskip("tensorboard", reason="the graph is drawn for it")

    def forward(self: Any, x: Tensor) -> Tensor:
        raise TypeError("not without labels")

    def steps(pl: Any) -> int:
        module = model(pl, forward=forward)
        module.example_input_array = torch.ones(2, 2)
        runner = trainer(pl, logger=pl.loggers.TensorBoardLogger(tmp_path / pl.__name__, log_graph=True))
        with contextlib.suppress(TypeError):
            runner.fit(module, batches(3))
        return int(runner.global_step)

    theirs, ours = both(lightning, fulmen, steps)
    assert theirs == 0
    assert ours == 3


def test_each_scheduler_has_its_line(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 32. Two schedulers of one name."""

    def configure_optimizers(self: Any) -> Any:
        optimizers = [torch.optim.SGD([self.layer.weight], 0.1), torch.optim.SGD([self.layer.bias], 0.5)]
        return optimizers, [{"scheduler": StepLR(each, 1), "name": "rate"} for each in optimizers]

    def logged(pl: Any) -> dict[str, float]:
        record = Recording()
        module = model(pl, configure_optimizers=configure_optimizers, training_step=lambda self, batch, batch_idx: None)
        module.automatic_optimization = False
        monitor = pl.callbacks.LearningRateMonitor("epoch")
        trainer(pl, logger=record.logger(pl), callbacks=[monitor]).fit(module, batches(1))
        [row] = record.rows
        return row

    theirs, ours = both(lightning, fulmen, logged)
    assert theirs == {"rate": 0.5}
    assert ours == {"rate": 0.1, "rate-1": 0.5}


class Terminal(io.StringIO):
    """A terminal that counts what is drawn on it."""

    drawn = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.drawn += bool(text.strip())
        return super().write(text)


def test_the_bar_is_drawn_for_people(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 35. At most ten times a second, where nobody could read more."""
    steps = 200

    def drawn(pl: Any) -> tuple[int, float]:
        terminal = Terminal()
        flags = {"enable_progress_bar": True, "callbacks": [pl.callbacks.TQDMProgressBar()]}
        with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal):
            start = time.monotonic()
            trainer(pl, **flags).fit(model(pl), batches(steps))
            return terminal.drawn, time.monotonic() - start

    theirs, ours = both(lightning, fulmen, drawn)
    beginning_and_end = 10
    assert ours[0] <= 10 * ours[1] + beginning_and_end
    assert theirs[0] > 10 * theirs[1] + beginning_and_end
    assert theirs[0] >= steps


def test_the_bar_is_the_same_wherever_it_runs(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 35. Without a bar among the callbacks, where Rich happens to be installed."""
    pytest.importorskip("rich", reason="its presence is what counts")

    def shown(pl: Any) -> set[str]:
        made = trainer(pl, enable_progress_bar=True, enable_model_summary=True)
        return {type(callback).__name__ for callback in made.callbacks}

    theirs, ours = both(lightning, fulmen, shown)
    assert theirs >= {"RichProgressBar", "RichModelSummary"}
    assert ours >= {"TQDMProgressBar", "ModelSummary"}
