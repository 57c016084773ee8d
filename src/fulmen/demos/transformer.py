"""A transformer that predicts the next word, and a text to train it on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from fulmen.core.module import LightningModule
from fulmen.demos.download import fetch
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.types import STEP_OUTPUT


class Transformer(nn.Module):
    """Encoder and decoder over embedded words.

    Args:
        vocab_size: How many words there are.
        ninp: The width of an embedding.
        nhead: How many heads attend.
        nhid: The width of the layers between.
        nlayers: How many layers encoder and decoder have each.
        dropout: The rate of dropout.
    """

    src_mask: Tensor | None

    def __init__(
        self,
        vocab_size: int = 33278,
        ninp: int = 200,
        nhead: int = 2,
        nhid: int = 200,
        nlayers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.pos_encoder = PositionalEncoding(ninp, dropout)
        self.embedding = nn.Embedding(vocab_size, ninp)
        self.transformer = nn.Transformer(
            d_model=ninp,
            nhead=nhead,
            num_encoder_layers=nlayers,
            num_decoder_layers=nlayers,
            dim_feedforward=nhid,
            dropout=dropout,
            batch_first=True,
        )
        self.decoder = nn.Linear(ninp, vocab_size)
        self.ninp = ninp
        self.vocab_size = vocab_size
        self.src_mask = None

    def generate_square_subsequent_mask(self, size: int) -> Tensor:
        """Lets each place see those before it: 0 for what is seen, minus infinity for the rest.

        Args:
            size: How many places there are.
        """
        return torch.triu(torch.full((size, size), float("-inf")), diagonal=1)

    def forward(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """The logarithms of the words' probabilities.

        Args:
            inputs: The numbers of words, one row a text.
            target: The same, one word further.
            mask: What each place of `target` sees; None for those before it.

        Returns:
            One row for each word of `target`.
        """
        if mask is None:
            length = inputs.size(1)
            if self.src_mask is None or self.src_mask.size(0) != length:
                self.src_mask = self.generate_square_subsequent_mask(length)
            mask = self.src_mask = self.src_mask.to(inputs.device)
        source = self.pos_encoder(self.embedding(inputs) * math.sqrt(self.ninp))
        goal = self.pos_encoder(self.embedding(target) * math.sqrt(self.ninp))
        output = self.decoder(self.transformer(source, goal, tgt_mask=mask))
        return functional.log_softmax(output, dim=-1).view(-1, self.vocab_size)


class PositionalEncoding(nn.Module):
    """Adds to each place sines and cosines that tell where it is.

    Args:
        dim: The width of an embedding.
        dropout: The rate of dropout.
        max_len: How many places there may be.
    """

    pe: Tensor

    def __init__(self, dim: int, dropout: float = 0.1, max_len: int = 5000) -> None:
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        self.dim = dim
        self.max_len = max_len
        place = torch.arange(max_len, dtype=torch.float).unsqueeze(1)
        rate = torch.exp(torch.arange(0, dim, 2).float() * (-math.log(10000.0) / dim))
        pe = torch.zeros(1, max_len, dim)
        pe[0, :, 0::2] = torch.sin(place * rate)
        pe[0, :, 1::2] = torch.cos(place * rate)[:, : dim // 2]
        self.register_buffer("pe", pe, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings with their places.

        Args:
            x: Of the shape (texts, places, width).

        Raises:
            MisconfiguredValue: If there are more places than `max_len`.
        """
        if x.size(1) > self.max_len:
            raise MisconfiguredValue(
                f"`PositionalEncoding` knows {self.max_len} places.",
                got=f"a text of {x.size(1)} words",
                fix=f"`PositionalEncoding(dim, max_len={x.size(1)})`.",
            )
        output: Tensor = self.dropout(x + self.pe[:, : x.size(1)])
        return output


class WikiText2(Dataset[tuple[Tensor, Tensor]]):
    """WikiText-2 in blocks of words: each with the block one word further.

    Args:
        data_dir: The folder of ``wikitext-2.txt``.
        block_size: How many words a block has.
        download: Whether to fetch the text if it is not there.
        url: Where from: any address, also ``file://``.

    Raises:
        MisconfiguredValue: If the text is not there and is not to be downloaded, or has less than one block.
    """

    URL = "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/train.txt"

    def __init__(
        self, data_dir: Path = Path("data"), block_size: int = 35, download: bool = True, *, url: str | None = None
    ) -> None:
        super().__init__()
        self.path = Path(data_dir) / "wikitext-2.txt"
        if not self.path.exists():
            if not download:
                raise MisconfiguredValue(
                    "`WikiText2(download=False)` reads a text that is there.",
                    got=f"no file {self.path}",
                    fix="`WikiText2(download=True)`, or put any text there.",
                )
            self.download(self.path, url=url)
        self.data, self.dictionary = tokenize(self.path)
        self.block_size = block_size
        if len(self) < 1:
            raise MisconfiguredValue(
                "A text has two blocks of words or more.",
                got=f"{len(self.data)} words and block_size={block_size}",
                fix=f"Use a longer text than {self.path}, or a smaller `block_size`.",
            )

    @property
    def vocab_size(self) -> int:
        """How many different words there are."""
        return len(self.dictionary)

    def __len__(self) -> int:
        return max(0, len(self.data) // self.block_size - 1)  # the last block would need the word after it

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} blocks, counted from 0, and block {index} is none of them.")
        start = index * self.block_size
        end = start + self.block_size
        return self.data[start:end], self.data[start + 1 : end + 1]

    @staticmethod
    def download(destination: Path, *, url: str | None = None) -> None:
        """Fetches the text.

        Args:
            destination: Where it goes.
            url: Where it lies.
        """
        fetch(WikiText2.URL if url is None else url, Path(destination))


class Dictionary:
    """Numbers words in the order in which they come."""

    def __init__(self) -> None:
        self.word2idx: dict[str, int] = {}
        self.idx2word: list[str] = []

    def add_word(self, word: str) -> int:
        """The number of a word, which gets one if it has none.

        Args:
            word: The word.
        """
        if word not in self.word2idx:
            self.word2idx[word] = len(self.idx2word)
            self.idx2word.append(word)
        return self.word2idx[word]

    def __len__(self) -> int:
        return len(self.idx2word)


def tokenize(path: Path) -> tuple[Tensor, Dictionary]:
    """Reads a text as numbers of words, with an ``<eos>`` at the end of each line.

    Args:
        path: The text.

    Returns:
        The numbers, and which word each stands for.
    """
    dictionary = Dictionary()
    with open(path, encoding="utf-8") as file:
        numbers = [dictionary.add_word(word) for line in file for word in [*line.split(), "<eos>"]]
    return torch.tensor(numbers, dtype=torch.int64), dictionary


class LightningTransformer(LightningModule):
    """Trains :class:`Transformer` on :class:`WikiText2`.

    Args:
        vocab_size: How many words there are.
    """

    def __init__(self, vocab_size: int = 33278) -> None:
        super().__init__()
        self.model = Transformer(vocab_size=vocab_size)

    def forward(self, inputs: Tensor, target: Tensor) -> Tensor:
        output: Tensor = self.model(inputs, target)
        return output

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> STEP_OUTPUT:
        inputs, target = batch
        return functional.nll_loss(self(inputs, target), target.view(-1))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.model.parameters(), lr=0.1)

    def prepare_data(self) -> None:
        WikiText2(download=True)

    def train_dataloader(self) -> Any:
        return DataLoader(WikiText2())
