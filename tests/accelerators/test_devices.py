from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.accelerators.devices import check_type, indices
from fulmen.utilities.exceptions import MisconfigurationException


@given(st.integers(1, 16), st.data())
def test_counts_and_lists_mean_the_same_as_numbers_and_as_strings(available, data):
    count = data.draw(st.integers(1, available))
    assert indices(count, "cuda", available) == indices(str(count), "cuda", available) == list(range(count))
    chosen = data.draw(st.lists(st.integers(0, available - 1), min_size=1, unique=True))
    text = ",".join(map(str, chosen)) + ","  # one index alone needs the comma: "3" is a count
    assert indices(chosen, "cuda", available) == indices(tuple(chosen), "cuda", available) == chosen
    assert indices(text, "cuda", available) == chosen
    assert indices(-1, "cuda", available) == indices(" -1 ", "cuda", available) == list(range(available))


@pytest.mark.parametrize("devices", [0, "0", [], "", -2, "-2", ","])
def test_none_at_all_is_an_error(devices):
    with pytest.raises(MisconfigurationException, match=r"`devices=1` for the first one"):
        indices(devices, "cuda", 4)


@pytest.mark.parametrize("devices", [None, 1.0, True, [1.0], ["a"], [True], "one", "0,x", {1: 2}])
def test_what_can_not_be_read_is_an_error(devices):
    with pytest.raises(MisconfigurationException, match=r"(?s)must be a number, a list of indices.*`devices=\[1\]`"):
        indices(devices, "cuda", 4)


@pytest.mark.parametrize("devices, missing", [(3, "2"), ([5], "5"), ("0,7", "7"), ([-1], "-1")])
def test_an_index_out_of_range_names_those_that_are_there(devices, missing):
    with pytest.raises(MisconfigurationException, match=rf"(?s)lacks: {missing}\..*there: 0, 1\."):
        indices(devices, "cuda", 2)


def test_where_there_are_none_it_says_so():
    with pytest.raises(MisconfigurationException, match=r"there: none\."):
        indices(1, "cuda", 0)
    with pytest.raises(MisconfigurationException, match="at least one"):
        indices(-1, "cuda", 0)


def test_a_device_is_named_once():
    with pytest.raises(MisconfigurationException, match="name each device once"):
        indices([0, 0], "cuda", 2)


def test_a_device_of_another_kind_is_refused():
    check_type(torch.device("cpu"), "cpu", "CPUAccelerator")
    with pytest.raises(MisconfigurationException, match=r"(?s)`CPUAccelerator` sets up cpu.*`accelerator='cuda'`"):
        check_type(torch.device("cuda", 1), "cpu", "CPUAccelerator")
