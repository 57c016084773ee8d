from __future__ import annotations

import pytest

from fulmen.callbacks.monitor import advice_for_missing, check_mode, show
from fulmen.utilities.exceptions import MisconfigurationException


def test_the_most_similar_name_is_offered() -> None:
    assert "Did you mean 'val_loss'?" in advice_for_missing("vall_loss", ["val_loss", "train_acc"])
    assert "self.log('x', value)" in advice_for_missing("x", ["val_loss"])


def test_mode() -> None:
    assert check_mode("Some", "max") == "max"
    with pytest.raises(MisconfigurationException, match='mode="max" for an accuracy'):
        check_mode("Some", "auto")


def test_show() -> None:
    assert show(["b", "a"]) == "`a`, `b`"
    assert show([]) == "none"
