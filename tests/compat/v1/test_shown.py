"""What the Trainer shows in another form than in 1.x serves code of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.compat.v1.test_flags import BARE, data
from tests.compat.v1.test_trainer_words import Full
from torch.utils.data import DataLoader

from fulmen import Callback, Trainer
from fulmen.compat import v1
from fulmen.compat.v1.hints import FormerInterfaceWarning
from fulmen.compat.v1.loggers import LoggerCollection
from fulmen.loggers import CSVLogger, TensorBoardLogger

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")


class Asking(Callback):
    """Asks the Trainer of a validation something."""

    def __init__(self, ask: Callable[[Any], Any]) -> None:
        self.ask = ask

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.answer = self.ask(trainer)


class OldAsking(Asking):
    """The same, and of 1.x, as a hook shows."""

    def on_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Of 1.x."""


def asked(ask: Callable[[Any], Any], loaders: Any, kind: type[Asking] = Asking) -> Any:
    """What a callback sees in a validation of a process that has imported Lightning's names."""
    v1.speak()
    callback = kind(ask)
    Trainer(**{**BARE, "callbacks": [callback]}).validate(Full(), loaders, verbose=False)
    return callback.answer


def test_a_run_of_1_has_its_loader_in_a_list() -> None:
    loader = data()
    ways = lambda t: (len(t.val_dataloaders), t.val_dataloaders[0], [*t.val_dataloaders])  # noqa: E731
    assert asked(ways, loader, OldAsking) == (1, loader, [loader])


def test_it_is_the_loader_all_the_same() -> None:
    loader = data()
    shown = lambda t: (t.val_dataloaders.dataset, t.val_dataloaders.batch_size)  # noqa: E731
    assert asked(shown, loader, OldAsking) == (loader.dataset, loader.batch_size)
    with pytest.raises(AttributeError, match="of_nobody"):
        asked(lambda t: t.val_dataloaders.of_nobody, loader, OldAsking)


def test_a_run_of_today_has_the_loader_itself() -> None:
    loader = data()
    assert asked(lambda t: t.val_dataloaders, loader) is loader
    assert asked(lambda t: len(t.val_dataloaders), loader) == len(loader) != 1
    assert asked(lambda t: isinstance(t.val_dataloaders, DataLoader), loader)


def test_it_says_once_how_that_is_written_today() -> None:
    with pytest.warns(FormerInterfaceWarning, match=r"Today: `trainer\.val_dataloaders`, which is the loader itself"):
        asked(lambda t: t.val_dataloaders[0], data(), OldAsking)


@pytest.mark.parametrize("kind", [Asking, OldAsking])
def test_several_loaders_are_what_was_given(kind: type[Asking]) -> None:
    loaders = [data()]
    assert asked(lambda t: t.val_dataloaders, loaders, kind) is loaders


def test_a_dialect_that_is_chosen_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_DIALECT", "1.9")
    loader = data()
    assert asked(lambda t: [*t.val_dataloaders], loader) == [loader]


def test_test_and_prediction_too() -> None:
    v1.speak()
    trainer, model, loader = Trainer(**BARE, weights_save_path="."), Full(), data()
    trainer.test(model, loader, verbose=False)
    trainer.predict(model, loader, return_predictions=False)
    assert trainer.test_dataloaders[0] is trainer.predict_dataloaders[0] is loader


def test_several_loggers_are_one_in_1_5(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    v1.speak()
    loggers = [TensorBoardLogger(tmp_path / "one"), CSVLogger(tmp_path / "two")]
    trainer, model = Trainer(**{**BARE, "logger": loggers}), Full()
    model.trainer = trainer
    assert trainer.logger is model.logger is loggers[0]
    monkeypatch.setenv("FULMEN_DIALECT", "1.5")
    for shown in (trainer.logger, model.logger):
        assert isinstance(shown, LoggerCollection)
        assert [*shown] == loggers
        assert shown.experiment[1] is loggers[1].experiment
    trainer.logger = LoggerCollection(loggers[1:])
    assert trainer.logger is model.logger is loggers[1]
    trainer.logger = False
    assert trainer.logger is model.logger is None
