"""Upgraded files: the same dictionary as Lightning makes, and Lightning goes on from ours."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from .differing import both, loader, model, quiet, trainer

_spec = importlib.util.spec_from_file_location("old", Path(__file__).parents[1] / "utilities/migration/old.py")
assert _spec is not None and _spec.loader is not None
old = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(old)


def part(pl: Any, name: str) -> Any:
    return importlib.import_module(f"{pl.__name__}.{name}")


def upgraded(pl: Any, path: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    torch.save(content, path)
    monkeypatch.setattr(sys, "argv", ["upgrade_checkpoint", str(path)])
    with quiet():
        part(pl, "utilities.upgrade_checkpoint").main()
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def flat(value: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {place: value.tolist() if isinstance(value, torch.Tensor) else value}
    return {key: item for name, part in value.items() for key, item in flat(part, f"{place}/{name}").items()}


# What a validation inside of training had seen has another place since 2.0; Lightning leaves it where it was, and reads
# it nowhere. The other two are rows.
_ELSEWHERE = ("/loops/fit_loop/epoch_loop.val_loop", "/callbacks/", "/loops/fit_loop/epoch_loop.state_dict")


@pytest.mark.parametrize("version", old.all_versions())
def test_the_same_dictionary(
    lightning: ModuleType, fulmen: ModuleType, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = old.all_versions()[version]
    theirs, ours = (
        flat(upgraded(pl, tmp_path / f"{pl.__name__}.ckpt", copy.deepcopy(content), monkeypatch))
        for pl in (lightning, fulmen)
    )
    differing = {
        key
        for key in theirs.keys() | ours.keys()
        if theirs.get(key) != ours.get(key) and not key.startswith(_ELSEWHERE)
    }
    # where nothing was counted yet, Lightning's counts of epochs say 0 beside the one that says how many are over
    assert {key.rpartition("/")[0] for key in differing} <= {
        f"/loops/fit_loop/epoch_progress/{name}" for name in ("total", "current")
    }
    assert not differing or version not in old.WITH_LOOPS
    key = "/loops/fit_loop/epoch_progress/current/completed"
    assert theirs[key] == ours[key] == 3


@pytest.mark.parametrize("version", ["1.4.9", "1.5.0", "1.9.5"])
def test_both_go_on_from_an_upgraded_file(
    lightning: ModuleType, fulmen: ModuleType, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    layer = torch.nn.Linear(2, 1)
    states = {f"layer.{name}": value for name, value in layer.state_dict().items()}
    content = {**old.all_versions()[version], "state_dict": states, "callbacks": {}}
    upgraded(fulmen, tmp_path / "old.ckpt", content, monkeypatch)

    def script(pl: Any) -> Any:
        run = trainer(pl, max_epochs=5)
        module = model(pl)
        run.fit(module, loader(torch.arange(8.0).reshape(4, 2)), ckpt_path=tmp_path / "old.ckpt")
        return [run.current_epoch, run.global_step, *module.layer.weight[0].tolist()]

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours and ours[:2] == [5, 14]
