from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fulmen.demos.lstm import LightningLSTM, SequenceSampler, SimpleLSTM
from fulmen.demos.transformer import WikiText2


def test_each_place_goes_on_from_batch_to_batch() -> None:
    batches = list(SequenceSampler(range(11), batch_size=2))
    assert [list(column) for column in zip(*batches)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.filterwarnings("ignore:`self.log` was called on a module that no Trainer runs")
def test_the_memory_lasts_for_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one two three\n" * 400)
    monkeypatch.setattr(WikiText2, "URL", text.as_uri())
    model = LightningLSTM(4)
    model.model = SimpleLSTM(4, 8, 8, 2)
    model.prepare_data()
    batch = next(iter(model.train_dataloader()))
    assert batch[0].shape == (20, 35)
    model.training_step(batch, 0)
    assert model.hidden is not None and bool(model.hidden[0].any())
    first = model.hidden
    model.training_step(batch, 1)
    assert not torch.equal(model.hidden[0], first[0])
    model.on_train_epoch_end()
    assert model.hidden is None


def test_weights_are_drawn_anew() -> None:
    model = SimpleLSTM(4, 8, 8, 2)
    before = model.decoder.weight.detach().clone()
    model.init_weights()
    assert not torch.equal(before, model.decoder.weight)
    assert float(model.encoder.weight.detach().abs().max()) <= 0.1 and not model.decoder.bias.any()
