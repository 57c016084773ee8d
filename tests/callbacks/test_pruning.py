from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import fulmen as pl
from fulmen.callbacks import EMAWeightAveraging, ModelCheckpoint, ModelPruning, StochasticWeightAveraging
from fulmen.utilities.exceptions import MisconfigurationException

from .averaged import Net, data, fit


def zeros(model: Net) -> int:
    return sum(int((value == 0).sum()) for value in model.state_dict().values())


def sizes(model: Net) -> list[str]:
    return list(dict(model.named_parameters()))


@pytest.mark.parametrize("amount", [0.5, 5, lambda epoch: [0, 0.5, 4][epoch]])
def test_the_smallest_weights_of_all_go(amount: Any) -> None:
    """Those of what is left, by their values at the end of the epoch; they stay 0 from then on."""
    epochs: list[torch.Tensor] = []

    class Noting(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Net) -> None:
            epochs.append(effective(pl_module))

    callback = ModelPruning("l1_unstructured", amount=amount, use_lottery_ticket_hypothesis=False)
    before: list[torch.Tensor] = []

    class Before(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Net) -> None:
            before.append(effective(pl_module))

    _, model = fit(Before(), max_epochs=3, more=[callback, Noting()], limit_val_batches=0)
    mask = torch.ones(31, dtype=torch.bool)
    for epoch, (values, after) in enumerate(zip(before, epochs, strict=True)):
        wanted = amount(epoch) if callable(amount) else amount
        count = round(wanted * int(mask.sum())) if isinstance(wanted, float) else wanted
        order = torch.where(mask, values.abs(), torch.inf).argsort()
        mask[order[:count]] = False
        assert torch.equal(after, values * mask), epoch
    assert zeros(model) == int((~mask).sum()) > 0


def effective(model: Net) -> torch.Tensor:
    """What the next forward pass computes with."""
    parts = []
    for layer, name in itertools.product((model.backbone[0], model.head), ("weight", "bias")):
        value = getattr(layer, f"{name}_orig", None)
        parts.append((getattr(layer, name) if value is None else value * getattr(layer, f"{name}_mask")).flatten())
    return torch.cat(parts).detach()


def test_the_lottery_ticket() -> None:
    """What is left goes back to the values from before training."""
    noted: list[torch.Tensor] = []

    class Noting(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Net) -> None:
            if trainer.current_epoch:
                noted.append(effective(pl_module))

    torch.manual_seed(0)
    start = effective(Net())
    fit(ModelPruning("l1_unstructured", amount=0.4), max_epochs=3, more=[Noting()])
    for weights in noted:
        left = weights != 0
        assert left.any() and torch.equal(weights[left], start[left])

    noted.clear()
    fit(ModelPruning("l1_unstructured", amount=0.4, resample_parameters=True), max_epochs=3, more=[Noting()])
    assert not torch.isin(noted[1][noted[1] != 0], torch.cat([start, noted[0]])).any()


class Stopping(pl.Callback):
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = True


@pytest.mark.parametrize("validates", [0, 1])
@pytest.mark.parametrize("flags", [{"max_epochs": 1}, {"max_steps": 2}, {"max_epochs": 9, "more": [Stopping()]}])
def test_the_last_epoch_leaves_what_was_trained(flags: dict[str, Any], validates: int, tmp_path: Path) -> None:
    """Pruned, and not put back for a training that does not follow; a run that goes on puts it back."""
    last: list[torch.Tensor] = []

    class Noting(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Net, *args: Any) -> None:
            last[:] = [effective(pl_module)]

    saving = ModelCheckpoint(tmp_path)
    flags = {"max_epochs": 2, **flags, "more": [Noting(), *flags.get("more", []), saving]}
    callback = ModelPruning("l1_unstructured", amount=0.4)
    _, model = fit(callback, **flags, limit_val_batches=validates, enable_checkpointing=True)
    left = effective(model) != 0
    assert int(left.sum()) == 19
    assert torch.equal(effective(model)[left], last[0][left])
    assert torch.equal(effective(Net.load_from_checkpoint(saving.best_model_path)), effective(model))


@pytest.mark.parametrize("options", [{}, {"prune_on_train_epoch_end": False}, {"make_pruning_permanent": False}])
@pytest.mark.parametrize("lottery", [True, False])
@pytest.mark.parametrize("flags", [{}, {"val_check_interval": 1}, {"check_val_every_n_epoch": 2}, {"max_steps": 5}])
def test_files_hold_what_was_validated(
    options: dict[str, Any], lottery: bool, flags: dict[str, Any], tmp_path: Path
) -> None:
    saving = ModelCheckpoint(tmp_path, "{val_loss:.9f}-{step}", "val_loss", save_top_k=-1)
    callback = ModelPruning("l1_unstructured", amount=0.3, use_lottery_ticket_hypothesis=lottery, **options)
    trainer, model = fit(callback, more=[saving], enable_checkpointing=True, **{"max_epochs": 4, **flags})
    assert saving.best_k_models
    for path, value in saving.best_k_models.items():
        (found,) = trainer.validate(model, data(4), ckpt_path=path, verbose=False)
        assert found["val_loss"] == pytest.approx(float(value), rel=1e-6), path


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("make", [lambda: EMAWeightAveraging(decay=0.5), lambda: StochasticWeightAveraging(0.05, 1)])
def test_not_with_an_average(make: Any, first: bool) -> None:
    """They are refused together; one after the other, what is pruned stays so."""
    kind, remedy = type(make()).__name__, "prune in a first `fit` with `make_pruning_permanent=False`"
    callbacks = [make(), ModelPruning("l1_unstructured", make_pruning_permanent=False)]
    callbacks = callbacks if first else callbacks[::-1]
    with pytest.raises(MisconfigurationException, match=f"(?s)ModelPruning with {kind}.*{remedy}"):
        fit(callbacks[0], more=callbacks[1:])
    pruning = ModelPruning("l1_unstructured", make_pruning_permanent=False)
    _, model = fit(pruning, Net(norm=True), max_epochs=1)
    mask = effective(model) != 0
    start = effective(model)
    fit(make(), model)
    assert torch.equal(effective(model) != 0, mask) and not torch.equal(effective(model), start)
    assert int(mask.sum()) < mask.numel()


def test_by_channels_and_only_after_validation() -> None:
    callback = ModelPruning(
        "ln_structured", use_global_unstructured=False, pruning_dim=1, pruning_norm=2, amount=0.5,
        apply_pruning=lambda epoch: epoch == 1, prune_on_train_epoch_end=False, use_lottery_ticket_hypothesis=False,
    )  # fmt: skip
    trainer, model = fit(callback, max_epochs=3, num_sanity_val_steps=1)
    assert (model.backbone[0].weight == 0).all(0).sum() == 2 and (model.head.weight == 0).all(0).sum() == 2
    assert (model.backbone[0].bias != 0).all()
    heard = trainer.hooks.listeners
    assert "ModelPruning.on_validation_epoch_end" in heard["on_validation_epoch_end"]
    assert "ModelPruning.on_validation_start" in heard["on_validation_start"]
    assert heard["on_train_epoch_end"] == []
    before = zeros(model)
    trainer.validate(model, data(4), verbose=False)
    assert zeros(model) == before


class First(prune.BasePruningMethod):
    """Prunes the first elements."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: int) -> None:
        self.amount = amount

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        mask = default_mask.clone()
        mask.view(-1)[: self.amount] = 0
        return mask


class Ends(First):
    def __init__(self) -> None:
        super().__init__(1)


@pytest.mark.parametrize(("kind", "together", "count"), [(First, True, 2), (First, False, 8), (Ends, False, 4)])
def test_a_method_of_ones_own(kind: Any, together: bool, count: int) -> None:
    _, model = fit(ModelPruning(kind, use_global_unstructured=together, amount=2), max_epochs=1)
    assert zeros(model) == count - (kind is First and not together)  # the head has one bias
    assert model.backbone[0].weight[0, 0] == 0


class OnlyHead(ModelPruning):
    def filter_parameters_to_prune(self, parameters_to_prune: Any = ()) -> Any:
        return [part for part in parameters_to_prune if part[0].out_features == 1]


def test_what_is_pruned() -> None:
    model = Net()
    find = ModelPruning.sanitize_parameters_to_prune
    layers = (model.backbone[0], model.head)
    assert find(model) == [(layer, name) for name in ("weight", "bias") for layer in layers]
    assert find(model, parameter_names=["bias"]) == [(model.backbone[0], "bias"), (model.head, "bias")]
    assert find(model, [(model.head, "bias")]) == [(model.head, "bias")]
    _, model = fit(OnlyHead("random_unstructured", amount=0.99, parameter_names=["weight"]), model)
    assert (model.head.weight == 0).all() and zeros(model) == 5
    _, model = fit(ModelPruning("random_unstructured", [(model.backbone[0], "bias")], amount=3), model, max_epochs=1)
    assert zeros(model) == 3


@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parametrize("permanent", [True, False])
@pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*")
def test_files(tmp_path: Path, permanent: bool, weights_only: bool) -> None:
    """Plain weights where pruning is made permanent; and in any case ones that can be tested."""
    saving = ModelCheckpoint(tmp_path, save_top_k=-1, save_weights_only=weights_only)
    callback = ModelPruning("l1_unstructured", make_pruning_permanent=permanent)
    trainer, model = fit(callback, more=[saving], enable_checkpointing=True)
    order = sizes(Net())
    assert sizes(model) == order if permanent else sizes(model) == [f"{name}_orig" for name in order]
    first, second = sorted(tmp_path.glob("*.ckpt"))
    state = torch.load(first)["state_dict"]
    if permanent:
        assert zeros(Net.load_from_checkpoint(first)) == 16
    else:
        assert set(state) == {f"{name}_{part}" for name in order for part in ("orig", "mask")}
    for one in (model, Net()):
        trainer.test(one, data(4), ckpt_path=str(second), verbose=False)
        assert int((effective(one) == 0).sum()) == 24
    fresh, tested = pl.Trainer(**{"accelerator": "cpu", "logger": False, "enable_progress_bar": False}), Net()
    if permanent:
        fresh.test(tested, data(4), ckpt_path=str(second), verbose=False)
        assert zeros(tested) == 24


def test_saved_after_training(tmp_path: Path) -> None:
    """Goes on with the masks, and with what they hide."""
    options: dict[str, Any] = {"amount": 0.3, "use_lottery_ticket_hypothesis": lambda epoch: epoch == 3}
    _, whole = fit(ModelPruning("l1_unstructured", **options), max_epochs=4)
    trainer, _ = fit(ModelPruning("l1_unstructured", **options), max_epochs=2)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    trainer, again = fit(ModelPruning("l1_unstructured", **options), max_epochs=4, ckpt_path=tmp_path / "a.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    # in the same process, with a module that is pruned
    trainer.fit(again, data(), data(4), ckpt_path=tmp_path / "a.ckpt")
    assert torch.equal(effective(again), effective(whole))


def test_fit_twice() -> None:
    for permanent in (True, False):
        callback = ModelPruning(
            "l1_unstructured", make_pruning_permanent=permanent, use_lottery_ticket_hypothesis=False
        )
        trainer, model = fit(callback, max_epochs=1)
        assert int((effective(model) == 0).sum()) == 16
        trainer.fit_loop.max_epochs = 2
        trainer.fit(model, data(), data(4))
        assert int((effective(model) == 0).sum()) == (16 if permanent else 24)


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_verbose(caplog: pytest.LogCaptureFixture, verbose: int) -> None:
    with caplog.at_level("INFO", logger="fulmen"):
        fit(ModelPruning("l1_unstructured", verbose=verbose, parameter_names=["bias"], amount=3), max_epochs=1)
    head = ["Applied `L1Unstructured`. Pruned: 0/6 (0.00%) -> 3/6 (50.00%)"]
    assert caplog.messages[:1] == head * (verbose > 0)
    assert len(caplog.messages) == [0, 1, 3][verbose]
    if verbose == 2:
        part = "Linear(in_features=4, out_features=5, bias=True).bias"
        assert caplog.messages[1].startswith(f"Applied `L1Unstructured` to `{part}` with amount=3. Pruned: 0 (0.00%)")


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"pruning_fn": "l1_unstructured_"}, "Did you mean `l1_unstructured`"),
        ({"pruning_fn": prune.l1_unstructured}, "the class itself, not an object of it, and no function"),
        ({"pruning_fn": "ln_structured"}, "Pass `pruning_dim=0`"),
        ({"pruning_fn": "ln_structured", "pruning_dim": 0}, "Pass `pruning_norm=2`"),
        ({"pruning_fn": prune.RandomStructured, "pruning_dim": 0}, "Pass `use_global_unstructured=False`"),
        ({"amount": "a"}, "Pass a float from 0 to 1, an int from 0 up, or a function"),
        ({"amount": 1.5}, "Pass a float from 0 to 1, an int from 0 up, or a function"),
        ({"amount": -1}, "Pass a float from 0 to 1, an int from 0 up, or a function"),
        ({"verbose": 3}, "Pass 1 for a line each time"),
    ],
)
def test_bad_arguments(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        ModelPruning(**{"pruning_fn": "l1_unstructured", **options})


def test_parameters_that_are_none() -> None:
    with pytest.raises(MisconfigurationException, match=r"Pass `parameters_to_prune=\[\(model.layer, 'weight'\)\]`"):
        fit(ModelPruning("l1_unstructured", ["weight"]))  # type: ignore[list-item]
    with pytest.raises(MisconfigurationException, match="Take the layers of the model that goes to `fit`"):
        fit(ModelPruning("l1_unstructured", [(nn.Linear(1, 1), "weight")]))
    with pytest.raises(MisconfigurationException, match="or `parameter_names="):
        fit(ModelPruning("l1_unstructured", parameter_names=["kernel"]))
