from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.profilers.advanced import AdvancedProfiler
from fulmen.profilers.passthrough import PassThroughProfiler
from fulmen.profilers.profiler import Profiler
from fulmen.profilers.pytorch import PyTorchProfiler
from fulmen.profilers.simple import SimpleProfiler
from fulmen.trainer.profiling import make_profiler
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*there is no validation loader.*"),
]


class Noting(Profiler):
    """Writes down what it hears, and how deep inside other actions."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.depth = 0

    def start(self, action_name: str) -> None:
        self.events.append("  " * self.depth + action_name)
        self.depth += 1

    def stop(self, action_name: str) -> None:
        self.depth -= 1

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        self.events.append(f"setup {stage} {local_rank} {Path(str(log_dir)).name}")

    def describe(self) -> None:
        self.events.append(f"describe, {self.depth} running")

    def teardown(self, stage: str | None) -> None:
        super().teardown(stage)
        self.events.append(f"teardown {stage}")


class Model(LightningModule):
    def __init__(self, optimizer: type[torch.optim.Optimizer] = torch.optim.SGD, manual: bool = False) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
        self.make_optimizer = optimizer
        self.automatic_optimization = not manual

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.layer(batch[0]).square().sum()
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val", self.layer(batch[0]).sum())

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("test", self.layer(batch[0]).sum())

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.layer(batch[0])

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.parameters(), lr=0.01)  # type: ignore[call-arg]


def loader(batches: int) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.rand(2 * batches, 4, generator=generator)), batch_size=2)


def trainer(profiler: Any, **flags: Any) -> Trainer:
    flags = {"max_epochs": 1, "enable_checkpointing": False, **flags}
    return Trainer(
        profiler=profiler, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        **flags,
    )  # fmt: skip


def test_the_actions_of_training_in_order(tmp_path: Path) -> None:
    class Watched(Model):
        def setup(self, stage: str) -> None: ...

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None: ...

        def on_before_backward(self, loss: Tensor) -> None: ...

        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1), "interval": "step"}]

    class Mine(Callback):
        def on_train_batch_end(self, *args: Any) -> None: ...

        def on_validation_start(self, *args: Any) -> None: ...

        def teardown(self, *args: Any, **kwargs: Any) -> None: ...

    class Data(LightningDataModule):
        def prepare_data(self) -> None: ...

        def train_dataloader(self) -> Any:
            return loader(2)

        def val_dataloader(self) -> Any:
            return loader(1)

    profiler = Noting()
    run = trainer(profiler, callbacks=[Mine()], gradient_clip_val=1.0, num_sanity_val_steps=0)
    run.fit(Watched(), datamodule=Data())
    batch = [
        "  [_TrainingEpochLoop].train_dataloader_next",
        "  [LightningModule]Watched.on_train_batch_start",
        "  run_training_batch",
        "    [Strategy]SingleDeviceStrategy.training_step",
        "    [LightningModule]Watched.optimizer_zero_grad",
        "    [Strategy]SingleDeviceStrategy.backward",
        "      [LightningModule]Watched.on_before_backward",
        "    [LightningModule]Watched.configure_gradient_clipping",
        "    [Strategy]SingleDeviceStrategy.optimizer_step",
        "  [LightningModule]Watched.lr_scheduler_step",
        "  [Callback]Mine.on_train_batch_end",
    ]
    validation = [
        "[Callback]Mine.on_validation_start",
        "[_EvaluationLoop].val_next",
        "[Strategy]SingleDeviceStrategy.validation_step",
    ]
    assert profiler.events == [
        f"setup fit None {tmp_path.name}",
        "[LightningDataModule]Data.prepare_data",
        "[LightningModule]Watched.setup",
        "[LightningModule]Watched.configure_optimizers",
        "[LightningDataModule]Data.train_dataloader",
        "[LightningDataModule]Data.val_dataloader",
        "run_training_epoch",
        *batch,
        *batch,
        *(f"  {action}" for action in validation),
        "[Callback]Mine.teardown",
        "describe, 0 running",
        "teardown fit",
    ]


@pytest.mark.parametrize(
    ("method", "actions"),
    [
        ("validate", ["[_EvaluationLoop].val_next", "[Strategy]SingleDeviceStrategy.validation_step"]),
        ("test", ["[_EvaluationLoop].test_next", "[Strategy]SingleDeviceStrategy.test_step"]),
        ("predict", ["[_PredictionLoop].predict_next", "[Strategy]SingleDeviceStrategy.predict_step"]),
    ],
)
def test_the_actions_of_evaluation_in_order(method: str, actions: list[str], tmp_path: Path) -> None:
    profiler = Noting()
    getattr(trainer(profiler), method)(Model(), loader(2))
    assert profiler.events == [
        f"setup {method} None {tmp_path.name}",
        *actions,
        *actions,
        "describe, 0 running",
        f"teardown {method}",
    ]
    assert profiler._lightning_module is None


def test_what_a_user_overrides_is_an_action() -> None:
    class Own(Model):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            optimizer.step(closure=optimizer_closure)

        def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
            loss.backward()

        def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
            return super().transfer_batch_to_device(batch, device, dataloader_idx)

    profiler = Noting()
    trainer(profiler).fit(Own(), loader(1))
    start = profiler.events.index("run_training_epoch")
    assert profiler.events[start:-2] == [
        "run_training_epoch",
        "  [_TrainingEpochLoop].train_dataloader_next",
        "  [Strategy]SingleDeviceStrategy.batch_to_device",
        "  run_training_batch",
        "    [LightningModule]Own.optimizer_step",
        "      [Strategy]SingleDeviceStrategy.optimizer_step",
        "        [Strategy]SingleDeviceStrategy.training_step",
        "        [LightningModule]Own.optimizer_zero_grad",
        "        [Strategy]SingleDeviceStrategy.backward",
        "          [LightningModule]Own.backward",
    ]


def test_saving_is_an_action() -> None:
    profiler = Noting()
    trainer(profiler, enable_checkpointing=True).fit(Model(), loader(1))
    assert "  save_checkpoint" in profiler.events


class NoClosure(torch.optim.SGD):
    """An optimizer of somebody's whose `step` takes nothing."""

    def step(self) -> None:  # type: ignore[override]
        super().step()


@pytest.mark.parametrize(
    ("optimizer", "manual"),
    [
        (torch.optim.SGD, False),
        (torch.optim.LBFGS, False),
        (NoClosure, False),
        (torch.optim.SGD, True),
        (NoClosure, True),
    ],
)
@pytest.mark.parametrize("profiler", ["simple", "advanced", "pytorch"])
def test_training_is_bit_equal_with_and_without(
    optimizer: type[torch.optim.Optimizer], manual: bool, profiler: str, tmp_path: Path
) -> None:
    weights = []
    for given in (None, profiler):
        torch.manual_seed(3)
        model = Model(optimizer, manual)
        flags = {} if manual else {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}
        trainer(given, max_epochs=2, **flags).fit(model, loader(5), loader(2))
        weights.append(model.layer.weight.detach())
    assert torch.equal(*weights)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [] or profiler == "pytorch"


def test_the_second_run_is_not_counted_twice() -> None:
    profiler = SimpleProfiler()
    run = trainer(profiler)
    run.fit(Model(), loader(3))
    run.fit_loop.max_epochs = 2
    run.fit(Model(), loader(3))
    calls = Counter({name: len(times) for name, times in profiler.recorded_durations.items()})
    assert calls["run_training_epoch"] == 2
    assert calls["run_training_batch"] == calls["[Strategy]SingleDeviceStrategy.backward"] == 6


@pytest.mark.parametrize(
    ("profiler", "shown"),
    [
        (SimpleProfiler(extended=False), r"everything +\|"),
        (AdvancedProfiler(), r"stats for: everything\n(.+\n|\n)+?.*\(test_step\)\n"),
        (PyTorchProfiler(export_to_chrome=False), r"stats for: test_step\n"),
    ],
)
def test_an_action_may_lie_around_whole_runs(profiler: Profiler, shown: str) -> None:
    run = trainer(profiler)
    with profiler.profile("everything"):
        run.fit(Model(), loader(1))
        run.test(Model(), loader(1), verbose=False)
    assert re.search(shown, profiler.summary())


@pytest.mark.parametrize(("error", "reported"), [(RuntimeError, False), (KeyboardInterrupt, True)])
def test_the_end_by_an_exception(error: type[BaseException], reported: bool) -> None:
    class Failing(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            raise error

    profiler = Noting()
    with pytest.raises(error):
        trainer(profiler).fit(Failing(), loader(1))
    assert ("describe, 0 running" in profiler.events) is reported
    assert profiler.events[-1] == "teardown fit"
    assert profiler._lightning_module is None


def test_traces_have_the_kinds_of_step_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three batches are fewer than the two that the profiler would wait for and the three that it would record."""
    trainer(PyTorchProfiler(dirpath=tmp_path / "traces", filename="mine"), max_epochs=1).fit(
        Model(), loader(3), loader(3)
    )
    report = (tmp_path / "traces" / "fit-mine.txt").read_text()
    assert re.findall("Profile stats for: (.+)", report) == ["training_step", "validation_step"]
    names = sorted(re.sub(r"\d{5,}", "N", path.name) for path in (tmp_path / "traces").iterdir())
    kinds = ("training_step", "validation_step")
    assert names == [*(f"fit-mine-{kind}.N.pt.trace.json" for kind in kinds), "fit-mine.txt"]
    assert "torch.nn.modules.linear.Linear: layer" in (tmp_path / "traces" / "fit-mine.txt").read_text()
    assert "Profiler Report" not in capsys.readouterr().out


def test_reports_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run = trainer("simple")
    run.fit(Model(), loader(1))
    run.test(Model(), loader(1), verbose=False)
    shown = capsys.readouterr().out
    assert "FIT Profiler Report" in shown and "TEST Profiler Report" in shown
    assert "[Strategy]SingleDeviceStrategy.training_step" in shown


def test_there_is_always_a_profiler() -> None:
    run = trainer(None)
    assert run.profile_wrapper() is None
    assert type(run.profiler) is PassThroughProfiler and run.profiler is run.profiler
    assert run.profile_wrapper() is None, "a profiler that does nothing costs nothing"

    class Inside(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            with self.trainer.profiler.profile("forward"):
                return super().training_step(batch, batch_idx)

    run.fit(Inside(), loader(1))
    run.profiler = noting = Noting()
    run.fit_loop.max_epochs = 2
    run.fit(Inside(), loader(1))
    assert "      forward" in noting.events
    assert run.profile_wrapper() is not None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("simple", SimpleProfiler),
        ("advanced", AdvancedProfiler),
        ("pytorch", PyTorchProfiler),
        ("Simple", SimpleProfiler),
    ],
)
def test_profilers_have_names(name: str, kind: type[Profiler]) -> None:
    assert type(make_profiler(name)) is kind


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("simpel", "Did you mean `simple`?"),
        ("py_torch", "Did you mean `pytorch`?"),
        ("zzz", '`Trainer(profiler="simple")`'),
        (3, '`Trainer(profiler="simple")`'),
        (SimpleProfiler, "Write `Trainer(profiler=SimpleProfiler())`, with parentheses."),
        (Callback, '`Trainer(profiler="simple")`'),
    ],
)
def test_what_is_no_profiler_is_refused(given: Any, remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=re.escape(remedy)):
        trainer(given)
