"""``self.hparams = hparams``, as modules of 2020 are written."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.compat.v1.test_outputs import QUIET, Model, loader

from fulmen import LightningDataModule, Trainer
from fulmen.utilities.exceptions import MisconfiguredValue


class Old(Model):
    def __init__(self, hparams: Any) -> None:
        super().__init__()
        self.hparams = hparams
        self.layer = torch.nn.Linear(self.hparams.width, 1)


@pytest.mark.parametrize("kind", [Namespace, dict])
def test_what_is_assigned_is_in_checkpoints_and_comes_back(kind: Any, tmp_path: Path) -> None:
    given = kind(width=2, lr=0.5)
    model = Old(given)
    assert (model.hparams.lr, model.hparams["width"]) == (0.5, 2)
    model.hparams.lr = 0.25
    assert dict(model.hparams_initial) == {"width": 2, "lr": 0.5}
    trainer = Trainer(**QUIET)
    trainer.fit(model, loader(1), loader(1))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = Old.load_from_checkpoint(tmp_path / "a.ckpt")
    assert dict(again.hparams) == {"width": 2, "lr": 0.25}
    assert torch.equal(again.layer.weight, model.layer.weight)


def test_loggers_get_what_is_assigned_and_a_data_module_may_too(tmp_path: Path) -> None:
    class Data(LightningDataModule):
        def __init__(self, hparams: Any) -> None:
            super().__init__()
            self.hparams = hparams

    model, data = Old({"width": 2}), Data(Namespace(batch=4))
    assert data.hparams.batch == 4
    assert model._log_hyperparams
    assert data._log_hyperparams
    assert model._hparams_name == data._hparams_name == "hparams"
    with pytest.raises(AttributeError, match=r"Write `model.hparams.update\(...\)`"):
        model.hparams = {"more": 1}


@pytest.mark.parametrize("wrong", ["lr", 3])
def test_what_holds_no_names_is_refused(wrong: Any) -> None:
    with pytest.raises(MisconfiguredValue, match=r"or a dict or `argparse\.Namespace`"):
        Old(wrong)
