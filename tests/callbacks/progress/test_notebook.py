"""What is left of a run in a notebook."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from fulmen.callbacks.progress import tqdm_bar, tqdm_progress
from fulmen.callbacks.progress.tqdm_progress import TQDMProgressBar

from .runs import Model, loader, trainer

pytest.importorskip("ipywidgets", reason="the bar of a notebook is drawn with it")
pytest.importorskip("IPython", reason="the bar of a notebook is drawn with it")


class Page:
    """The widgets that were put below a cell."""

    def __init__(self) -> None:
        self.widgets: list[Any] = []

    @property
    def lines(self) -> list[str]:
        """Those that can be seen, each with the place of its bar."""
        found = []
        for widget in self.widgets:
            if widget.layout.display != "none" and widget.comm is not None:
                left, bar, right = widget.children
                line = f"{left.value}|{bar.value:.0f}/{bar.max:.0f}|{right.value}"
                found.append(re.sub(r"\s", " ", line))
        return found


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """A notebook without its kernel."""
    found = Page()
    monkeypatch.setattr(tqdm_bar, "in_notebook", lambda: True)
    monkeypatch.setattr(tqdm_progress, "redraws", lambda stream: True)
    tqdm_bar.tqdm_class(True)
    monkeypatch.setattr(sys.modules["tqdm.notebook"], "display", found.widgets.append)
    return found


def test_one_bar_is_left_of_a_fit(page: Page) -> None:
    trainer(TQDMProgressBar(), max_epochs=4).fit(Model(), loader(6), [loader(3)])
    assert len(page.lines) == 1
    assert re.fullmatch(
        r"Epoch 3: 100%\|6/6\| 6/6 \[00:00&lt;00:00, .+it/s, train_loss=\S+, val_loss=\S+\]", page.lines[0]
    )


def test_no_validation_leaves_a_widget_of_its_own(page: Page) -> None:
    counts = []
    for epochs in (1, 5):
        page.widgets.clear()
        trainer(TQDMProgressBar(), max_epochs=epochs).fit(Model(), loader(2), [loader(2), loader(1)])
        counts.append(len(page.widgets))
    assert counts == [3, 3]  # the sanity check, training, validation


@pytest.mark.parametrize(("call", "name"), [("validate", "Validation"), ("test", "Testing"), ("predict", "Predicting")])
def test_one_bar_is_left_of_an_evaluation(page: Page, call: str, name: str) -> None:
    quiet = {} if call == "predict" else {"verbose": False}
    getattr(trainer(TQDMProgressBar()), call)(Model(), loader(4), **quiet)
    assert len(page.lines) == 1
    assert page.lines[0].startswith(f"{name} DataLoader 0: 100%|4/4| 4/4 ")
