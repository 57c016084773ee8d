from __future__ import annotations

import pytest

import fulmen.callbacks
from fulmen.callbacks import Callback


@pytest.mark.parametrize("name", fulmen.callbacks.__all__)
def test_every_name_is_a_callback(name: str) -> None:
    assert issubclass(getattr(fulmen.callbacks, name), Callback)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="ModelChekpoint"):
        _ = fulmen.callbacks.ModelChekpoint


def test_dir_offers_the_names() -> None:
    assert {"Callback", "EarlyStopping", "ModelCheckpoint", "Timer"} <= set(dir(fulmen.callbacks))
