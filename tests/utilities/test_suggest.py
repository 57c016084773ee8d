from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.utilities.suggest import closest, did_you_mean

names = st.text("abcdefgh_", min_size=4, max_size=12)


@given(st.lists(names, min_size=1, max_size=8), st.data())
def test_a_name_is_closest_to_itself(candidates: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(candidates))
    assert closest(name, candidates) == name
    assert closest(name.upper().replace("_", "-"), candidates) == name


@pytest.mark.parametrize("typo", ["max_epoch", "max-epochs", "maxepochs", "MAX_EPOCHS"])
def test_a_slip_is_recognised(typo: str) -> None:
    assert did_you_mean(typo, ["min_epochs_", "max_epochs", "precision"]) == "Did you mean `max_epochs`?"


def test_nothing_similar_gives_nothing() -> None:
    assert closest("zzz", ["accuracy", "loss"]) is None
    assert did_you_mean("zzz", ["accuracy", "loss"]) == ""
    assert closest(3, ["accuracy"]) is None
