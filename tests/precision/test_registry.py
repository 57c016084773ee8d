from __future__ import annotations

import pytest
import torch

from fulmen.precision.amp import MixedPrecision
from fulmen.precision.double import DoublePrecision
from fulmen.precision.half import HalfPrecision
from fulmen.precision.precision import Precision
from fulmen.precision.registry import resolve
from fulmen.utilities.exceptions import MisconfigurationException

SPELLINGS = [
    ([None, 32, "32", "32-true"], Precision, "32-true"),
    (["bf16", "bf16-mixed"], MixedPrecision, "bf16-mixed"),
    (["16-true"], HalfPrecision, "16-true"),
    (["bf16-true"], HalfPrecision, "bf16-true"),
    ([64, "64", "64-true"], DoublePrecision, "64-true"),
]


@pytest.mark.parametrize(
    "spelling, cls, name", [(spelling, cls, name) for spellings, cls, name in SPELLINGS for spelling in spellings]
)
@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_all_spellings(spelling, cls, name, device):
    precision = resolve(spelling, device)
    assert type(precision) is cls
    assert precision.precision == name


@pytest.mark.parametrize("spelling", [16, "16", "16-mixed"])
def test_mixed_float16_on_the_cpu_becomes_bfloat16_with_one_warning(spelling):
    with pytest.warns(UserWarning, match="bf16-mixed") as warned:
        precision = resolve(spelling, "cpu")
    assert len(warned) == 1
    assert precision.precision == "bf16-mixed"
    assert precision.scaler is None


@pytest.mark.parametrize("device", ["xpu", torch.device("mps", 0)])
def test_mixed_float16_elsewhere_scales_its_losses(device):
    precision = resolve("16-mixed", device)
    assert precision.precision == "16-mixed"
    assert precision.device == torch.device(device).type
    assert isinstance(precision.scaler, torch.amp.GradScaler)


def test_a_precision_is_taken_as_it_is():
    precision = MixedPrecision("16-mixed", "cpu")
    assert resolve(precision, "cpu") is precision


@pytest.mark.parametrize("spelling", ["transformer-engine", "fp8", "nf4", "int8"])
def test_fewer_bits_come_later(spelling):
    with pytest.raises(MisconfigurationException, match=r'(?s)not supported yet.*`precision="bf16-mixed"`'):
        resolve(spelling, "cuda")


@pytest.mark.parametrize(
    "spelling, remedy",
    [
        ("bf16-mix", "Did you mean 'bf16-mixed'"),
        (8, "Choose among"),
        (True, "32-true"),
        (1.5, "Choose"),
        (torch.float16, "Choose"),
    ],
)
def test_an_unknown_one_offers_the_closest(spelling, remedy):
    with pytest.raises(MisconfigurationException, match=remedy):
        resolve(spelling, "cpu")


def test_doubles_do_not_exist_on_mps():
    with pytest.raises(MisconfigurationException, match='`precision="32-true"`, or `accelerator="cpu"`'):
        resolve("64-true", "mps")
