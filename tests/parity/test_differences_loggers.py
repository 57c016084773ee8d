"""Rows of ``docs/differences.md`` on loggers that cannot write."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from .differing import batches, both, model, trainer


def _trained(pl: Any, logger: Any) -> Any:
    """The weights after an epoch of six steps that are logged, or the exception that ended it."""
    torch.manual_seed(0)

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch / 12).pow(2).mean()
        self.log("loss", loss)
        return loss

    module = model(pl, training_step=training_step)
    try:
        trainer(pl, logger=logger, log_every_n_steps=1).fit(module, batches(6))
    except Exception as error:
        return error
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


@pytest.mark.parametrize("kind", ["CSVLogger", "TensorBoardLogger"])
def test_a_folder_that_cannot_be_written_to(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, kind: str
) -> None:
    """Row 65. A file lies where the folder of the run should be. Without a logger, training is what it should be."""

    def weights(pl: Any) -> tuple[Any, Any]:
        place = tmp_path / pl.__name__
        place.write_text("no folder")
        return _trained(pl, getattr(pl.loggers, kind)(place)), _trained(pl, False)

    theirs, ours = both(lightning, fulmen, weights)
    assert torch.equal(theirs[1], ours[1])
    assert isinstance(theirs[0], OSError)
    assert torch.equal(ours[0], ours[1])


def test_the_logger_that_cannot_write_can_end_the_run(fulmen: Any, tmp_path: Path) -> None:
    """Row 65. The old way."""
    place = tmp_path / "file"
    place.write_text("no folder")
    error = _trained(fulmen, fulmen.loggers.CSVLogger(place, on_failure="raise"))
    assert isinstance(error.__cause__, OSError)


def test_a_logger_that_fails_at_the_end_of_a_failed_run(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 66. The step raises an error, and then the ``finalize`` of the first of two loggers."""

    def raised(pl: Any) -> tuple[str, list[str]]:
        ended: list[str] = []

        class Notes(pl.loggers.logger.DummyLogger):  # type: ignore[misc]
            def finalize(self, status: str) -> None:
                ended.append(status)

        class Fails(pl.loggers.Logger):
            name = version = "fails"

            def log_metrics(self, *args: Any, **kwargs: Any) -> None: ...

            def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

            def finalize(self, status: str) -> None:
                raise OSError("at the end")

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            raise ValueError("the mistake")

        with pytest.raises((OSError, ValueError)) as caught:
            trainer(pl, logger=[Fails(), Notes()]).fit(model(pl, training_step=training_step), batches(1))
        return str(caught.value), ended

    theirs, ours = both(lightning, fulmen, raised)
    assert theirs == ("at the end", [])
    assert ours == ("the mistake", ["failed"])
