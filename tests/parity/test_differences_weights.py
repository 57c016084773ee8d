"""Rows of ``docs/differences.md`` on callbacks that average, unfreeze or prune weights."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from .differing import both, quiet, trainer
from .test_weight_callbacks import Record, data, flat, net, numbers

pytestmark = pytest.mark.filterwarnings("ignore")


def mean(weights: list[list[float]]) -> Any:
    """Whether weights are the mean of others, by comparison."""
    return pytest.approx(torch.tensor(weights, dtype=torch.float64).mean(0).tolist(), abs=1e-6)


def test_stochastic_averages_in_validation_and_files(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 50. The average after the second epoch is that of the weights with which the first two began."""

    def script(pl: Any) -> Any:
        record = Record()
        model = net(pl, record, False, None, False)
        start = numbers(model)
        saving = pl.callbacks.ModelCheckpoint(tmp_path / pl.__name__, save_top_k=-1)
        callback = pl.callbacks.StochasticWeightAveraging(0.03, 1)
        trainer(pl, callbacks=[callback, saving], max_epochs=3).fit(model, data(), data(4))
        second = sorted((tmp_path / pl.__name__).glob("*.ckpt"))[1]
        model.load_state_dict(torch.load(second, weights_only=False)["state_dict"])
        return start, record.steps, record.validated[1], numbers(model)

    for expected, (start, steps, validated, saved) in zip((False, True), both(lightning, fulmen, script), strict=True):
        average = mean([start, steps[3]])
        assert (validated == average) == (saved == average) == expected


def test_stochastic_averages_of_runs_that_end_early(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 51. The average of what there was; and what was trained, where there is no average."""

    def script(pl: Any) -> Any:
        found = []
        for start, limit in ((1, 10), (9, -1)):
            record = Record()
            model = net(pl, record, False, None, False)
            before = numbers(model)
            callback = pl.callbacks.StochasticWeightAveraging(0.03, start)
            trainer(pl, callbacks=[callback], max_epochs=4, max_steps=limit).fit(model, data(), data(4))
            found.append((before, record.steps, numbers(model)))
        return found

    theirs, ours = both(lightning, fulmen, script)
    for expected, ((start, steps, end), (initial, trained, last)) in ((False, theirs), (True, ours)):
        assert (end == mean([start, steps[3], steps[7]])) == expected
        assert (last == trained[-1]) == expected
        assert (last == initial) != expected


@pytest.mark.parametrize("weights_only", [False, True])
def test_files_with_an_average(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, weights_only: bool) -> None:
    """Row 52. A file of weights alone has the average; and a test of a file tests what the file says."""

    def script(pl: Any) -> Any:
        record = Record()
        model = net(pl, record, False, None, False)
        folder = tmp_path / pl.__name__
        saving = pl.callbacks.ModelCheckpoint(folder, save_weights_only=weights_only)
        going = trainer(pl, callbacks=[pl.callbacks.WeightAveraging(), saving], max_epochs=1)
        going.fit(model, data(), data(4))
        (path,) = folder.glob("*.ckpt")
        seen: list[list[float]] = []
        type(model).test_step = lambda self, batch, batch_idx: seen.append(numbers(self))
        going.test(model, data(4), ckpt_path=str(path), verbose=False)
        model.load_state_dict(torch.load(path, weights_only=False)["state_dict"])
        return record.steps, numbers(model), seen[0]

    for expected, (steps, saved, tested) in zip((False, True), both(lightning, fulmen, script), strict=True):
        assert (saved == mean(steps)) == (expected or not weights_only)
        assert (tested == mean(steps)) == expected


def test_an_average_in_a_file_of_a_failed_validation(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 52. Also where the file is written in the middle of a validation."""

    def script(pl: Any) -> Any:
        class Failing(pl.callbacks.Callback):  # type: ignore[misc, name-defined]
            def on_validation_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
                raise KeyError("wanted")

        record = Record()
        model = net(pl, record, False, None, False)
        saving = pl.callbacks.ModelCheckpoint(tmp_path / pl.__name__, save_on_exception=True, every_n_train_steps=99)
        with pytest.raises(KeyError), quiet():
            callbacks = [pl.callbacks.WeightAveraging(), Failing(), saving]
            trainer(pl, callbacks=callbacks, max_epochs=1).fit(model, data(), data(4))
        (path,) = (tmp_path / pl.__name__).glob("*.ckpt")
        left = numbers(model)
        model.load_state_dict(torch.load(path, weights_only=False)["state_dict"])
        return record.steps, numbers(model), left

    for expected, (steps, saved, left) in zip((False, True), both(lightning, fulmen, script), strict=True):
        assert (saved == mean(steps)) == (left == steps[-1]) == expected


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_an_average_keeps_its_digits(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, precision: str) -> None:
    """Row 52. Validating changes nothing about it, and in double precision it is a double."""

    def average(pl: Any, validates: int) -> Any:
        record = Record()
        torch.manual_seed(0)
        model = net(pl, record, False, None, False)
        callback = pl.callbacks.WeightAveraging()
        flags = {"max_epochs": 4, "precision": precision, "limit_val_batches": validates}
        going = trainer(pl, callbacks=[callback], **flags)
        going.fit(model, data(), data(4))
        going.save_checkpoint(tmp_path / "a.ckpt")
        state = torch.load(tmp_path / "a.ckpt", weights_only=False)["state_dict"]
        return record.steps, flat(state)

    for pl, expected in ((lightning, False), (fulmen, True)):
        with quiet():
            steps, with_validation = average(pl, 1)
            _, without = average(pl, 0)
        if precision == "bf16-true":
            assert (with_validation == without) == expected
        else:
            wanted = torch.tensor(steps, dtype=torch.float64).mean(0)
            assert (
                bool(torch.allclose(torch.tensor(with_validation, dtype=torch.float64), wanted, rtol=0, atol=1e-12))
                == expected
            )


def test_an_average_that_never_begins(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 52. What was trained is validated, saved and left."""

    def script(pl: Any) -> Any:
        record = Record()
        model = net(pl, record, False, None, False)
        saving = pl.callbacks.ModelCheckpoint(tmp_path / pl.__name__)
        callback = pl.callbacks.EMAWeightAveraging(update_starting_at_step=99)
        trainer(pl, callbacks=[callback, saving], max_epochs=2).fit(model, data(), data(4))
        (path,) = (tmp_path / pl.__name__).glob("*.ckpt")
        saved = flat(torch.load(path, weights_only=False)["state_dict"])
        return record.steps[-1], [numbers(model), record.validated[-1], saved]

    for expected, (trained, found) in zip((False, True), both(lightning, fulmen, script), strict=True):
        assert [weights == trained for weights in found] == [expected] * 3


def test_finetuning_goes_on(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 53. A run that is stopped after the unfreezing and goes on ends as one that is not."""

    def script(pl: Any) -> Any:
        def fit(epochs: int, path: Any = None) -> list[float]:
            torch.manual_seed(0)
            model = net(pl, Record(), False, None, False)
            saving = pl.callbacks.ModelCheckpoint(tmp_path / pl.__name__, filename="a")
            going = trainer(pl, callbacks=[pl.callbacks.BackboneFinetuning(1), saving], max_epochs=epochs)
            going.fit(model, data(), data(4), ckpt_path=path)
            return numbers(model)

        whole = fit(4)
        for file in (tmp_path / pl.__name__).glob("*.ckpt"):
            file.unlink()
        fit(2)
        return fit(4, tmp_path / pl.__name__ / "a.ckpt") == whole

    assert both(lightning, fulmen, script) == (False, True)


def test_finetuning_without_batch_norm(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 53. With ``train_bn=False`` the layers stay as they are."""

    def script(pl: Any) -> Any:
        model = net(pl, Record(), True, None, False)
        norm = model.backbone[1]
        before = {name: value.clone() for name, value in norm.state_dict().items()}
        callback = pl.callbacks.BackboneFinetuning(1, train_bn=False)
        trainer(pl, callbacks=[callback], max_epochs=3).fit(model, data(), data(4))
        return all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())

    assert both(lightning, fulmen, script) == (False, True)


def test_finetuning_leaves_the_head_its_rate(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 53. Where the optimizer has all parameters from the start, none of its groups is the backbone's."""

    def script(pl: Any) -> Any:
        record = Record()
        model = net(pl, record, False, None, False)
        type(model).configure_optimizers = lambda self: torch.optim.SGD(self.parameters(), lr=0.1)
        trainer(pl, callbacks=[pl.callbacks.BackboneFinetuning(1)], max_epochs=3).fit(model, data(), data(4))
        return record.rates[-1] == [0.1]

    assert both(lightning, fulmen, script) == (False, True)


def test_finetuning_with_a_schedule(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 53. The head's rate is what the schedule says, and the backbone's half of it."""

    def script(pl: Any) -> Any:
        record = Record()
        schedule = ("step", lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step))
        model = net(pl, record, False, schedule, False)
        callback = pl.callbacks.BackboneFinetuning(1, backbone_initial_ratio_lr=0.5)
        try:
            trainer(pl, callbacks=[callback], max_epochs=2).fit(model, data(), data(4))
        except ValueError:
            return None
        return record.rates

    theirs, ours = both(lightning, fulmen, script)
    assert theirs is None
    head = [0.1 * 0.9**step for step in range(1, 9)]
    assert [row[0] for row in ours] == pytest.approx(head)
    assert [row[1] for row in ours[4:]] == pytest.approx([rate / 2 for rate in head[4:]])


@pytest.mark.parametrize("permanent", [True, False])
def test_pruning_goes_on(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, permanent: bool) -> None:
    """Row 54. What is pruned stays pruned: after half of 31 weights and half of the rest, 24 are 0."""

    def script(pl: Any) -> Any:
        def fit(epochs: int, path: Any = None) -> int:
            model = net(pl, Record(), False, None, False)
            saving = pl.callbacks.ModelCheckpoint(tmp_path / pl.__name__, filename="a")
            pruning = pl.callbacks.ModelPruning(
                "l1_unstructured", use_lottery_ticket_hypothesis=False, make_pruning_permanent=permanent
            )
            try:
                trainer(pl, callbacks=[pruning, saving], max_epochs=epochs).fit(model, data(), data(4), ckpt_path=path)
            except RuntimeError:
                return -1
            return numbers(model).count(0.0)

        fit(1)
        return fit(2, tmp_path / pl.__name__ / "a.ckpt")

    theirs, ours = both(lightning, fulmen, script)
    assert ours == 24 and (theirs < 24 if permanent else theirs == -1)


def test_the_second_lottery_ticket(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 54. What is left has its values from before training, each time."""

    def script(pl: Any) -> Any:
        begun: list[Any] = []

        class Noting(pl.callbacks.Callback):  # type: ignore[misc, name-defined]
            def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
                begun.append(numbers(pl_module))

        model = net(pl, Record(), False, None, False)
        pruning = pl.callbacks.ModelPruning("l1_unstructured")
        trainer(pl, callbacks=[pruning, Noting()], max_epochs=3).fit(model, data(), data(4))
        start, _, third = begun
        left = [value for value in third if value not in (0, 1)]  # without masks
        return bool(left) and set(left) <= set(start)


def test_no_lottery_ticket_without_training(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 54. After the last epoch there is what was trained, in the model and in the file."""

    def script(pl: Any) -> Any:
        record = Record()
        model = net(pl, record, False, None, False)
        saving = pl.callbacks.ModelCheckpoint(tmp_path / pl.__name__)
        pruning = pl.callbacks.ModelPruning("l1_unstructured")
        trainer(pl, callbacks=[pruning, saving], max_epochs=1).fit(model, data(), data(4))
        (path,) = (tmp_path / pl.__name__).glob("*.ckpt")
        saved = flat(torch.load(path, weights_only=False)["state_dict"])
        return record.steps[-1], [numbers(model), saved]

    for expected, (trained, found) in zip((False, True), both(lightning, fulmen, script), strict=True):
        for weights in found:
            left = [value for value in weights if value != 0]
            assert len(left) in (15, 16) and (set(left) <= set(trained)) == expected


@pytest.mark.parametrize("on_epoch_end", [True, False])
def test_the_value_of_a_pruned_model(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, on_epoch_end: bool
) -> None:
    """Row 54. The best file has the value that it is called the best by."""

    def script(pl: Any) -> Any:
        model = net(pl, Record(), False, None, False)

        def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
            output = self.head(self.backbone(batch[0]))
            self.log("val_loss", torch.nn.functional.mse_loss(output, batch[1]))

        type(model).validation_step = validation_step
        saving = pl.callbacks.ModelCheckpoint(tmp_path / pl.__name__, monitor="val_loss")
        pruning = pl.callbacks.ModelPruning(
            "l1_unstructured", use_lottery_ticket_hypothesis=False, prune_on_train_epoch_end=on_epoch_end
        )
        trainer(pl, callbacks=[pruning, saving], max_epochs=1).fit(model, data(), data(4))
        plain = net(pl, Record(), False, None, False)
        plain.load_state_dict(torch.load(saving.best_model_path, weights_only=False)["state_dict"])
        with torch.no_grad():
            (batch,) = data(4)
            right = torch.nn.functional.mse_loss(plain.head(plain.backbone(batch[0])), batch[1])
        return float(saving.best_model_score) == pytest.approx(float(right))

    assert both(lightning, fulmen, script) == (False, True)


def test_pruning_with_an_average(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 54. It is refused, where the average has no zeros or cannot be made."""

    def script(pl: Any, norm: bool) -> Any:
        model = net(pl, Record(), norm, None, False)
        callbacks = [pl.callbacks.ModelPruning("l1_unstructured"), pl.callbacks.EMAWeightAveraging(decay=0.5)]
        try:
            trainer(pl, callbacks=callbacks, max_epochs=3).fit(model, data(), data(4))
        except Exception as error:
            return type(error).__name__
        return float(0) in model.head.weight.flatten().tolist()

    for norm, expected in ((False, False), (True, "RuntimeError")):
        theirs, ours = both(lightning, fulmen, lambda pl, norm=norm: script(pl, norm))
        assert theirs == expected and ours == "MisconfigurationException"


def test_the_model_of_stochastic_averages_is_validated(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 50. The last validation is that of the final model, whichever epochs are validated."""

    def script(pl: Any) -> Any:
        record = Record()
        model = net(pl, record, True, None, False)
        callback = pl.callbacks.StochasticWeightAveraging(0.03, 1)
        flags = {"max_epochs": 4, "check_val_every_n_epoch": 2}
        trainer(pl, callbacks=[callback], **flags).fit(model, data(), data(4))
        return record.validated[-1] == numbers(model)

    assert both(lightning, fulmen, script) == (False, True)

    assert both(lightning, fulmen, script) == (False, True)


def test_the_weights_that_are_pruned(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 54. Those that are the smallest when it is done, not before the last step."""

    def script(pl: Any) -> Any:
        found = []

        class Before(pl.callbacks.Callback):  # type: ignore[misc, name-defined]
            def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
                found.append([getattr(pl_module.head, "weight_orig", pl_module.head.weight).detach().clone()])

        class After(pl.callbacks.Callback):  # type: ignore[misc, name-defined]
            def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
                found[-1].append(pl_module.head.weight_mask.clone())

        torch.manual_seed(1)
        model = net(pl, Record(), False, None, False)
        type(model).configure_optimizers = lambda self: torch.optim.SGD(self.parameters(), lr=0.6)
        pruning = pl.callbacks.ModelPruning(
            "l1_unstructured", [(model.head, "weight")], amount=1, use_lottery_ticket_hypothesis=False
        )
        callbacks = [Before(), pruning, After()]
        trainer(pl, callbacks=callbacks, max_epochs=4, limit_val_batches=0).fit(model, data())
        mask = torch.ones(1, 5)
        right = []
        for values, after in found:
            mask.view(-1)[torch.where(mask == 1, values.abs(), torch.inf).argmin()] = 0
            right.append(torch.equal(mask, after))
            mask = after.clone()
        return all(right)

    assert both(lightning, fulmen, script) == (False, True)
