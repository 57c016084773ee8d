"""Optimizers with names get back what was theirs, in whatever order they are returned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.loops.named_runs import Case, InTurn, Pair, images
from tests.resume.course import assert_equal
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.utilities.exceptions import MisconfigurationException


class Alike(Pair):
    """Both optimizers are of one kind, so that nothing but the name tells their states apart."""

    def __init__(self, case: Case, names: tuple[str, ...]) -> None:
        super().__init__(case)
        self.names = names
        self.discriminator[2] = torch.nn.Linear(4, 3)  # as large as the generator

    def configure_optimizers(self) -> Any:
        networks = {"d": self.discriminator, "g": self.generator, "h": self.generator}
        made = {name: torch.optim.Adam(networks[name].parameters(), lr=0.01 + 0.01 * (name == "d")) for name in "dg"}
        made["h"] = made["g"]
        rates = {"d": 0.9, "g": 0.5, "h": 0.5}
        return {
            name: {
                "optimizer": made[name],
                "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(made[name], rates[name]),
            }
            for name in self.names
        }


class AlikeInTurn(Alike, InTurn):
    """The same, with losses that are yielded."""


def run(kind: type[Alike], names: Any, path: Any = None, epochs: int = 4, save: Any = None) -> pl.Trainer:
    case = Case()
    trainer = pl.Trainer(max_epochs=epochs, **case.flags())
    trainer.fit(kind(case, tuple(names)), DataLoader(images(), 4), ckpt_path=path)
    if save is not None:
        trainer.save_checkpoint(save)
    return trainer


def end_of(trainer: pl.Trainer) -> dict[str, Any]:
    names = trainer.strategy._optimizer_names
    configs = trainer.lr_scheduler_configs
    optimizers = {name: one.state_dict() for name, one in zip(names, trainer.optimizers, strict=True)}
    schedulers = {name: config.scheduler.state_dict() for name, config in zip(names, configs, strict=True)}
    return {
        "weights": trainer.lightning_module.state_dict(),
        "optimizers": dict(sorted(optimizers.items())),
        "schedulers": dict(sorted(schedulers.items())),
    }


@pytest.mark.parametrize("kind", [Alike, AlikeInTurn])
def test_another_order_goes_on_as_if_never_stopped(kind: type[Alike]) -> None:
    run(kind, "dg", epochs=2, save="half.ckpt")
    expected = end_of(run(kind, "dg"))
    for names in ("gd", "dg"):
        assert_equal(end_of(run(kind, names, "half.ckpt")), expected)


def test_the_layout_is_lightnings_and_the_names_stand_beside_it() -> None:
    run(Alike, "gd", epochs=1, save="one.ckpt")
    checkpoint = torch.load("one.ckpt", weights_only=True)
    assert isinstance(checkpoint["optimizer_states"], list) and isinstance(checkpoint["lr_schedulers"], list)
    assert checkpoint["fulmen"]["optimizer_names"] == checkpoint["fulmen"]["scheduler_names"] == ["g", "d"]
    before = [state["param_groups"][0]["initial_lr"] for state in checkpoint["optimizer_states"]]
    assert before == [0.01, 0.02]


def test_files_without_names_go_by_the_order() -> None:
    run(Alike, "dg", epochs=2, save="named.ckpt")
    checkpoint = torch.load("named.ckpt", weights_only=True)
    for key in ("optimizer_names", "scheduler_names"):
        del checkpoint["fulmen"][key]
    torch.save(checkpoint, "unnamed.ckpt")
    assert_equal(end_of(run(Alike, "dg", "unnamed.ckpt")), end_of(run(Alike, "dg")))


def test_names_that_are_missing_or_too_many() -> None:
    run(Alike, "dg", epochs=1, save="one.ckpt")
    with pytest.raises(MisconfigurationException, match=r"(?s)\['d', 'g'\] in the file.*Return them by the names"):
        run(Alike, "dh", "one.ckpt")


def test_the_schedule_of_another_optimizer() -> None:
    class One(Alike):
        def configure_optimizers(self) -> Any:
            made = super().configure_optimizers()
            for name in self.without:
                del made[name]["lr_scheduler"]
            return made

    def fit(without: str, **flags: Any) -> None:
        One.without = without
        run(One, "dg", **flags)

    fit("d", epochs=1, save="one.ckpt")
    with pytest.raises(MisconfigurationException, match=r"(?s)schedulers of \['g'\] in the file.*Return them by the"):
        fit("g", path="one.ckpt")


class Joins(pl.callbacks.BaseFinetuning):
    """The first layer of the discriminator joins its optimizer in the second epoch."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.discriminator[0])

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 1 and optimizer.param_groups[0]["params"][0] is pl_module.discriminator[2].weight:
            self.unfreeze_and_add_param_group(pl_module.discriminator[0], optimizer, lr=0.001)


class Part(Alike):
    """The discriminator's optimizer begins with its last layer."""

    def configure_optimizers(self) -> Any:
        networks = {"d": self.discriminator[2], "g": self.generator}
        return {name: torch.optim.Adam(networks[name].parameters(), lr=0.01) for name in self.names}


def test_groups_that_joined_find_their_optimizer() -> None:
    def fit(names: str, epochs: int, path: Any = None) -> pl.Trainer:
        trainer = pl.Trainer(max_epochs=epochs, callbacks=[Joins()], **Case().flags())
        trainer.fit(Part(Case(), tuple(names)), DataLoader(images(), 4), ckpt_path=path)
        return trainer

    fit("dg", 2).save_checkpoint("half.ckpt")
    whole, again = fit("dg", 4), fit("gd", 4, "half.ckpt")
    assert_equal(again.lightning_module.state_dict(), whole.lightning_module.state_dict())
    assert_equal(again.optimizers[1].state_dict(), whole.optimizers[0].state_dict())
