"""The Trainer's arguments of 1.x have their old meaning, and one hint each."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from fulmen import LightningModule, Trainer
from fulmen.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from fulmen.compat.v1.flag_devices import place
from fulmen.compat.v1.flag_tables import DEFAULTS, TODAY
from fulmen.compat.v1.hints import FormerInterfaceWarning
from fulmen.loggers import CSVLogger
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")
BARE: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Net(LightningModule):
    """`Linear(2, 1)`; notes the sums of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.factor, self.seen = 1.0, []  # type: ignore[var-annotated]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append(batch)
        x = batch[0] if isinstance(batch, (list, tuple)) else torch.ones(1, 2)
        return self.layer(x).mean() * self.factor

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data(batches: int = 3) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(4.0 * batches).reshape(-1, 2)), batch_size=2)


def run(model: Net, *loaders: Any, **flags: Any) -> Trainer:
    trainer = Trainer(**{**BARE, "max_epochs": 1, **flags})
    trainer.fit(model, *(loaders or (data(),)))
    return trainer


def placed(**named: Any) -> dict[str, Any]:
    place(named)
    return named


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"gpus": None}, {"accelerator": "cpu"}),
        ({"gpus": 0}, {"accelerator": "cpu"}),
        ({"gpus": []}, {"accelerator": "cpu"}),
        ({"gpus": 2}, {"accelerator": "gpu", "devices": 2}),
        ({"gpus": "2"}, {"accelerator": "gpu", "devices": 2}),
        ({"gpus": -1}, {"accelerator": "gpu", "devices": -1}),
        ({"gpus": "-1"}, {"accelerator": "gpu", "devices": -1}),
        ({"gpus": "0, 1"}, {"accelerator": "gpu", "devices": [0, 1]}),
        ({"gpus": "3,"}, {"accelerator": "gpu", "devices": [3]}),
        ({"gpus": [1, 3]}, {"accelerator": "gpu", "devices": [1, 3]}),
        ({"gpus": 1, "devices": 2}, {"devices": 2}),
        ({"gpus": None, "accelerator": "gpu", "devices": 1}, {"accelerator": "gpu", "devices": 1}),
        ({"gpus": 2, "auto_select_gpus": True}, {"accelerator": "gpu", "devices": 2}),
        ({"auto_select_gpus": True}, {}),
        ({"gpus": 2, "accelerator": "ddp"}, {"accelerator": "gpu", "devices": 2, "strategy": "ddp"}),
        ({"gpus": 2, "strategy": "ddp_spawn"}, {"accelerator": "gpu", "devices": 2, "strategy": "ddp_spawn"}),
        ({"num_processes": 2}, {"accelerator": "cpu", "devices": 2}),
        ({"num_processes": 2, "gpus": 1}, {"accelerator": "gpu", "devices": 1}),
        ({"num_processes": 1}, {}),
        (
            {"num_processes": 2, "accelerator": "ddp_cpu"},
            {"accelerator": "cpu", "devices": 2, "strategy": "ddp_spawn"},
        ),
        ({"accelerator": None, "strategy": None, "devices": None, "plugins": None}, {}),
        ({"plugins": "ddp"}, {"strategy": "ddp"}),
        ({"strategy": "fsdp_native"}, {"strategy": "fsdp"}),
        ({"precision": "mixed"}, {"precision": "16-mixed"}),
        ({"amp_backend": "native", "precision": 16}, {"precision": 16}),
    ],
)
def test_where_it_runs(given: dict[str, Any], expected: dict[str, Any]) -> None:
    given.setdefault("auto_select_gpus", None)
    assert placed(**given) == expected


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"accelerator": "dp"}, 'strategy="ddp"'),
        ({"accelerator": "ddp2"}, 'strategy="ddp"'),
        ({"distributed_backend": "horovod"}, 'strategy="ddp"'),
        ({"strategy": "dp"}, 'strategy="ddp"'),
        ({"strategy": "bagua"}, 'strategy="ddp"'),
        ({"plugins": "ddp_sharded"}, 'strategy="fsdp"'),
        ({"strategy": "ddp_sharded_spawn"}, 'strategy="fsdp"'),
        ({"accelerator": "deepspeed"}, 'strategy="fsdp"'),
        ({"strategy": "colossalai"}, 'strategy="fsdp"'),
        ({"accelerator": "ipu"}, 'accelerator="auto"'),
        ({"tpu_cores": 8}, 'accelerator="auto"'),
        ({"ipus": 4}, 'accelerator="auto"'),
        ({"amp_backend": "apex"}, 'precision="16-mixed"'),
        ({"amp_backend": "apex", "amp_level": "O2"}, 'precision="16-mixed"'),
        ({"gpus": "first"}, r"devices=\[0, 2\]"),
        ({"weights_summary": "all"}, r"ModelSummary\(max_depth=-1\)"),
        ({"multiple_trainloader_mode": "longest"}, "CombinedLoader"),
        ({"accelerator": "ddp", "gpus": 1}, "(GPU|processes|devices=1)"),
    ],
)
def test_what_is_gone_names_what_replaces_it(given: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=rf"(?s)What to do: .*{remedy}"):
        Trainer(**given)


def test_one_hint_each_and_none_for_what_asks_for_nothing() -> None:
    loud: dict[str, Any] = {
        "checkpoint_callback": False, "weights_summary": None, "progress_bar_refresh_rate": 0, "terminate_on_nan": True,
        "flush_logs_every_n_steps": 10, "reload_dataloaders_every_epoch": True, "row_log_interval": 5,
    }  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            Trainer(logger=False, **loud)
    hints = [str(one.message) for one in caught if one.category is FormerInterfaceWarning]
    assert len(hints) == len(loud)
    assert all("Today: " in text for text in hints)
    assert {one.filename for one in caught} == {__file__}, "a hint points at the user's line"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loud_defaults = ("gpus", "amp_backend", "deterministic")  # the last imports half of torch
        for version in ("1.9", "1.5"):
            quiet = {name: value for name, value in DEFAULTS[version].items() if name not in loud_defaults}
            Trainer(**{**quiet, "logger": False})
    assert TODAY.keys() <= {*DEFAULTS["1.5"], *DEFAULTS["1.9"], "early_stop_callback", "truncated_bptt_steps"}


def test_positions_are_those_of_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = EarlyStopping("loss")
    assert Trainer(False, False, [stop]).early_stopping_callbacks == [stop]
    monkeypatch.setenv("FULMEN_DIALECT", "1.5")
    trainer = Trainer(False, False, True, [stop])
    assert trainer.early_stopping_callbacks == [stop]
    assert not trainer.checkpoint_callbacks
    with pytest.raises(TypeError, match="by name"):
        Trainer(10)
    with pytest.raises(TypeError, match="Pass all of them by name"):
        Trainer(False, logger=True)
    with pytest.raises(TypeError, match=r"Trainer\(max_epochs=10\)"):
        Trainer(*[None] * 90)


def test_bars_summaries_checkpoints_and_stopping() -> None:
    trainer = Trainer(logger=False, progress_bar_refresh_rate=20, process_position=2, weights_summary="full")
    bar = trainer.progress_bar_callback
    assert isinstance(bar, TQDMProgressBar)
    assert (bar.refresh_rate, bar.process_position) == (20, 2)
    assert trainer.weights_summary == "full"
    assert trainer.checkpoint_callback is not None
    checkpoint = ModelCheckpoint(monitor="loss")
    trainer = Trainer(
        logger=False, progress_bar_refresh_rate=0, weights_summary=None, checkpoint_callback=checkpoint,
        early_stop_callback=True, enable_progress_bar=True,
    )  # fmt: skip
    assert trainer.callbacks == [trainer.early_stopping_callback, checkpoint]
    assert trainer.early_stopping_callback.monitor == "val_loss"
    trainer = Trainer(logger=False, checkpoint_callback=False, enable_checkpointing=True, early_stop_callback=False)
    assert not trainer.checkpoint_callbacks
    own = TQDMProgressBar(refresh_rate=3)
    trainer = Trainer(logger=False, callbacks=own, progress_bar_refresh_rate=20)
    assert trainer.progress_bar_callback is own


def test_other_spellings() -> None:
    trainer = Trainer(
        **BARE, max_nb_epochs=4, min_nb_epochs=2, row_log_interval=7, max_steps=None, train_percent_check=0.5,
        replace_sampler_ddp=False, reload_dataloaders_every_epoch=True, overfit_batches=True, profiler=True,
        move_metrics_to_cpu=True, log_gpu_memory="all", prepare_data_per_node=True,
    )  # fmt: skip
    assert (trainer.max_epochs, trainer.min_epochs, trainer.max_steps) == (4, 2, -1)
    assert trainer.log_every_n_steps == 7
    assert trainer.reload_dataloaders_every_n_epochs == 1
    assert trainer.overfit_batches == 1
    assert not trainer.use_distributed_sampler
    assert type(trainer.profiler).__name__ == "SimpleProfiler"
    trainer = Trainer(**BARE, accumulate_grad_batches=None, profiler=False, overfit_batches=False)
    assert (trainer.accumulate_grad_batches, trainer.overfit_batches) == (1, 0.0)


def test_accumulation_by_epoch() -> None:
    trainer = run(Net(), data(4), accumulate_grad_batches={1: 2}, max_epochs=2)
    assert trainer.global_step == 4 + 2


def test_the_norms_of_gradients_are_logged() -> None:
    model = Net()
    trainer = run(model, data(1), track_grad_norm=2)
    batch = model.seen[0][0]
    expected = torch.cat([batch.mean(0), torch.ones(1)])  # the gradient of the mean of a linear layer
    metrics = trainer.callback_metrics
    assert torch.allclose(metrics["grad_2.0_norm_total"], expected.norm())
    assert torch.allclose(metrics["grad_2.0_norm/layer.weight"], expected[:2].norm())
    assert metrics["grad_2.0_norm/layer.bias"] == 1
    highest = run(model, data(1), track_grad_norm="inf").callback_metrics
    assert "grad_inf_norm_total" in highest
    assert not run(Net(), track_grad_norm=-1).callback_metrics
    with pytest.raises(ValueError, match=r"track_grad_norm=2"):
        run(Net(), track_grad_norm="all")


def test_a_module_may_log_the_norms_itself() -> None:
    class Own(Net):
        def log_grad_norm(self, norms: dict[str, Tensor]) -> None:
            self.log("total", norms["grad_2.0_norm_total"])

    assert set(run(Own(), track_grad_norm=2).callback_metrics) == {"total"}


@pytest.mark.parametrize("where", ["loss", "weight"])
def test_nan_ends_the_run(where: str) -> None:
    model = Net()
    if where == "loss":
        model.factor = float("nan")
    else:
        model.unused = torch.nn.Parameter(torch.tensor(float("inf")))
    with pytest.raises(ValueError, match=f"(?s)({where}|unused).*not finite.*detect_anomaly"):
        run(model, terminate_on_nan=True)
    run(model, terminate_on_nan=False)


@pytest.mark.parametrize("by", ["argument", "hook"])
def test_the_mode_of_several_loaders(by: str) -> None:
    loaders = {"a": data(2), "b": data(3)}

    class Hook(Net):
        def train_dataloader(self) -> Any:
            return loaders

    for mode, batches in (("min_size", 2), ("max_size_cycle", 3)):
        model = Hook() if by == "hook" else Net()
        trainer = Trainer(**BARE, max_epochs=1, multiple_trainloader_mode=mode)
        trainer.fit(model, None if by == "hook" else loaders)
        assert len(model.seen) == batches


def test_where_checkpoints_go(tmp_path: Path) -> None:
    flags = {**BARE, "enable_checkpointing": True, "weights_save_path": "weights"}
    run(Net(), **flags)
    assert [path.name for path in (tmp_path / "weights" / "checkpoints").iterdir()] == ["epoch=0-step=3.ckpt"]
    trainer = run(Net(), **{**flags, "logger": CSVLogger("logs", name="mine")})
    assert (tmp_path / "weights" / "mine" / "version_0" / "checkpoints" / "epoch=0-step=3.ckpt").exists()
    assert trainer.weights_save_path == str(tmp_path / "weights")


def test_going_on_from_a_checkpoint(tmp_path: Path) -> None:
    first = run(Net())
    first.save_checkpoint(tmp_path / "half.ckpt")
    whole = Net()
    trainer = run(whole, max_epochs=2, resume_from_checkpoint=str(tmp_path / "half.ckpt"))
    assert trainer.global_step == 6
    assert len(whole.seen) == 3
    assert trainer.resume_from_checkpoint == str(tmp_path / "half.ckpt")
    with pytest.raises(FileNotFoundError):
        Trainer(**BARE, resume_from_checkpoint="nowhere.ckpt").fit(Net(), data())


def test_loggers_write_as_often_as_asked(tmp_path: Path) -> None:
    class Counting(CSVLogger):
        saves = 0

        def save(self) -> None:
            self.saves += 1
            super().save()

    rare, often = Counting("a", flush_logs_every_n_steps=1000), Counting("b", flush_logs_every_n_steps=1000)
    run(Net(), data(6), logger=rare)
    run(Net(), data(6), logger=often, flush_logs_every_n_steps=2)
    assert often.saves == rare.saves + 3


def test_weights_are_averaged_at_the_optimizers_rate() -> None:
    trainer = run(Net(), data(2), stochastic_weight_avg=True, max_epochs=5)
    assert trainer.optimizers[0].param_groups[0]["swa_lr"] == 0.1


def test_flags_that_the_module_gets() -> None:
    model = Net()
    run(model, prepare_data_per_node=False)
    assert model.prepare_data_per_node is False


def test_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_GPUS", "0")
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "3")
    trainer = Trainer(logger=False)
    assert (trainer.max_epochs, trainer.num_gpus) == (3, 0)
    assert Trainer(logger=False, max_epochs=4).max_epochs == 4
    assert vars(Trainer.match_env_arguments()) == {"gpus": 0, "max_epochs": 3}


def test_left_out_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fulmen.utilities.generations._path", None)
    assert "FULMEN_DIALECT" not in os.environ
    with pytest.raises(TypeError, match=r"no argument 'gpus'"):
        Trainer(gpus=1)


def test_the_level_of_apex_is_passed_over_without_it() -> None:
    assert Trainer(amp_level="O2", accelerator="cpu", logger=False).precision == "32-true"


def test_manual_optimization_may_be_an_argument() -> None:
    from tests.compat.v1.test_outputs import QUIET, Model, loader

    class Old(Model):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers(use_pl_optimizer=False)
            self.manual_backward(self.layer(batch).sum(), optimizer)  # type: ignore[arg-type]
            self.manual_optimizer_step(optimizer)  # type: ignore[operator]
            self.heard.append(self.layer.weight.grad)

    trainer = Trainer(**QUIET, automatic_optimization=False, enable_pl_optimizer=True)  # type: ignore[call-arg]
    model = Old()
    trainer.fit(model, loader(2), loader(1))
    assert trainer.global_step == 2
    assert model.heard == [None, None]
    assert Trainer(accelerator="cpu", show_progress_bar=False).progress_bar_callback is None  # type: ignore[call-arg]
