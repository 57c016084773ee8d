"""What callbacks, schedulers and hooks read is the same on all processes, and that of one."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchmetrics import SumMetric

from fulmen import Callback, LightningModule, Trainer
from fulmen.callbacks import ModelCheckpoint
from fulmen.loggers import CSVLogger

from .groups import GroupFailed, environ, run

VALUES = torch.tensor([9.0, 1.0, 8.0, 1.5, 7.0, 2.0, 6.0, 2.5], dtype=torch.float64)
BARE: dict[str, Any] = {
    "accelerator": "cpu", "strategy": "ddp", "max_epochs": 1, "logger": False, "enable_checkpointing": False,
    "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
}  # fmt: skip


class Net(LightningModule):
    """Two processes see other values, and must act alike on them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, bias=False).double()
        torch.nn.init.ones_(self.layer.weight)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        value = batch[0].mean()
        self.log("step", value, sync_dist=True)
        self.log("hidden", value, sync_dist=True, logger=False)
        self.log("epoch", value, on_step=False, on_epoch=True)
        loss: Tensor = self.layer(batch[0][:, None] / 10).mean()
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val", batch[0].mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "monitor": "step", "interval": "step"},
        }


class Seen(Callback):
    """Keeps what is shown at the ends of steps, epochs and validations, before and after it logs there itself."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, float]]] = []

    def note(self, event: str, trainer: Trainer) -> None:
        self.seen.append((event, {key: value.item() for key, value in trainer.callback_metrics.items()}))

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.note("batch", trainer)

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        self.note("epoch", trainer)
        self.log("late", float(trainer.global_rank))

    def on_validation_epoch_end(self, trainer: Trainer, module: Any) -> None:
        self.note("validation", trainer)

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        self.note("end", trainer)


def seen(world: int) -> tuple[list[tuple[str, dict[str, float]]], float, float]:
    net, callback = Net(), Seen()
    trainer = Trainer(devices=world, callbacks=[callback], **BARE)
    loader = DataLoader(TensorDataset(VALUES), batch_size=2 // world)
    trainer.fit(net, loader, DataLoader(TensorDataset(VALUES[:5]), batch_size=1))
    return callback.seen, net.layer.weight.item(), trainer.optimizers[0].param_groups[0]["lr"]


def test_all_see_the_values_of_one() -> None:
    one = run(seen, 1, 1)[0]
    assert os.environ.get("LOCAL_RANK") is None
    for events, weight, rate in run(seen, 2, 2):
        assert weight == pytest.approx(one[1], abs=1e-12) and rate == one[2] == 0.1
        for (event, values), (expected, others) in zip(events, one[0], strict=True):
            assert event == expected
            late = values.pop("late", None), others.get("late")
            assert values == pytest.approx({key: others[key] for key in others if key != "late"}, abs=1e-12)
            assert late in ((None, None), (0.5, 0.0))
        assert [event for event, _ in events] == ["batch"] * 4 + ["validation", "epoch", "end"]


def saved(world: int, folder: str) -> tuple[str, float]:
    """The best of values of single steps that are each process's own: rank 0's decide, for all."""

    class Own(Net):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            self.log("own", batch[0].mean())
            return super().training_step(batch, batch_idx)

    keep = ModelCheckpoint(folder, "{step}-{own:.1f}", monitor="own", every_n_train_steps=1)
    loader = DataLoader(TensorDataset(VALUES), batch_size=1)
    Trainer(devices=world, callbacks=[keep], **{**BARE, "enable_checkpointing": True}).fit(Own(), loader, loader)
    assert keep.best_model_score is not None
    return keep.best_model_path, keep.best_model_score.item()


def test_the_first_decides_what_is_best(tmp_path: Path) -> None:
    best = str(tmp_path / "step=4-own=6.0.ckpt")
    assert run(saved, 2, 2, str(tmp_path)) == [(best, 6.0)] * 2
    assert [str(path) for path in tmp_path.iterdir()] == [best]


class LogsLate(Callback):
    """Logs under the step's key what is this process's own, and sees what is shown then and one batch later."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []
        self.after: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        module.log("after", float(batch_idx + trainer.global_rank), sync_dist=True)

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx:
            before = trainer.callback_metrics["step"].item()
            module.log("step", 10.0 * batch_idx + trainer.global_rank)
            self.after.append(trainer.callback_metrics["after"].item())
            self.seen.append((before, trainer.callback_metrics["step"].item()))


def late(world: int) -> tuple[list[tuple[float, float]], list[float], list[str]]:
    callback = LogsLate()
    trainer = Trainer(devices=world, callbacks=[callback], **BARE)
    net, loader = Net(), DataLoader(TensorDataset(VALUES), batch_size=2)
    trainer.fit(net, loader, loader)
    shown = list(trainer.callback_metrics)
    environ()
    trainer.validate(net, loader, verbose=False)
    return callback.seen, callback.after, [key for key in shown if key in trainer.callback_metrics]


def test_what_was_logged_since_is_shown_instead() -> None:
    for rank, (values, after, kept) in enumerate(run(late, 2, 2)):
        assert after == [0.5], "what hooks log after the step is that of all as well"
        assert values == [(VALUES[:4].mean().item(), 10.0 + rank)]
        assert "step" not in kept, "values of a run of training are not those of a validation"


class LogsAlone(Callback):
    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 2:
            module.log("mine", 1.0, sync_dist=True)


class Bare(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, bias=False).double()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0][:, None]).mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def logs_alone(folder: str) -> None:
    options = {**BARE, "logger": CSVLogger(folder), "log_every_n_steps": 1}
    trainer = Trainer(devices=2, callbacks=[LogsAlone()], **options)
    trainer.fit(Bare(), DataLoader(TensorDataset(VALUES), batch_size=1))


def test_a_hook_of_one_rank_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(GroupFailed, match="`mine`, logged with `sync_dist=True` on rank 1, and not on rank 0") as found:
        run(logs_alone, 2, str(tmp_path))
    assert "Call `self.log` on every rank" in str(found.value)


class Partly(Bare):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.log("all", 1.0, sync_dist=True)
        if self.global_rank == 1:
            self.log("one", 3.0, sync_dist=True)
        return super().training_step(batch, batch_idx)


def partly(world: int) -> list[str]:
    trainer = Trainer(devices=world, **BARE)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(Partly(), DataLoader(TensorDataset(VALUES), batch_size=1))
    return [str(one.message) for one in told if "sync_dist" in str(one.message)]


def test_a_key_of_one_rank_beside_others_is_named() -> None:
    told = run(partly, 2, 2)[0]
    assert len(told) == 1 and "`one` was logged" in told[0] and "on the ranks [1] and not on the ranks [0]" in told[0]
    assert "log the key on every rank" in told[0]


class Loaders(Bare):
    """One metric for two loaders, of which the second has a batch for the first rank alone."""

    def __init__(self) -> None:
        super().__init__()
        self.total = SumMetric()

    def test_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.total.update(batch[0].sum())
        self.log("total", self.total)


def total(world: int) -> Any:
    loaders = [DataLoader(TensorDataset(VALUES[:count]), batch_size=1) for count in (3, 1)]
    return Trainer(devices=world, **BARE).test(Loaders(), loaders, verbose=False)


def test_a_metric_of_several_loaders_counts_all() -> None:
    BARE["strategy"] = "auto"
    try:
        alone = total(1)
    finally:
        BARE["strategy"] = "ddp"
    assert run(total, 2, 2) == [alone, alone]


class Sharded(IterableDataset[Tensor]):
    shards_itself = True

    def __iter__(self) -> Any:
        return iter(VALUES[: 1 + int(os.environ["LOCAL_RANK"])])


class Gathers(Bare):
    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.all_gather(batch.sum())


def gathers(world: int) -> None:
    Trainer(devices=world, **BARE).test(Gathers(), DataLoader(Sharded(), batch_size=1), verbose=False)


def test_a_step_that_meets_others_who_have_no_batch_left() -> None:
    with pytest.raises(GroupFailed, match="rank 0 has no batch left for it") as found:
        run(gathers, 2, 2)
    assert "give each process as many batches" in str(found.value)


class Normed(Bare):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(1).double()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(self.norm(batch[:, None])).square().mean()
        return loss


class Pairs(IterableDataset[Tensor]):
    """Two batches for the first rank, and four for the other."""

    shards_itself = True

    def __iter__(self) -> Any:
        return iter(VALUES[: 4 * (1 + int(os.environ["LOCAL_RANK"]))])


def normed(world: int, folder: str) -> tuple[float, float]:
    keep = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    net = Normed()
    Trainer(devices=world, callbacks=[keep], **{**BARE, "enable_checkpointing": True}).fit(
        net, DataLoader(Pairs(), batch_size=2)
    )
    saved = torch.load(Path(folder) / "step=4.ckpt", weights_only=True)["state_dict"]["norm.running_mean"]
    return saved.item(), net.norm.running_mean.item()  # type: ignore[union-attr]


def test_buffers_are_saved_of_who_still_trains(tmp_path: Path) -> None:
    for saved, at_end in run(normed, 2, 2, str(tmp_path)):
        assert saved == at_end
