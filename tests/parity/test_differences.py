"""Each row of ``docs/differences.md``: Lightning's value is wrong, or a promise of its own broken, and ours right.

The docstring of each test names its row. This file holds the rows on gradients and means, and those on the end of a
run; the others lie in the files named ``test_differences_*.py``.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.utils.data import DataLoader, TensorDataset

from fulmen.utilities.exceptions import MisconfigurationException

from .differing import batches, both, loader, model, rows, trainer

HERE = Path(__file__).parent


def test_every_row_has_a_test_and_every_test_a_row() -> None:
    table = (HERE.parents[1] / "docs" / "differences.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\| (\d+)\. ", table, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    sources = [path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py")]
    tested = {int(number) for source in sources for number in re.findall(r'"""Row (\d+)\.', source)}
    assert tested == set(numbers)


def _gradient(module: Any, data: Tensor) -> Any:
    """The gradient of the mean loss over ``data`` taken as one batch."""
    return torch.autograd.grad(module.layer(data).pow(2).mean(), module.layer.weight)[0]


def _share_of_gradient(pl: Any, samples: int, window: int, **flags: Any) -> Any:
    """The step that ``window`` batches of two make, relative to that of one big batch."""
    module = model(pl).double()
    data = torch.randn(samples, 2, dtype=torch.float64)
    before, right = module.layer.weight.detach().clone(), _gradient(module, data)
    trainer(pl, accumulate_grad_batches=window, **flags).fit(module, loader(data))
    return (before - module.layer.weight.detach()) / 0.1 / right


def _close(value: Tensor, expected: float) -> bool:
    return torch.allclose(value, torch.full_like(value, expected), rtol=1e-6)


def test_a_partial_window_steps_with_the_whole_gradient(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 1. A window of four that holds two batches."""
    theirs, ours = both(lightning, fulmen, lambda pl: _share_of_gradient(pl, samples=4, window=4))
    assert _close(theirs, 0.5)
    assert _close(ours, 1.0)
    assert _close(_share_of_gradient(fulmen, samples=4, window=4, exact_accumulation=False), 0.5)


def test_a_batch_without_a_loss_is_no_part_of_its_window(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 1. A window of two, of which one batch was skipped."""
    theirs, ours = both(lightning, fulmen, lambda pl: _step_beside_a_skipped_batch(pl))
    assert _close(theirs, 0.5)
    assert _close(ours, 1.0)


def test_a_window_of_unequal_batches_is_one_big_batch(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 2. The third batch of a window holds one sample, the others two."""
    theirs, ours = both(lightning, fulmen, lambda pl: _share_of_gradient(pl, samples=5, window=3))
    assert (theirs - 1).abs().max() > 0.1
    assert _close(ours, 1.0)
    old = both(lightning, fulmen, lambda pl: _share_of_gradient(pl, 5, 3, **_old_way(pl, fulmen)))
    assert torch.equal(*old)


def _old_way(pl: Any, fulmen: ModuleType) -> dict[str, Any]:
    return {"exact_accumulation": False} if pl is fulmen else {}


def test_a_window_is_weighed_by_tokens_where_the_step_says_so(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 2. Batches of two sentences each, of which one is mostly padding: the loss is a mean over its tokens."""
    lengths = torch.tensor([[5.0, 4.0], [1.0, 0.0]])

    def step_of(pl: Any) -> tuple[Tensor, Tensor]:
        def training_step(self: Any, batch: Tensor, batch_idx: int) -> Any:
            tokens = lengths[batch_idx]
            loss = (self.layer(batch).pow(2)[:, 0] * tokens).sum() / tokens.sum()
            return {"loss": loss, "loss_weight": tokens.sum()}

        module = model(pl, training_step=training_step)
        data = torch.randn(4, 2)
        errors = module.layer(data).pow(2)[:, 0] * lengths.flatten()
        right = torch.autograd.grad(errors.sum() / lengths.sum(), module.layer.weight)[0]
        before = module.layer.weight.detach().clone()
        trainer(pl, accumulate_grad_batches=2).fit(module, loader(data))
        return (before - module.layer.weight.detach()) / 0.1, right

    (theirs, right), (ours, _) = both(lightning, fulmen, step_of)
    torch.testing.assert_close(ours, right)
    assert not torch.allclose(theirs, right, rtol=0.1)


def _scaled(pl: Any) -> Any:
    """Half precision with losses that are scaled by 16, on the CPU."""
    from importlib import import_module

    precision = import_module(f"{pl.__name__}.plugins.precision")
    return precision.MixedPrecision("16-mixed", "cpu", scaler=GradScaler("cpu", init_scale=16.0))


def _step_beside_a_skipped_batch(pl: Any, **flags: Any) -> Any:
    """The step that a window of two makes whose second batch has no loss, relative to that of its first."""

    def training_step(self: Any, batch: Tensor, batch_idx: int) -> Any:
        return None if batch_idx == 1 else self.layer(batch).pow(2).mean()

    module, data = model(pl, training_step=training_step), torch.randn(4, 2)
    before, right = module.layer.weight.detach().clone(), _gradient(module, data[:2])
    trainer(pl, accumulate_grad_batches=2, **flags).fit(module, loader(data))
    return (before - module.layer.weight.detach()) / 0.1 / right


def test_a_skipped_batch_costs_no_other_its_gradient(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 4. The batch that closes a window is skipped, and losses are scaled."""
    theirs, ours = both(lightning, fulmen, lambda pl: _step_beside_a_skipped_batch(pl, plugins=[_scaled(pl)]))
    assert _close(theirs, 0.0)
    torch.testing.assert_close(ours, torch.ones_like(ours), rtol=0.01, atol=0)  # half precision


def test_a_manual_limit_is_a_limit_on_gradients(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 5. The norm of a step's gradient is clipped to 0.5 while losses are scaled by 16."""

    def norm_of_step(pl: Any) -> float:
        def training_step(self: Any, batch: Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers()
            self.manual_backward(100 * self.layer(batch).pow(2).mean())
            self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
            optimizer.step()

        module = model(pl, training_step=training_step)
        module.automatic_optimization = False
        before = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
        trainer(pl, plugins=[_scaled(pl)]).fit(module, batches(1))
        after = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
        return float(((before - after) / 0.1).norm())

    theirs, ours = both(lightning, fulmen, norm_of_step)
    assert theirs == pytest.approx(0.5 / 16, rel=1e-3)
    assert ours == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("values", [[0.1] * 1000, [2.0**24] + [1.0] * 50], ids=["equal", "one is large"])
def test_many_values_add_up(lightning: ModuleType, fulmen: ModuleType, values: list[float], reduction: str) -> None:
    """Row 6. Beside a sum in exact arithmetic."""

    def logged(pl: Any) -> float:
        def test_step(self: Any, batch: Tensor, batch_idx: int) -> None:
            self.log("value", values[batch_idx], reduce_fx=reduction)

        [result] = trainer(pl).test(model(pl, test_step=test_step), batches(len(values), size=1), verbose=False)
        return float(result["value"])

    theirs, ours = both(lightning, fulmen, logged)
    right = math.fsum(values) / (len(values) if reduction == "mean" else 1)
    as_shown = torch.tensor(right).item()  # in single precision, as all metrics are
    assert ours == as_shown
    assert abs(theirs - right) > 1e-6 * right


def _interrupted(pl: Any) -> Any:
    def training_step(self: Any, batch: Tensor, batch_idx: int) -> None:
        raise KeyboardInterrupt

    return trainer(pl).fit(model(pl, training_step=training_step), batches(1))


def test_ctrl_c_is_a_keyboard_interrupt(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 14. What encloses `fit` hears of Ctrl-C as it does of any other code, and a notebook goes on."""

    def heard(pl: Any) -> BaseException | None:
        try:
            _interrupted(pl)
        except BaseException as error:
            return error
        return None

    theirs, ours = both(lightning, fulmen, heard)
    assert isinstance(theirs, SystemExit)
    assert theirs.code == 1
    assert type(ours) is KeyboardInterrupt

    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    theirs, ours = both(lightning, fulmen, heard)
    assert isinstance(theirs, SystemExit)
    assert ours is None


def test_an_epoch_goes_on_with_the_samples_that_are_left(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row 15. Of an epoch that is stopped after 3 of 8 batches and resumed, each sample is due once."""

    def seen(pl: Any) -> list[int]:
        samples: list[int] = []

        class Stop(Exception): ...

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            samples.extend(batch[1].tolist())
            return self.layer(batch[0]).mean()

        def fit(stops: bool, start: Path | None) -> None:
            def on_train_batch_end(self: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
                if stops and batch_idx == 2:
                    self.trainer.save_checkpoint(path)
                    raise Stop

            module = model(pl, training_step=training_step, on_train_batch_end=on_train_batch_end)
            data = TensorDataset(rows(16), torch.arange(16))
            pl.seed_everything(3, verbose=False)
            trainer(pl, max_epochs=1).fit(module, DataLoader(data, 2, shuffle=True), ckpt_path=start)

        path = tmp_path / f"{pl.__name__}.ckpt"
        with pytest.raises(Stop):
            fit(True, None)
        fit(False, path)
        return sorted(samples)

    theirs, ours = both(lightning, fulmen, seen)
    assert ours == list(range(16))
    assert len(set(theirs)) < 16


def test_the_epochs_after_a_resume_are_those_of_the_run(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row 15. A run that goes on from the end of an epoch shuffles the next as it would have."""

    def second_epochs(pl: Any) -> list[list[int]]:
        def fit(epochs: int, start: Path | None) -> list[int]:
            samples: list[int] = []

            def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
                samples.extend(batch[1].tolist())
                return self.layer(batch[0]).mean()

            module = model(pl, training_step=training_step)
            data = TensorDataset(rows(16), torch.arange(16))
            pl.seed_everything(3, verbose=False)
            run = trainer(pl, max_epochs=epochs)
            run.fit(module, DataLoader(data, 2, shuffle=True), ckpt_path=start)
            run.save_checkpoint(path)
            return samples[-16:]

        path = tmp_path / f"{pl.__name__}.ckpt"
        whole = fit(2, None)
        fit(1, None)
        return [whole, fit(2, path)]

    theirs, ours = both(lightning, fulmen, second_epochs)
    assert ours[0] == ours[1]
    assert theirs[0] != theirs[1]
    assert theirs[0] == ours[0]


def test_a_run_goes_on_with_the_optimizers_it_had(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 16. The momentum of a second optimizer is not in the file."""

    def with_state(pl: Any) -> list[int] | str:
        found: list[int] = []

        def step(self: Any, batch: Tensor, batch_idx: int) -> None:
            self.manual_backward(self.layer(batch).mean())
            optimizers = self.optimizers()
            for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
                optimizer.step()

        def fit(count: int, start: Path | None) -> Any:
            def configure_optimizers(self: Any) -> Any:
                parameters = [self.layer.weight, self.layer.bias][:count]
                return [torch.optim.SGD([parameter], 0.1, momentum=0.9) for parameter in parameters]

            def on_train_start(self: Any) -> None:
                found[:] = [len(optimizer.state) for optimizer in self.trainer.optimizers]

            changes = {"configure_optimizers": configure_optimizers, "on_train_start": on_train_start}
            module = model(pl, training_step=step, **changes)
            module.automatic_optimization = False
            saving = pl.callbacks.ModelCheckpoint(tmp_path / pl.__name__, filename="one")
            runner = trainer(pl, max_epochs=2 if start else 1, callbacks=[] if start else [saving])
            runner.fit(module, batches(2), ckpt_path=start)

        fit(1, None)
        try:
            fit(2, tmp_path / pl.__name__ / "one.ckpt")
        except MisconfigurationException as error:
            return str(error)
        return found

    theirs, ours = both(lightning, fulmen, with_state)
    assert theirs == [1, 0]
    assert "Return the same ones, or start anew from the weights" in ours


def test_an_optimizer_that_computes_a_batch_again_gets_the_same_gradient(
    lightning: ModuleType, fulmen: ModuleType
) -> None:
    """Row 36. A window of three batches; the learning rate is so small that every evaluation has one right answer."""

    def script(pl: Any) -> list[float]:
        shares: list[float] = []

        def note(self: Any, optimizer: Any) -> None:
            shares.append(float((self.layer.weight.grad / right).mean()))

        def lbfgs(self: Any) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=1e-12, max_iter=2, tolerance_grad=0, tolerance_change=0)

        module = model(pl, on_before_optimizer_step=note, configure_optimizers=lbfgs).double()
        data = torch.randn(6, 2, dtype=torch.float64)
        right = _gradient(module, data)
        trainer(pl, accumulate_grad_batches=3).fit(module, loader(data))
        return shares

    theirs, ours = both(lightning, fulmen, script)
    assert len(theirs) == len(ours) >= 2
    assert theirs[1] > 1.1
    assert ours == pytest.approx([1.0] * len(ours), rel=1e-6)


def test_a_window_that_the_data_leaves_open_is_used(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 37. A loader that promises four batches and gives three, in windows of two."""

    class Short(DataLoader[Any]):
        def __len__(self) -> int:
            return 4

    def script(pl: Any) -> tuple[int, Tensor]:
        module = model(pl)
        fitted = trainer(pl, accumulate_grad_batches=2)
        fitted.fit(module, Short(torch.ones(6, 2), batch_size=2))
        return fitted.global_step, module.layer.weight.detach().clone()

    (their_steps, theirs), (our_steps, ours) = both(lightning, fulmen, script)
    torch.manual_seed(0)
    layer = model(fulmen).layer
    for _ in range(2):
        loss = layer(torch.ones(2, 2)).pow(2).mean()
        for parameter, gradient in zip(layer.parameters(), torch.autograd.grad(loss, list(layer.parameters()))):
            parameter.data -= 0.1 * gradient
    assert (their_steps, our_steps) == (1, 2)
    assert not torch.allclose(theirs, layer.weight)
    assert torch.allclose(ours, layer.weight)


def test_a_callback_that_fails_at_an_exception_hides_nothing(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 38. The step raises ValueError, and the callback KeyError."""

    def script(pl: Any) -> str:
        class Clumsy(pl.Callback):
            def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
                raise KeyError("second")

        def broken(self: Any, batch: Any, batch_idx: int) -> None:
            raise ValueError("first")

        try:
            trainer(pl, callbacks=[Clumsy()]).fit(model(pl, training_step=broken), batches(1))
        except (KeyError, ValueError) as error:
            return type(error).__name__
        return "nothing"

    assert both(lightning, fulmen, script) == ("KeyError", "ValueError")
