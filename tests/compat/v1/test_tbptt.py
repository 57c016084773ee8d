"""Truncated backpropagation through time, as in 1.x, equals loops written by hand, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import SOAK
from tests.resume.course import Record, check_every_point, seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.compat.v1.splits import split_batch
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def sequences(count: int = 8, steps: int = 7) -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(5)
    data = TensorDataset(torch.randn(count, steps, 2, generator=draw), torch.randn(count, steps, 1, generator=draw))
    return DataLoader(data, 4)


class Recurrent(pl.LightningModule):
    def __init__(self, several: bool = False, steps: int = 3) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.rnn = nn.GRU(2, 3, batch_first=True)
        self.head = nn.Linear(3, 1)
        self.several = several
        self.truncated_bptt_steps = steps
        self.heard: list[Any] = []

    def loss(self, batch: Any, hiddens: Any) -> tuple[Tensor, Any]:
        found, left = self.rnn(batch[0], hiddens)
        return nn.functional.mse_loss(self.head(found), batch[1]), left

    def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
        self.heard.append((batch_idx, batch[0].shape[1], hiddens is None))
        assert hiddens is None or not hiddens.requires_grad
        loss, left = self.loss(batch, hiddens)
        self.log("loss", loss, on_step=True, on_epoch=True, tbptt_reduce_fx=torch.mean, tbptt_pad_token=0)
        return {"loss": loss, "hiddens": left, "length": batch[0].shape[1]}

    def configure_optimizers(self) -> Any:
        if not self.several:
            return torch.optim.Adam(self.parameters(), lr=0.02)
        return [torch.optim.Adam(self.rnn.parameters(), lr=0.02), torch.optim.SGD(self.head.parameters(), lr=0.1)]


class Two(Recurrent):
    def __init__(self) -> None:
        super().__init__(several=True)

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int, hiddens: Any) -> Any:
        return {**super().training_step(batch, batch_idx, hiddens), "optimizer": optimizer_idx}


def by_hand(model: Recurrent, epochs: int = 2) -> Recurrent:
    configured = model.configure_optimizers()
    optimizers = configured if model.several else [configured]
    for _ in range(epochs):
        for inputs, targets in sequences():
            hiddens: list[Any] = [None] * len(optimizers)
            for start in range(0, inputs.shape[1], 3):
                split = inputs[:, start : start + 3], targets[:, start : start + 3]
                for i, optimizer in enumerate(optimizers):
                    own = {p for group in optimizer.param_groups for p in group["params"]}
                    for p in model.parameters():
                        p.requires_grad = p in own
                    loss, left = model.loss(split, hiddens[i])
                    hiddens[i] = left.detach()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("kind", "steps"), [(Recurrent, 12), (Two, 24)])
def test_equals_a_loop_by_hand(kind: type[Recurrent], steps: int) -> None:
    """Each split is a step of its own; hidden states are cut off, and None at a batch's first split."""
    model = kind()
    trainer = pl.Trainer(max_epochs=2, **QUIET)
    trainer.fit(model, sequences())
    assert same(model, by_hand(kind()))
    assert trainer.global_step == steps and trainer.fit_loop.epoch_loop._batches_that_stepped == 4
    each = [(3, True), (3, False), (1, False)]
    if kind is Two:
        each = [one for one in each for _ in range(2)]
    assert model.heard[: 2 * len(each)] == [(b, *one) for b in range(2) for one in each]


@pytest.mark.parametrize("dialect", ["1.9", "1.5"])
def test_outputs(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """(splits, optimizers) in 1.9, (optimizers, splits) in 1.5; without the hidden states."""
    monkeypatch.setenv("FULMEN_DIALECT", dialect)
    outputs: list[Any] = []

    class Listens(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, got: Any, batch: Any, batch_idx: int) -> None:
            outputs.append(got)
            assert batch[0].shape[1] == 7

    for kind in (Recurrent, Two):
        pl.Trainer(max_epochs=1, callbacks=Listens(), **QUIET).fit(kind(), sequences())
    one, _, two, _ = outputs
    assert [set(out) for out in one] == [{"loss", "length"}] * 3 and [out["length"] for out in one] == [3, 3, 1]
    places = [[(out["length"], out["optimizer"]) for out in outer] for outer in two]
    by_split = [[(length, o) for o in (0, 1)] for length in (3, 3, 1)]
    assert places == (by_split if dialect == "1.9" else [list(outer) for outer in zip(*by_split, strict=True)])


def test_own_splits_and_manual_optimization() -> None:
    class Own(Recurrent):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def tbptt_split_batch(self, batch: Any, split_size: int) -> list[Any]:
            return super().tbptt_split_batch(batch, split_size)[:2]

        def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
            out = super().training_step(batch, batch_idx, hiddens)
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(out["loss"], optimizer)
            optimizer.step()
            return out

    model = Own()
    trainer = pl.Trainer(max_epochs=1, **QUIET)
    trainer.fit(model, sequences())
    assert [heard[1:] for heard in model.heard] == [(3, True), (3, False)] * 2 and trainer.global_step == 4

    class Automatic(Own):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = True

        training_step = Recurrent.training_step

    other = Automatic()
    pl.Trainer(max_epochs=1, **QUIET).fit(other, sequences())
    assert same(model, other)


def test_splits_of_a_window_are_one_step() -> None:
    model = Recurrent()
    trainer = pl.Trainer(max_epochs=1, accumulate_grad_batches=2, **QUIET)
    trainer.fit(model, sequences())
    hand = Recurrent()
    optimizer, losses = hand.configure_optimizers(), []
    for inputs, targets in sequences():
        left = None
        for start in range(0, 7, 3):
            loss, left = hand.loss((inputs[:, start : start + 3], targets[:, start : start + 3]), left)
            left = left.detach()
            losses.append(loss)
    torch.stack(losses).mean().backward()
    optimizer.step()
    assert trainer.global_step == 1
    for ours, theirs in zip(model.parameters(), hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_values_that_are_logged() -> None:
    """The step's value is the last split's; an epoch's is the mean over all splits."""
    losses: list[float] = []

    class Noting(Recurrent):
        def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
            out = super().training_step(batch, batch_idx, hiddens)
            losses.append(out["loss"].item())
            return out

    trainer = pl.Trainer(max_epochs=1, **QUIET)
    trainer.fit(Noting(), sequences())
    assert trainer.callback_metrics["loss_step"] == pytest.approx(losses[-1])
    assert trainer.callback_metrics["loss_epoch"] == pytest.approx(sum(losses) / len(losses))


@pytest.mark.parametrize("kind", [Recurrent, Two])
def test_resumes_from_every_point(kind: type[Recurrent], tmp_path: Path) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        trainer = pl.Trainer(
            max_epochs=2, callbacks=callbacks, accumulate_grad_batches=2 if kind is Two else 1, log_every_n_steps=1,
            **{**QUIET, "logger": record.logger},
        )  # fmt: skip
        trainer.fit(kind(), sequences(12), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, lambda points: points if SOAK else points[::3], lambda *_: None)


def test_splits_by_default() -> None:
    """Tensors along their second dimension, lists of sequences each along its own."""
    batch = [torch.arange(10).view(2, 5), [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]], torch.ones(2)]
    first, second, third = split_batch(batch, 2)
    assert first[0].tolist() == [[0, 1], [5, 6]] and first[1] == [[1, 2], [6, 7]]
    assert second[0].tolist() == [[2, 3], [7, 8]] and third[1] == [[5], [10]]
    assert all(torch.equal(split[2], torch.ones(2)) for split in (first, second, third))
    for wrong in ([torch.ones(2, 3), torch.ones(2, 4)], {"a": torch.ones(2, 3)}, [torch.ones(2)]):
        with pytest.raises(MisconfigurationException, match="Override `tbptt_split_batch"):
            split_batch(wrong, 2)


def test_mistakes() -> None:
    class Forgets(Recurrent):
        def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
            return super().training_step(batch, batch_idx, hiddens)["loss"]

    with pytest.raises(MisconfigurationException, match=r'return \{"loss": loss, "hiddens": hiddens\}'):
        pl.Trainer(max_epochs=1, **QUIET).fit(Forgets(), sequences())

    class Deaf(Two):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            return self.loss(batch, None)[0]

    with pytest.raises(MisconfigurationException, match="batch, batch_idx, optimizer_idx, hiddens"):
        pl.Trainer(max_epochs=1, truncated_bptt_steps=3, **QUIET).fit(Deaf(), sequences())

    class Today(Recurrent):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch, None)[0]

    with pytest.raises(MisconfigurationException, match="or leave `truncated_bptt_steps` out"):
        pl.Trainer(max_epochs=1, truncated_bptt_steps=3, **QUIET).fit(Today(), sequences())


@pytest.mark.parametrize("automatic", [True, False])
def test_the_number_is_the_users_own_where_the_step_takes_no_hidden_state(automatic: bool) -> None:
    class Today(Recurrent):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.heard.append(batch[0].shape[1])
            return self.loss(batch, None)[0]

        def on_epoch_end(self) -> None:
            self.heard.append("on_epoch_end")

    model = Today()
    model.automatic_optimization = automatic
    pl.Trainer(max_epochs=1, **QUIET).fit(model, sequences())
    assert model.heard == [7, 7, "on_epoch_end"]
