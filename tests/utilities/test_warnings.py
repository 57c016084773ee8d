from __future__ import annotations

import warnings

import pytest

from fulmen.utilities.warnings import PossibleUserWarning, disable_possible_user_warnings


@pytest.mark.parametrize(("module", "heard"), [("", 1), (__name__, 1), ("nowhere", 2)])
def test_they_are_silenced_and_others_are_not(module: str, heard: int) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        disable_possible_user_warnings(module)
        warnings.warn_explicit("meant so", PossibleUserWarning, __file__, 1, __name__)
        warnings.warn_explicit("another", UserWarning, __file__, 1, __name__)
    assert len(caught) == heard
