from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np
import pytest
import torch

from fulmen.loggers.values import as_params, check_names, flat_params, number
from fulmen.utilities.exceptions import MisconfigurationException


@pytest.mark.parametrize(
    "value",
    [2, 2.0, torch.tensor(2.0), torch.tensor([[2]]), np.float32(2), np.array([2]), torch.tensor(2.0).bfloat16()],
)
def test_what_holds_one_number_is_one(value: Any) -> None:
    assert number("a", value) == 2


@pytest.mark.parametrize("value", [torch.ones(2), torch.ones(0), np.ones(3)])
def test_several_numbers_are_refused(value: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"`loss` holds several or none(.|\n)*Log `value.mean\(\)`"):
        number("loss", value)


@pytest.mark.parametrize("value", ["text", None, [1.0], 1j, {"a": 1.0}, object()])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"`loss` is none(.|\n)*Log a float"):
        number("loss", value)


def test_metrics_are_numbers_by_name() -> None:
    check_names({"a": 1.0})
    with pytest.raises(MisconfigurationException, match=r'log_metrics\(\{"loss": 0.5\}, step\)'):
        check_names([1.0])
    with pytest.raises(MisconfigurationException, match='Log it as `"3"`'):
        check_names({"a": 1.0, 3: 1.0})


def test_hyper_parameters_are_a_dictionary() -> None:
    given = {"a": 1}
    assert as_params(given) == given
    assert as_params(given) is not given
    assert as_params(Namespace(a=1)) == given
    assert as_params(None) == {}
    with pytest.raises(MisconfigurationException, match=r"vars\(config\)"):
        as_params([("a", 1)])


def test_nested_hyper_parameters_are_flattened() -> None:
    params = {"lr": 0.1, "on": True, "m": {"n": Namespace(k=[1, 2]), "none": None}, "empty": {}, 3: np.float64(2.5)}
    params["one"], params["many"] = torch.tensor([4]), torch.ones(2)
    assert flat_params(params) == {
        "lr": 0.1,
        "on": True,
        "m/n/k": "[1, 2]",
        "m/none": "None",
        "3": 2.5,
        "one": 4,
        "many": "tensor([1., 1.])",
    }
