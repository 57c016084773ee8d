"""Runs that go on with another number of processes: samples, values of the epoch, random states, open windows."""

from __future__ import annotations

import itertools
import os
import random
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torchmetrics
from tests.conftest import SOAK
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks.checkpoint import Checkpoint
from fulmen.core.logging import LogOptions
from fulmen.data.pace import Pace
from fulmen.loops.by_rank import merge_windows, own_course
from fulmen.loops.metric_state import metric_states, put_merged_states
from fulmen.loops.result_state import dump_results, emptied, load_results, merge_results
from fulmen.loops.results import Results
from fulmen.loops.schedule import ValidationPlan
from fulmen.loops.window import Window
from fulmen.utilities.seed import branch_rng

from .groups import run

Samples = list[tuple[int, list[int]]]


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.samples: Samples = []
        self.validations: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.samples.append((self.current_epoch, batch[0].tolist()))
        return (self.weight - batch[0]).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.validations.append(self.trainer.progress.batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class SaveAt(Checkpoint):
    def __init__(self, path: str, batches: int) -> None:
        self.path, self.batches = path, batches

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.progress.batches == self.batches:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def fit(world: int, workers: int, size: int, path: str, resumed: str | None, batches: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    torch.manual_seed(1 + int(os.environ.get("LOCAL_RANK", 0)))
    model = Model()
    data = TensorDataset(torch.arange(48))
    trainer = pl.Trainer(
        accelerator="cpu", devices=world, strategy="ddp", max_epochs=2, callbacks=[SaveAt(path, batches)], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, val_check_interval=0.5,
        accumulate_grad_batches=2, num_sanity_val_steps=0,
    )  # fmt: skip
    loader = DataLoader(data, size, shuffle=True, num_workers=workers)
    trainer.fit(model, loader, DataLoader(data, 48), ckpt_path=resumed)
    return {
        "samples": model.samples, "validations": model.validations, "batches": trainer.progress.batches,
        "weight": model.weight.item(), "random": torch.rand(()).item(),
    }  # fmt: skip


@pytest.mark.parametrize(
    "course",
    [
        [(2, 0, 2, 3), (1, 0, 2, -1)],
        [(1, 0, 8, 2), (1, 0, 4, -1)],
        [(2, 0, 4, 2), (2, 0, 2, -1)],
        pytest.param([(1, 0, 2, 6), (2, 0, 2, -1)], marks=pytest.mark.skipif(not SOAK, reason="soak")),
        pytest.param([(2, 2, 2, 3), (1, 0, 2, -1)], marks=pytest.mark.skipif(not SOAK, reason="soak")),
        pytest.param([(2, 2, 2, 3), (3, 1, 2, -1)], marks=pytest.mark.skipif(not SOAK, reason="soak")),
        pytest.param([(2, 2, 2, 3), (1, 4, 2, -1)], marks=pytest.mark.skipif(not SOAK, reason="soak")),
        pytest.param([(1, 2, 8, 2), (2, 0, 4, 4), (1, 2, 8, -1)], marks=pytest.mark.skipif(not SOAK, reason="soak")),
        pytest.param([(2, 2, 2, 3), (3, 1, 2, 5), (1, 2, 2, -1)], marks=pytest.mark.skipif(not SOAK, reason="soak")),
    ],
)
def test_each_sample_of_the_epochs_comes_once(tmp_path: Path, course: list[tuple[int, int, int, int]]) -> None:
    seen: Samples = []
    before = None
    for number, (world, workers, size, batches) in enumerate(course):
        path = str(tmp_path / f"{number}.ckpt")
        ranks = run(fit, world, world, workers, size, path, before, batches, timeout=120)
        assert len({(one["weight"], one["batches"]) for one in ranks}) == 1
        assert len({one["random"] for one in ranks}) == world
        seen += itertools.chain.from_iterable(one["samples"] for one in ranks)
        before = path
    for epoch in range(2):
        flat = [index for number, batch in seen if number == epoch for index in batch]
        assert Counter(flat) == Counter(range(48)), (epoch, sorted(flat))
    # half of the data lies between two validations, in an ordinary epoch and in one that others began
    last, _, size, _ = course[-1]
    ordinary = 48 // (last * size)
    assert ranks[0]["validations"][-2:] == [ordinary // 2, ordinary]


def test_validation_comes_after_the_same_parts_of_the_data() -> None:
    pace = Pace(whole=12, begun=3, place=3.0, left=18)  # of twelve steps three are done, and nine are eighteen now
    plan = ValidationPlan(4, 1, pace=pace)
    due = [index + 1 for index in range(3, 21) if plan.due(index, 0, 0, index == 20, False)]
    assert due == [3 + 2, 3 + 10, 3 + 18]
    again = pace.changed(11, 5)
    assert again.at(11) == 7.0 and again.at(16) == 12.0 and again.before == 0.5


def test_values_of_the_epoch_are_those_of_all_processes() -> None:
    module = torch.nn.Linear(1, 1)
    kinds = {"mean": "mean", "sum": "sum", "max": "max", "min": "min"}
    case = random.Random(3)
    whole = Results(module, training=True, device=torch.device("cpu"))
    states = []
    for rank in range(3):
        own = Results(module, training=True, device=torch.device("cpu"))
        for batch in range(rank):  # one has seen nothing
            for results in (own, whole):
                results.batch_index = batch
            for name, kind in kinds.items():
                value, size = case.uniform(-1, 1), case.randint(1, 9)
                for results in (own, whole):
                    _log(results, name, torch.tensor(value, dtype=torch.float64), kind, size)
        states.append(dump_results(own))
    merged = Results(module, training=True, device=torch.device("cpu"))
    load_results(merged, merge_results(states))
    expected = _values(whole)
    assert _values(merged) == pytest.approx(expected, rel=1e-12)
    nothing = Results(module, training=True, device=torch.device("cpu"))
    load_results(nothing, emptied(merge_results(states)))
    assert [entry.epoch_value() for entry in nothing.entries()] == [None] * 4


def _values(results: Results) -> dict[str, float]:
    return {entry.name: float(entry.epoch_value()) for entry in results.entries()}  # type: ignore[arg-type]


def _log(results: Results, name: str, value: Tensor, reduction: str, size: int) -> None:
    from fulmen.loops.entries import Entry

    table = results.tables(None)["training_step"]
    if name not in table:
        options = LogOptions(*[None] * len(LogOptions._fields))._replace(enable_graph=False)
        table[name] = Entry(name, "", options, results, (False, True, reduction), "training_step")
        table[name].prepare(value)
    table[name].take(value, size)


def test_metrics_count_what_all_had_counted() -> None:
    def make() -> torch.nn.ModuleDict:
        metrics = {
            "accuracy": torchmetrics.Accuracy(task="multiclass", num_classes=3),
            "area": torchmetrics.AUROC(task="binary"),
            "mean": torchmetrics.MeanMetric(),
            "most": torchmetrics.MaxMetric(),
            "kept": torchmetrics.CatMetric(),
        }
        return torch.nn.ModuleDict(metrics)

    torch.manual_seed(2)
    whole, ranks = make(), [make() for _ in range(3)]
    for _ in range(2):
        for own in ranks[:2]:
            scores, labels = torch.rand(5, 3), torch.randint(3, (5,))
            for one in (own, whole):
                one["accuracy"].update(scores, labels)
                one["area"].update(scores[:, 0], labels > 0)
                for name in ("mean", "most", "kept"):
                    one[name].update(scores[:, 1])
    merged = make()
    put_merged_states(merged, [metric_states(one) for one in ranks])
    for name, metric in whole.items():
        torch.testing.assert_close(merged[name].compute(), metric.compute())


def test_a_metric_that_cannot_be_added_up_says_so() -> None:
    ranks = [torch.nn.ModuleDict({"line": torchmetrics.PearsonCorrCoef()}) for _ in range(2)]
    for one in ranks:
        one["line"].update(torch.rand(5), torch.rand(5))
    merged = torch.nn.ModuleDict({"line": torchmetrics.PearsonCorrCoef()})
    with pytest.warns(UserWarning, match=r"`line` \(PearsonCorrCoef\) .* go on with as many processes as before"):
        put_merged_states(merged, [metric_states(one) for one in ranks])
    torch.testing.assert_close(merged["line"].compute(), ranks[0]["line"].compute())
    merged["line"].update(torch.rand(5), torch.rand(5))


@pytest.mark.parametrize(("before", "now"), [(2, 1), (1, 2), (2, 3), (3, 2)])
def test_an_open_window_stays_the_mean_of_its_samples(before: int, now: int) -> None:
    case = random.Random(before)
    rows: list[tuple[float, int]] = []
    states = []

    def part(window: Window) -> Tensor:
        mean, size = case.uniform(-1, 1), case.randint(1, 4)
        rows.append((mean, size))
        return window.share(torch.tensor(mean, dtype=torch.float64), size, None)

    for _ in range(before):
        window = Window(3)
        gradient = part(window) + part(window)
        states.append({"window": window.state_dict(), "gradients": {"weight": gradient}})
    merged = merge_windows(states, now)
    totals, sums = [], []
    for _ in range(now):
        window = Window(3)
        factor = window.load_state_dict(merged["window"])
        totals.append(merged["gradients"]["weight"] * factor + part(window))
        sums.append(window._sum)
    # all processes of now use the weights of all of them
    window._sum = sum(sums) / now
    found = sum(totals) / now * window.correction
    expected = sum(mean * size for mean, size in rows) / sum(size for _, size in rows)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_a_new_process_has_random_numbers_of_its_own() -> None:
    drawn = []
    for number in (0, 1, 2, 1):
        torch.manual_seed(9)
        if number:
            branch_rng(number)
        drawn.append((torch.rand(()).item(), random.random(), float(numpy.random.rand())))
    assert drawn[1] == drawn[3]
    for one, other in itertools.combinations(drawn[:3], 2):
        assert not set(one) & set(other)


def test_one_process_takes_its_file_as_it_is() -> None:
    course = {"rng": [1], "results": {}}
    assert own_course(course, 0, 1) is course
