from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fulmen.demos.transformer import Dictionary, LightningTransformer, PositionalEncoding, WikiText2, tokenize
from fulmen.utilities.exceptions import MisconfigurationException


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat\n\nthe end\n" * 4)
    return path


def test_words_are_numbered_as_they_come(text: Path) -> None:
    numbers, words = tokenize(text)
    assert [words.idx2word[number] for number in numbers[:8]] == [
        "the",
        "cat",
        "sat",
        "<eos>",
        "<eos>",
        "the",
        "end",
        "<eos>",
    ]
    assert len(words) == 5 and words.add_word("cat") == 1 and Dictionary().add_word("cat") == 0


def test_each_block_comes_with_the_one_a_word_further(text: Path, tmp_path: Path) -> None:
    WikiText2.download(tmp_path / "d" / "wikitext-2.txt", url=text.as_uri())
    data = WikiText2(tmp_path / "d", block_size=5, download=False)
    numbers = torch.cat([data[index][0] for index in range(len(data))])
    assert torch.equal(numbers, data.data[: 5 * len(data)])
    for inputs, target in (data[index] for index in range(len(data))):
        assert torch.equal(inputs[1:], target[:-1]) and len(target) == 5
    with pytest.raises(IndexError, match="counted from 0"):
        data[len(data)]


def test_the_text_is_fetched_once(text: Path, tmp_path: Path) -> None:
    first = WikiText2(tmp_path / "d", block_size=5, url=text.as_uri())
    text.unlink()
    assert torch.equal(WikiText2(tmp_path / "d", block_size=5, url=text.as_uri()).data, first.data)


def test_what_to_do_without_a_text(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"download=True\)`, or put any text there"):
        WikiText2(tmp_path, download=False)
    with pytest.raises(MisconfigurationException, match="or pass the address of another mirror"):
        WikiText2(tmp_path, url=(tmp_path / "nothing").as_uri())
    assert not list(tmp_path.iterdir())
    (tmp_path / "wikitext-2.txt").write_text("short\n")
    with pytest.raises(MisconfigurationException, match="or a smaller `block_size`"):
        WikiText2(tmp_path)


def test_places_differ_and_are_limited() -> None:
    encoded = PositionalEncoding(6, dropout=0.0, max_len=4)(torch.zeros(1, 4, 6))[0]
    assert len(torch.unique(encoded, dim=0)) == 4
    assert torch.allclose(encoded[:, 0], torch.sin(torch.arange(4.0)))
    assert torch.allclose(encoded[:, 1], torch.cos(torch.arange(4.0)))
    with pytest.raises(MisconfigurationException, match="max_len=5"):
        PositionalEncoding(6, max_len=4)(torch.zeros(1, 5, 6))


def test_an_odd_width() -> None:
    assert PositionalEncoding(5, dropout=0.0)(torch.zeros(1, 3, 5)).shape == (1, 3, 5)


def test_data_are_made_ready(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text.write_text("one two three\n" * 40)
    monkeypatch.setattr(WikiText2, "URL", text.as_uri())
    model = LightningTransformer(5)
    model.prepare_data()
    (inputs, target), *_ = model.train_dataloader()
    assert inputs.shape == target.shape == (1, 35)
    assert model(inputs, target).shape == (35, 5)
