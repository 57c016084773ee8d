"""What Fulmen has not can be imported, derived from and tested for; its use says what to do."""

from __future__ import annotations

import pickle

import pytest

from fulmen.compat import absent, gone
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.strategies.strategy import Strategy
from fulmen.utilities.exceptions import MisconfigurationException

PLACES = [(place, name) for place in (absent, gone) for name in place.NAMES]


@pytest.mark.parametrize(("place", "name"), PLACES, ids=[name for _, name in PLACES])
def test_its_use_says_what_to_do(place: object, name: str) -> None:
    found = getattr(place, name)
    assert getattr(place, name) is found and found.__name__ == name and found.__doc__
    assert pickle.loads(pickle.dumps(found)) is found
    with pytest.raises(MisconfigurationException, match=rf"`{name}`[^\n]*\nReceived[^\n]*\nWhat to do: \W?\w"):
        found(1, key="word")


def test_a_subclass_can_be_written_and_tested_for() -> None:
    class Mine(absent.FSDPStrategy):  # type: ignore[misc,name-defined]
        @property
        def root_device(self) -> str:
            return "mine"

    assert issubclass(Mine, Strategy) and not isinstance(SingleDeviceStrategy("cpu"), absent.FSDPStrategy)
    with pytest.raises(MisconfigurationException, match='strategy="ddp"'):
        Mine()


def test_a_name_that_is_in_no_table() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = absent.Nothing
