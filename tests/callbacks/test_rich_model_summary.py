from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from fulmen.callbacks.rich_model_summary import RichModelSummary

from .test_model_summary import fit

rich = pytest.importorskip("rich", reason="the table is drawn with it")


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system="standard")
    monkeypatch.setattr(rich, "_console", console)
    return out


def _plain(out: io.StringIO) -> list[str]:
    from rich.text import Text

    return [line.rstrip() for line in Text.from_ansi(out.getvalue()).plain.splitlines()]


def test_the_table_is_printed(out: io.StringIO) -> None:
    fit(RichModelSummary())
    assert _plain(out) == [
        "┏━━━┳━━━━━━━━━━━━━━┳━━━━━━━━┳━━━━━━━━┳━━━━━━━┳━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━┓",
        "┃   ┃ Name         ┃ Type   ┃ Params ┃ Mode  ┃ FLOPs ┃ In sizes ┃ Out sizes ┃",
        "┡━━━╇━━━━━━━━━━━━━━╇━━━━━━━━╇━━━━━━━━╇━━━━━━━╇━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━┩",
        "│ 0 │ layer        │ Linear │     18 │ train │    96 │   [3, 8] │    [3, 2] │",
        "│   │ other params │ n/a    │      2 │ n/a   │   n/a │      n/a │       n/a │",
        "└───┴──────────────┴────────┴────────┴───────┴───────┴──────────┴───────────┘",
        "Trainable params: 20",
        "Non-trainable params: 0",
        "Total params: 20",
        "Total estimated model params size (MB): 0.000",
        "Modules in train mode: 1",
        "Modules in eval mode: 0",
        "Total FLOPs: 96",
    ]


def test_what_it_was_made_with_goes_to_the_table(out: io.StringIO) -> None:
    columns: list[Any] = [(" ", ["0"]), ("Name", ["layer"]), ("Params", ["18  "])]
    modes = {"train": 1, "eval": 0}
    RichModelSummary.summarize(columns, 18, 18, 0.1, modes, 0, header_style="blue", title="The model")
    assert "The model" in out.getvalue()
    assert "\x1b[34mName" in out.getvalue()


def test_without_rich_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install fulmen\[rich\]"):
        RichModelSummary()
