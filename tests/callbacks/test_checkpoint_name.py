from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks.checkpoint_name import check_template, fields, fill, metrics_in
from fulmen.utilities.exceptions import MisconfigurationException

VALUES = {
    "epoch": torch.tensor(3),
    "step": torch.tensor(7),
    "val/a": torch.tensor(0.12345),
    "a-b": 2,
    "x.y": 5,
    "n": None,
}


@pytest.mark.parametrize(
    ("template", "named", "plain"),
    [
        ("{epoch}", "epoch=3", "3"),
        ("{epoch:02d}-{step}", "epoch=03-step=7", "03-7"),
        ("{val/a:.2f}", "val/a=0.12", "0.12"),
        ("{a-b}_{x.y}", "a-b=2_x.y=5", "2_5"),
        ("{missing:d}", "missing=0", "0"),
        ("{n:.2f}", "n=none", "none"),
        ("plain", "plain", "plain"),
    ],
)
def test_fill(template: str, named: str, plain: str) -> None:
    assert fill(template, VALUES) == named
    assert fill(template, VALUES, with_names=False) == plain
    assert fill(template, VALUES, equals=":") == named.replace("=", ":")


def test_fields_and_metrics() -> None:
    assert fields("{epoch}-{val/a:.2f}-{step}") == ["epoch", "val/a", "step"]
    assert metrics_in("{epoch}-{val/a:.2f}-{step}") == ["val/a"]


@given(st.text(alphabet="abc{}:.2f-/", max_size=12), st.floats(-10, 10))
def test_what_passes_the_check_can_be_filled(template: str, value: float) -> None:
    try:
        check_template(template, "filename")
    except MisconfigurationException:
        return
    name = fill(template, dict.fromkeys(fields(template), value))
    assert "{" not in name and "}" not in name


@pytest.mark.parametrize("template", ["{epoch", "epoch}", "{{epoch}}", "{}", "{val:.2q}", "{epoch:.2q}"])
def test_broken_templates(template: str) -> None:
    with pytest.raises(MisconfigurationException, match=r"For example \"\{epoch:02d\}-\{val_loss:.2f\}\""):
        check_template(template, "filename")


def test_a_value_that_does_not_fit_its_format_ends_no_run() -> None:
    assert fill("{acc:03d}", {"acc": 41.6}) == "acc=042"
    assert fill("{acc:d}", {"acc": float("nan")}) == "acc=nan"
