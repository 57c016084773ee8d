"""An LSTM that predicts the next word, and goes on from batch to batch."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler

from fulmen.core.module import LightningModule
from fulmen.demos.transformer import WikiText2
from fulmen.utilities.types import STEP_OUTPUT

_Hidden = tuple[Tensor, Tensor]


class SimpleLSTM(nn.Module):
    """An LSTM over embedded words.

    Args:
        vocab_size: How many words there are.
        ninp: The width of an embedding.
        nhid: The width of the LSTM.
        nlayers: How many layers it has.
        dropout: The rate of dropout.
    """

    def __init__(
        self, vocab_size: int = 33278, ninp: int = 512, nhid: int = 512, nlayers: int = 4, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocab_size, ninp)
        self.rnn = nn.LSTM(ninp, nhid, nlayers, dropout=dropout, batch_first=True)
        self.decoder = nn.Linear(nhid, vocab_size)
        self.nlayers = nlayers
        self.nhid = nhid
        self.init_weights()

    def init_weights(self) -> None:
        """Draws the weights of the first and the last layer anew."""
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def forward(self, input: Tensor, hidden: _Hidden) -> tuple[Tensor, _Hidden]:
        """The logarithms of the words' probabilities, one row for each word of `input`, and the new memory.

        Args:
            input: The numbers of words, one row a text.
            hidden: The memory.
        """
        output, hidden = self.rnn(self.drop(self.encoder(input)), hidden)
        decoded = self.decoder(self.drop(output)).view(-1, self.vocab_size)
        return functional.log_softmax(decoded, dim=1), hidden

    def init_hidden(self, batch_size: int) -> _Hidden:
        """A memory of nothing.

        Args:
            batch_size: Of how many texts.
        """
        weight = next(self.parameters())
        shape = (self.nlayers, batch_size, self.nhid)
        return weight.new_zeros(shape), weight.new_zeros(shape)


class SequenceSampler(Sampler[list[int]]):
    """Batches in which each place goes on where it was in the batch before; what does not fill a batch is left out.

    Args:
        dataset: Blocks of one long text, in order.
        batch_size: How many blocks a batch has.

    Example:
        >>> list(SequenceSampler(range(10), batch_size=3))
        [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    """

    def __init__(self, dataset: Sized, batch_size: int) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.chunk_size = len(dataset) // batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(self.chunk_size):
            yield list(range(first, self.chunk_size * self.batch_size, self.chunk_size))

    def __len__(self) -> int:
        return self.chunk_size


class LightningLSTM(LightningModule):
    """Trains :class:`SimpleLSTM` on :class:`WikiText2`; its memory lasts for an epoch.

    Args:
        vocab_size: How many words there are.
    """

    def __init__(self, vocab_size: int = 33278) -> None:
        super().__init__()
        self.model = SimpleLSTM(vocab_size=vocab_size)
        self.hidden: _Hidden | None = None

    def on_train_epoch_end(self) -> None:
        self.hidden = None

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> STEP_OUTPUT:
        inputs, target = batch
        if self.hidden is None:
            self.hidden = self.model.init_hidden(inputs.size(0))
        self.hidden = (self.hidden[0].detach(), self.hidden[1].detach())
        output, self.hidden = self.model(inputs, self.hidden)
        loss = functional.nll_loss(output, target.view(-1))
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def prepare_data(self) -> None:
        WikiText2(download=True)

    def train_dataloader(self) -> Any:
        dataset = WikiText2()
        return DataLoader(dataset, batch_sampler=SequenceSampler(dataset, batch_size=20))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=20.0)
