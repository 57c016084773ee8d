"""What a library reads of a checkpoint with `torch.load`, where Lightning's names mean Fulmen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fulmen as pl
from fulmen.compat import reader
from fulmen.demos.boring_classes import BoringModel
from fulmen.utilities.unresolved import Unresolved


class Scorer:
    """No data: it is stored as a pickle."""

    factor = 3.0


class Model(BoringModel):
    def __init__(self, scorer: Scorer, folder: Path) -> None:
        super().__init__()
        self.save_hyperparameters()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("reader") / "a.ckpt"
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(**quiet, fast_dev_run=True)
    with pytest.warns(UserWarning, match="scorer"):
        trainer.fit(Model(Scorer(), Path("data")))
        trainer.save_checkpoint(path)
    return path


@pytest.fixture
def installed():
    reader.install()
    yield
    reader.uninstall()


def test_a_library_that_trusts_a_file_gets_the_objects(path, installed):
    hparams = torch.load(path, weights_only=False)["hyper_parameters"]
    assert hparams["scorer"].factor == 3.0
    assert hparams["folder"] == Path("data")


def test_without_trust_values_are_made_and_code_is_not_run(path, installed):
    hparams = torch.load(path, weights_only=True)["hyper_parameters"]
    assert hparams["folder"] == Path("data")
    assert type(hparams["scorer"]) is Unresolved


def test_a_library_may_allow_the_classes_that_it_knows(path, installed):
    refused = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    assert refused == [f"{__name__}.Scorer"]
    with torch.serialization.safe_globals([Scorer]):
        assert torch.load(path, weights_only=True)["hyper_parameters"]["scorer"].factor == 3.0
        assert Model.load_from_checkpoint(path).hparams["scorer"].factor == 3.0


def test_what_a_library_writes_anew_is_read_as_before(path, installed, tmp_path):
    torch.save(torch.load(path, weights_only=False), tmp_path / "again.ckpt")
    model = Model.load_from_checkpoint(tmp_path / "again.ckpt", weights_only=False)
    assert model.hparams["scorer"].factor == 3.0


def test_other_files_are_left_as_they_are(installed, tmp_path):
    stored = {"a": {"__fulmen__": "path", "value": "x"}}
    torch.save(stored, tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt") == stored


def test_it_comes_and_goes():
    plain, names = torch.load, torch.serialization.get_unsafe_globals_in_checkpoint
    reader.install()
    reader.install()
    assert torch.load is torch.serialization.load is not plain
    reader.uninstall()
    assert torch.load is torch.serialization.load is plain
    assert torch.serialization.get_unsafe_globals_in_checkpoint is names
