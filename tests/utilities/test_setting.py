from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fulmen.utilities.setting import Setting, first_setting


def test_all_holders_follow() -> None:
    """Also those that disagreed before."""
    module = SimpleNamespace(lr=0.1, hparams={"lr": 0.2})
    data = SimpleNamespace(hparams={"lr": 0.3, "other": 1})
    setting = Setting("lr", module, data)
    assert setting.exists and setting.get() == 0.3
    setting.set(0.5)
    assert (module.lr, module.hparams, data.hparams) == (0.5, {"lr": 0.5}, {"lr": 0.5, "other": 1})
    assert not hasattr(data, "lr")


def test_paths() -> None:
    module = SimpleNamespace(part=SimpleNamespace(size=1), hparams={"data": {"size": 2}})
    Setting("part.size", module, None).set(5)
    Setting("data.size", module, None).set(6)
    assert module.part.size == 5 and module.hparams == {"data": {"size": 6}}
    assert not Setting("data.other", module).exists and not Setting("nowhere.size", module).exists


def test_properties() -> None:
    """One that shows what is kept elsewhere is left alone; one with a setter is used."""

    class Shows:
        hparams: dict[str, Any]

        def __init__(self) -> None:
            self.hparams = {"lr": 1.0}
            self.kept = 1.0

        @property
        def lr(self) -> float:
            return float(self.hparams["lr"])

        @property
        def own(self) -> float:
            return self.kept

        @own.setter
        def own(self, value: float) -> None:
            self.kept = value

    shows = Shows()
    Setting("lr", shows).set(2.0)
    Setting("own", shows).set(3.0)
    assert shows.lr == shows.hparams["lr"] == 2.0 and shows.kept == 3.0


@pytest.mark.parametrize(("names", "found"), [(("lr", "learning_rate"), "lr"), (("rate", "learning_rate"), None)])
def test_first(names: tuple[str, ...], found: str | None) -> None:
    setting = first_setting(names, SimpleNamespace(lr=1), None)
    assert (setting.name if setting else None) == found
