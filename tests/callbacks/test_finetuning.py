from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fulmen as pl
from fulmen.callbacks import BackboneFinetuning, BaseFinetuning
from fulmen.callbacks.finetuning import multiplicative
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredHook, MisconfiguredValue

from .averaged import Net, data, fit

RATES = torch.optim.lr_scheduler


def backbone(model: Net) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.backbone.parameters()])


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, [0.01, 0.02, 0.04]),
        ({"backbone_initial_lr": 0.04}, [0.04, 0.08, 0.1]),
        ({"backbone_initial_lr": 0.04, "should_align": False}, [0.04, 0.08, 0.16]),
        ({"backbone_initial_ratio_lr": 0.5, "lambda_func": lambda epoch: 1 / epoch}, [0.05, 0.05 / 3, 0.05 / 12]),
    ],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_backbone_joins_with_a_rate_of_its_own(
    options: dict[str, Any], rates: list[float], accumulate: int
) -> None:
    torch.manual_seed(0)
    start = backbone(Net())
    seen: list[bool] = []

    class Noting(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(torch.equal(backbone(pl_module), start))

    callback = BackboneFinetuning(1, **options)
    trainer, model = fit(callback, max_epochs=4, more=[Noting()], accumulate_grad_batches=accumulate)
    assert seen == [True, False, False, False]
    assert [row[0] for row in model.rates] == [0.1] * 12
    assert [row[1:] for row in model.rates[:3]] == [[]] * 3
    assert [row[1] for row in model.rates[3::3]] == pytest.approx(rates)
    (group,) = [group for group in trainer.optimizers[0].param_groups if group["lr"] != 0.1] or trainer.optimizers[
        0
    ].param_groups[1:]
    assert {id(p) for p in group["params"]} == {id(p) for p in model.backbone.parameters()}


@pytest.mark.parametrize("train_bn", [True, False])
def test_batch_norm(train_bn: bool, recwarn: pytest.WarningsRecorder) -> None:
    model = Net(norm=True)
    norm = model.backbone[1]
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    _, model = fit(BackboneFinetuning(1, train_bn=train_bn), model, max_epochs=2)
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name]) != train_bn, name
    assert norm.weight.requires_grad == norm.track_running_stats == train_bn
    assert not recwarn.list


def one_cycle(optimizer: Any) -> Any:
    return RATES.OneCycleLR(optimizer, 0.1, total_steps=9)


SCHEDULES: dict[str, Any] = {
    "ExponentialLR": lambda o: RATES.ExponentialLR(o, 0.9),
    "StepLR": lambda o: RATES.StepLR(o, 1, 0.5),
    "LambdaLR": lambda o: RATES.LambdaLR(o, lambda e: 0.9**e),
    "MultiplicativeLR": lambda o: RATES.MultiplicativeLR(o, lambda e: 0.9),
    "OneCycleLR": one_cycle,
    "CyclicLR": lambda o: RATES.CyclicLR(o, 0.01, 0.1, step_size_up=3, cycle_momentum=False),
    "CosineAnnealingLR": lambda o: RATES.CosineAnnealingLR(o, 3),
    "CosineAnnealingWarmRestarts": lambda o: RATES.CosineAnnealingWarmRestarts(o, 4),
    "SequentialLR": lambda o: RATES.SequentialLR(
        o, [RATES.LinearLR(o, 0.1, total_iters=3), RATES.LambdaLR(o, lambda e: 0.8**e)], [3]
    ),
    "ChainedScheduler": lambda o: RATES.ChainedScheduler(
        [RATES.LambdaLR(o, lambda e: 0.9**e), RATES.ExponentialLR(o, 0.9)]
    ),
}


class Half(BaseFinetuning):
    """The backbone joins with half of the head's rate, and is left to the schedule from then on."""

    def freeze_before_training(self, pl_module: pl.LightningModule) -> None:
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: pl.LightningModule, epoch: int, optimizer: Any) -> None:
        if epoch == 2:
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, initial_denom_lr=2)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step.*")
@pytest.mark.filterwarnings("ignore:.*is deprecated. Please use `scheduler.step.*")
def test_a_group_that_joins_follows_the_schedule(name: str) -> None:
    """In proportion to the first group, whose rates are those that it has without finetuning."""
    _, alone = fit(pl.Callback(), Net(schedule=SCHEDULES[name]), max_epochs=6)
    _, model = fit(Half(), Net(schedule=SCHEDULES[name]), max_epochs=6)
    assert [row[0] for row in model.rates] == [row[0] for row in alone.rates]
    assert [row[1] for row in model.rates[6:]] == pytest.approx([row[0] / 2 for row in alone.rates[6:]])


def test_a_plateau_goes_over_all_groups() -> None:
    class Watching(Net):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            plateau = RATES.ReduceLROnPlateau(optimizer, mode="max", patience=0, min_lr=[0.03])
            return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "val_loss"}

    _, model = fit(Half(), Watching(), max_epochs=6)
    assert model.rates[-1] == pytest.approx([0.03, 0.015])


def test_parameters_that_the_optimizer_has_already() -> None:
    """They keep their rate, and a warning says how to give them one of their own."""

    class All(Net):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    with pytest.warns(match=r"2 of the parameters .*SGD\(\[p for p in self.parameters\(\) if p.requires_grad\]"):
        _, model = fit(BackboneFinetuning(1), All(), max_epochs=3)
    assert model.rates == [[0.1]] * 9

    class Apart(Net):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([{"params": self.head.parameters()}, {"params": self.backbone.parameters()}], lr=0.1)

    torch.manual_seed(0)
    start = backbone(Net())
    _, model = fit(BackboneFinetuning(1), Apart(), max_epochs=3)
    assert model.rates[::3] == [[0.1, 0.1], [0.1, pytest.approx(0.01)], [0.1, pytest.approx(0.02)]]
    assert not torch.equal(backbone(model), start)


def test_fit_twice() -> None:
    """A second run goes on with the backbone; one with a new Trainer begins without it."""
    callback = BackboneFinetuning(1)
    trainer, model = fit(callback)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(model, data(), data(4))
    assert [row[1] for row in model.rates[3::3]] == pytest.approx([0.01, 0.02, 0.04])
    assert all(p.requires_grad for p in model.parameters())
    _, model = fit(callback)
    assert [row[1:] for row in model.rates[::3]] == [[], [pytest.approx(0.01)]]


def test_verbose(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="fulmen"):
        fit(BackboneFinetuning(1, verbose=True, rounding=2), max_epochs=3)
    assert caplog.messages == ["Current lr: 0.1, Backbone lr: 0.01", "Current lr: 0.1, Backbone lr: 0.02"]


def test_a_checkpoint_of_lightning_does_not_say_what_is_frozen(tmp_path: Path) -> None:
    trainer, _ = fit(BackboneFinetuning(0), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=False)
    for key in ("trainable", "without_statistics"):
        del checkpoint["callbacks"]["BackboneFinetuning"][key]
    torch.save(checkpoint, tmp_path / "b.ckpt")
    _, model = fit(BackboneFinetuning(0), ckpt_path=tmp_path / "b.ckpt", max_epochs=2)
    assert all(p.requires_grad for p in model.parameters()) and model.rates[0][1] == pytest.approx(0.02)


def test_a_checkpoint_of_another_module(tmp_path: Path) -> None:
    trainer, _ = fit(BackboneFinetuning(0), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = Net()
    other.strict_loading = False
    other.backbone = nn.Sequential(nn.Identity(), nn.Linear(4, 5))
    with pytest.raises(MisconfiguredValue, match="Build the module as it was"):
        fit(BackboneFinetuning(0), other, ckpt_path=tmp_path / "a.ckpt", max_epochs=2)


def test_helpers() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    flat = BaseFinetuning.flatten_modules
    assert flat(net) == [net[0], net[1], net[2][0], net[2][1]] == flat([net[:2], [net[2]]])
    assert flat(nn.ModuleDict({"b": net[1], "a": net[0]})) == [net[1], net[0]]
    own = nn.Module()
    own.weight, own.layer = nn.Parameter(torch.ones(1)), net[0]
    assert flat(own) == [own, net[0]]
    BaseFinetuning.freeze(net, train_bn=True)
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True, False, False]
    assert list(BaseFinetuning.filter_params(net)) == list(net[1].parameters())
    assert list(BaseFinetuning.filter_params(net, train_bn=False)) == []
    assert len(list(BaseFinetuning.filter_params(net, requires_grad=False))) == 4
    BaseFinetuning.freeze_module(net[1])
    assert not net[1].track_running_stats and not net[1].weight.requires_grad
    BaseFinetuning.make_trainable(net)
    assert net[1].track_running_stats and all(p.requires_grad for p in net.parameters())
    optimizer = torch.optim.SGD(net[0].parameters(), lr=0.2)
    with pytest.warns(match="2 of the parameters that are unfrozen are in a group"):
        assert BaseFinetuning.filter_on_optimizer(optimizer, net[:2].parameters()) == list(net[1].parameters())
    BaseFinetuning.unfreeze_and_add_param_group(net[1:], optimizer, train_bn=False)
    BaseFinetuning.unfreeze_and_add_param_group(net[1], optimizer, lr=0.5)
    groups = [(len(group["params"]), group["lr"]) for group in optimizer.param_groups]
    assert groups == [(2, 0.2), (2, pytest.approx(0.02)), (2, 0.5)]
    assert multiplicative(3) == 2.0


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"unfreeze_backbone_at_epoch": -1}, "`unfreeze_backbone_at_epoch=10`"),
        ({"unfreeze_backbone_at_epoch": "a"}, "`unfreeze_backbone_at_epoch=10`"),
        ({"lambda_func": 2}, "Pass a function: `lambda_func=lambda epoch: 1.5`"),
    ],
)
def test_bad_arguments(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        BackboneFinetuning(**options)


def test_what_is_missing() -> None:
    class Without(Net):
        def __init__(self) -> None:
            super().__init__()
            self.body = self.backbone
            del self.backbone

    with pytest.raises(MisconfigurationException, match=r"Set `self\.backbone` in `__init__`"):
        fit(BackboneFinetuning(), Without())
    with pytest.raises(MisconfiguredHook, match="def freeze_before_training"):
        fit(BaseFinetuning())

    class Frozen(BaseFinetuning):
        def freeze_before_training(self, pl_module: pl.LightningModule) -> None: ...

    with pytest.raises(MisconfiguredHook, match="def finetune_function"):
        fit(Frozen())
