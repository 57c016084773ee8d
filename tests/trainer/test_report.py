from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.trainer.report import report, table

NAMES = st.text("abcdefg_/", min_size=1, max_size=12)


@given(st.lists(st.dictionaries(NAMES, st.floats(-1e6, 1e6), min_size=1, max_size=4), min_size=1, max_size=3))
def test_every_value_stands_in_its_column(results: list[dict[str, float]]) -> None:
    lines = table(results, "Test").splitlines()
    rule, head, rows = lines[0], lines[1], lines[3:-1]
    assert lines[0] == lines[2] == lines[-1] == "─" * len(rule)
    assert head.split("|")[0].strip() == "Test metric"
    assert len(head.split("|")) == len(results) + 1
    found = {row.split("|")[0].strip(): [cell.strip() for cell in row.split("|")[1:]] for row in rows}
    for index, values in enumerate(results):
        for name, value in values.items():
            assert found[name][index] == f"{value:.6g}"


def test_the_loaders_number_is_the_column() -> None:
    text = table([{"acc/dataloader_idx_0": 0.5}, {"acc/dataloader_idx_1": 0.25}], "Validate")
    assert [cell.strip() for cell in text.splitlines()[3].split("|")] == ["acc", "0.5", "0.25"]


class Somebody:
    def __init__(self, first: bool) -> None:
        self.is_global_zero = first


@pytest.mark.parametrize(
    ("first", "results", "printed"),
    [(True, [{"a": 1.0}], True), (False, [{"a": 1.0}], False), (True, [{}], False), (True, [], False)],
)
def test_who_prints_what(first: bool, results: Any, printed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Somebody(first), results, "Test") is results  # type: ignore[arg-type]
    assert bool(capsys.readouterr().out) == printed
