from __future__ import annotations

import io
import math
import sys
from typing import Any

import pytest

from fulmen.callbacks.progress import tqdm_bar
from fulmen.callbacks.progress.tqdm_bar import convert_inf, restart, tqdm_class


def test_without_tqdm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    tqdm_bar.tqdm_class.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tqdm"):
        tqdm_bar.current_class()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (3, "3"), (0.5, "0.500"), (3.0, "3.000"), (-0.5, "-0.50"), (12.0, "12.00"), (123.4, "123.0"), (-123.4, "-123"),
        (1e-5, "1e-5"), (12345.678, "1.23e+4"), (float("nan"), "nan"), (float("inf"), "inf"), ("text", "text"),
    ],
)  # fmt: skip
def test_numbers_have_one_width(number: Any, text: str) -> None:
    assert tqdm_class(notebook=False).format_num(number) == text


@pytest.mark.parametrize(("total", "taken"), [(3, 3), (0, 0), (None, None), (math.inf, None), (math.nan, None)])
def test_a_total_that_is_not_known(total: float | None, taken: float | None) -> None:
    assert convert_inf(total) == taken


def test_a_bar_starts_again_without_being_drawn() -> None:
    out = io.StringIO()
    bar = tqdm_class(notebook=False)(total=3, file=out, delay=1e-9)
    bar.n = 3
    restart(bar, None, "Again")
    assert out.getvalue() == ""
    assert (bar.n, bar.total) == (0, None)
    bar.refresh()
    assert "Again" in out.getvalue()
    bar.close()


def test_no_thread_watches_the_bars() -> None:
    cls = tqdm_class(notebook=False)
    cls(total=3, file=io.StringIO()).close()
    assert vars(cls).get("monitor") is None  # tqdm's own bars may have one, from elsewhere in the process
