"""TorchMetrics without a task, where somebody asked for the names of Lightning."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
import torchmetrics
import torchmetrics.functional

from fulmen.compat.v1 import torchmetrics_help
from fulmen.compat.v1.hints import FormerInterfaceWarning


@pytest.fixture(autouse=True)
def _help() -> Iterator[None]:
    torchmetrics_help.watch()
    yield
    torchmetrics_help.forget()


def test_without_a_task_it_is_inferred_and_said_once() -> None:
    with pytest.warns(FormerInterfaceWarning, match='task="multiclass"') as said:
        metric = torchmetrics.Accuracy()
        torchmetrics.Accuracy(num_classes=5)
    assert len(said) == 1
    assert metric(torch.tensor([0, 1, 3]), torch.tensor([0, 2, 3])) == pytest.approx(2 / 3)


def test_with_a_task_it_is_torchmetrics_own() -> None:
    for metric in (torchmetrics.Accuracy("multiclass", num_classes=3), torchmetrics.Accuracy(task="binary")):
        assert type(metric).__module__.startswith("torchmetrics.")
    preds, target = torch.tensor([0, 1]), torch.tensor([0, 0])
    assert torchmetrics.functional.accuracy(preds, target, task="binary") == 0.5
    assert torchmetrics.functional.accuracy(preds, target, "binary") == 0.5


@pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")
def test_functions_are_helped_too() -> None:
    preds, target = torch.tensor([0, 4]), torch.tensor([0, 0])
    assert torchmetrics.functional.accuracy(preds, target) == 0.5
    assert torchmetrics.functional.accuracy(preds=preds, target=target, num_classes=5) == 0.5
    assert torchmetrics.JaccardIndex(num_classes=5)(preds, target).ndim == 0


def test_it_is_taken_back() -> None:
    torchmetrics_help.forget()
    with pytest.raises(TypeError, match="task"):
        torchmetrics.Accuracy()  # type: ignore[call-arg]


@pytest.mark.soak
def test_it_waits_for_the_import() -> None:
    program = (
        "import sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from fulmen.compat.v1 import torchmetrics_help as th\n"
        "th.watch()\n"
        "assert 'torchmetrics' not in sys.modules and 'torch' not in sys.modules\n"
        "import torchmetrics\n"
        "print(type(torchmetrics.Accuracy()).__module__, any(isinstance(f, th._Finder) for f in sys.meta_path))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["fulmen.compat.v1.metrics.classification", "False"]
