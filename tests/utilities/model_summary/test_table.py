from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.model_summary.table import format_table, get_formatted_model_size, get_human_readable_count


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0  "), (999, "999  "), (1000, "1.0 K"), (2890, "2.9 K"), (12_345_678, "12.3 M"), (999_999, "999 K"),
        (3 * 10**8, "300 M"), (10**12, "1.0 T"), (5 * 10**15, "5,000 T"),
    ],
)  # fmt: skip
def test_counts(number: int, text: str) -> None:
    assert get_human_readable_count(number) == text


@given(st.integers(0, 10**18))
def test_a_count_is_right_to_a_twentieth(number: int) -> None:
    digits, _, unit = get_human_readable_count(number).partition(" ")
    shown = float(digits.replace(",", "")) * 1000 ** " KMBT".index(unit.strip() or " ")
    assert abs(shown - number) <= 0.051 * number


def test_a_count_is_not_negative() -> None:
    with pytest.raises(MisconfigurationException, match="Pass a number of things"):
        get_human_readable_count(-1)


def test_sizes() -> None:
    assert get_formatted_model_size(1234.5678) == "1,234.568"


def test_a_table() -> None:
    columns = [(" ", ["0", " "]), ("Name", ["layer", "other params"]), ("Params", ["1.2 K", "7  "])]
    text = format_table(columns, 1242, 1235, 0.004968, {"train": 1, "eval": 0}, 2400)
    assert text.splitlines() == [
        "  | Name         | Params",
        "-------------------------------",
        "0 | layer        | 1.2 K ",
        "  | other params | 7     ",
        "-------------------------------",
        "1.2 K     Trainable params",
        "7         Non-trainable params",
        "1.2 K     Total params",
        "0.005     Total estimated model params size (MB)",
        "1         Modules in train mode",
        "0         Modules in eval mode",
        "2.4 K     Total Flops",
    ]
