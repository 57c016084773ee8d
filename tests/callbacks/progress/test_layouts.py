"""Lines that fit their terminal: nothing is cut in the middle, and values come first."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks.progress.rich_progress import RichProgressBar
from fulmen.callbacks.progress.tqdm_bar import tqdm_class
from fulmen.callbacks.progress.tqdm_layout import BAR_FORMAT
from fulmen.utilities.model_summary.table import fit_columns, format_table

from .runs import Hooks


def _line(width: int, values: dict[str, Any], n: int = 5, total: int | None = 12, name: str = "Epoch 7: ") -> str:
    options = {"ncols": width, "prefix": name, "bar_format": BAR_FORMAT, "rate": 30.0}
    postfix = ", ".join(f"{key}={value}" for key, value in values.items())
    return str(tqdm_class(notebook=False).format_meter(n, total, 3.0, postfix=postfix, **options))


@given(
    st.integers(30, 200),
    st.dictionaries(st.text("abc_/", min_size=1, max_size=40), st.integers(0, 99999), max_size=8),
    st.sampled_from([None, 12]),
)
def test_a_line_of_tqdm_fits(width: int, values: dict[str, Any], total: int | None) -> None:
    line = _line(width, values, total=total)
    assert len(line) <= width
    assert line.startswith("Epoch 7: ")
    shown = re.findall(r"=(\d+)", line)
    assert shown == [str(value) for value in values.values()][: len(shown)]
    assert len(shown) == len(values) or line.rstrip("]").endswith("…")


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (84, "Epoch 7:  42%|███▎    | 5/12 [00:03<00:00, 30.00it/s, train_loss=0.01, val=0.02]"),
        (70, "Epoch 7:  42%|█████     | 5/12 [30.00it/s, train_loss=0.01, val=0.02]"),
        (60, "Epoch 7:  42% 5/12 [30.00it/s, train_loss=0.01, val=0.02]"),
        (46, "Epoch 7:  42% 5/12, train_loss=0.01, val=0.02"),
        (40, "Epoch 7:  42%, train_loss=0.01, val=0.02"),
        (30, "Epoch 7:  42% 5/12, …"),
    ],
)
def test_what_goes_first(width: int, line: str) -> None:
    shown = _line(width, {"train_loss": "0.01", "val": "0.02"})
    assert re.sub(r"[█▏▎▍▌▋▊▉ ]+(?=\|)", "bar", shown) == re.sub(r"[█▏▎▍▌▋▊▉ ]+(?=\|)", "bar", line)


def test_a_format_of_the_users_stays() -> None:
    options = {"ncols": 20, "prefix": "x", "bar_format": "{n_fmt} of {total_fmt} and much more text"}
    assert tqdm_class(notebook=False).format_meter(1, 2, 3.0, **options).startswith("1 of 2 and")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_rich_breaks_no_value(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="the bar is drawn with it")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLUMNS", raising=False)
    out = io.StringIO()
    bar = RichProgressBar(console_kwargs={"file": out, "width": width, "force_terminal": True})
    metrics = {f"a_metric_of_kind_{number}": number / 7 for number in range(6)}
    hooks = Hooks(bar, batches=12, progress_bar_metrics=metrics)
    hooks.start()
    hooks.epoch(12)
    out.seek(0)
    out.truncate()
    bar.refresh(hard=True)
    lines = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line).rstrip() for line in re.split(r"[\r\n]+", out.getvalue())]
    text = "\n".join(lines).replace("\xa0", " ")
    assert all(len(line) <= width for line in lines)
    assert "…" not in text
    for name, value in metrics.items():
        assert f"{name}: {value:.3f}" in text
    assert "12/12" in text
    hooks.end()


_TABLE = [
    ("", ["0", "1"]),
    ("Name", ["encoder.layers.0.attention.projection", "head"]),
    ("Type", ["MultiheadAttention", "Linear"]),
    ("Params", ["12.3 M", "4"]),
    ("Mode", ["train", "eval"]),
    ("FLOPs", ["0", "1.2 B"]),
    ("In sizes", ["[2, 16, 512]", "[2, 4]"]),
    ("Out sizes", ["[2, 16, 512]", "[2, 1]"]),
]


@pytest.mark.parametrize("width", [50, 60, 80, 120, 200])
def test_a_summary_fits(width: int) -> None:
    table = format_table(fit_columns(_TABLE, width), 16, 16, 0.1, {"train": 1, "eval": 1}, 9)
    lines = [line for line in table.splitlines() if "|" in line]
    assert all(len(line) <= width for line in lines)
    assert all(title in lines[0] for title in ("Name", "Type", "Params"))
    assert "head" in lines[2]
    if width == 200:
        assert fit_columns(_TABLE, width) == _TABLE
