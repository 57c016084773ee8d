"""What of files of earlier versions is brought back."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from .differing import both, loader, model, rows, trainer


def old(**more: Any) -> dict[str, Any]:
    """A file as 1.4 wrote it after one epoch of one step."""
    layer = torch.nn.Linear(2, 1)
    states = {f"layer.{name}": value for name, value in layer.state_dict().items()}
    return {
        "epoch": 1, "global_step": 1, "pytorch-lightning_version": "1.5.10", "state_dict": states, "lr_schedulers": [],
        "optimizer_states": [torch.optim.SGD(layer.parameters(), 0.1).state_dict()], "callbacks": {}, **more,
    }  # fmt: skip


def test_what_an_early_stopping_had_seen(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 83. With patience 3, two epochs had been without progress, and the next one is the third."""
    seen = {"wait_count": 2, "stopped_epoch": 0, "best_score": torch.tensor(-1.0), "patience": 3}
    torch.save(old(callbacks={"EarlyStopping": seen}), tmp_path / "old.ckpt")

    def script(pl: Any) -> Any:
        stopping = pl.callbacks.EarlyStopping("loss", patience=3)

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch).pow(2).mean()
            self.log("loss", loss)
            return loss

        run = trainer(pl, max_epochs=9, callbacks=[stopping])
        run.fit(model(pl, training_step=training_step), loader(rows(2)), ckpt_path=tmp_path / "old.ckpt")
        return run.current_epoch

    theirs, ours = both(lightning, fulmen, script)
    assert theirs > 2 and ours == 2


def test_the_scale_of_losses(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 84. The scale is what the file says."""
    state = torch.amp.GradScaler("cpu", init_scale=512.0)
    state.scale(torch.ones(1))

    def script(pl: Any) -> Any:
        return [scale(pl, key) for key in ("native_amp_scaling_state", "NativeMixedPrecisionPlugin")]

    def scale(pl: Any, key: str) -> Any:
        torch.save(old(**{key: state.state_dict()}), tmp_path / "old.ckpt")
        precision = pl.plugins.MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0))
        run = trainer(pl, max_epochs=1, plugins=[precision], accelerator="cpu")
        run.fit(model(pl), loader(rows(2)), ckpt_path=tmp_path / "old.ckpt")
        return precision.scaler.state_dict()["scale"]

    assert both(lightning, fulmen, script) == ([512.0, 2.0], [512.0, 512.0])


def test_weights_beside_a_class_that_is_gone(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, recwarn: Any
) -> None:
    """Row 85. The weights are those that were saved."""
    home = ModuleType("somebodys_old_metrics")
    home.Accuracy = type("Accuracy", (), {"__module__": home.__name__})  # type: ignore[attr-defined]
    content = old(hyper_parameters={"metric": home.Accuracy()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, home.__name__, home)
        torch.save(content, tmp_path / "old.ckpt")

    def script(pl: Any) -> Any:
        cls = type(model(pl))
        found = []
        for weights_only in (None, False):
            try:
                loaded = cls.load_from_checkpoint(tmp_path / "old.ckpt", weights_only=weights_only)
            except Exception as error:
                found.append(type(error).__name__)
            else:
                found.append(torch.equal(loaded.layer.weight, content["state_dict"]["layer.weight"]))
        return found

    theirs, ours = both(lightning, fulmen, script)
    assert True not in theirs and ours == [True, True]


def test_hyper_parameters_that_are_assigned(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 86. What was assigned is what is read."""

    def script(pl: Any) -> Any:
        class Old(pl.LightningModule):  # type: ignore[misc]
            def __init__(self, hparams: dict[str, float]) -> None:
                super().__init__()
                self.hparams = hparams

        try:
            return Old({"lr": 0.5}).hparams.lr
        except AttributeError as error:
            return "no setter" in str(error)

    assert both(lightning, fulmen, script) == (True, 0.5)
