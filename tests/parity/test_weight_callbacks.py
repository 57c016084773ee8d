"""Callbacks that average, unfreeze or prune weights: the same weights, learning rates and files.

With stochastic averages, what validation sees is another matter (rows 50 and 51 of ``docs/differences.md``).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

from .differing import both, trainer

RATES = torch.optim.lr_scheduler


def data(count: int = 16) -> Any:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), 4)


class Record:
    """What a run does to its weights."""

    def __init__(self) -> None:
        self.steps: list[list[float]] = []
        self.validated: list[list[float]] = []
        self.rates: list[list[float]] = []
        self.end: dict[str, list[float]] = {}
        self.names: list[str] = []
        self.files: dict[str, dict[str, list[float]]] = {}


def numbers(module: Any) -> list[float]:
    return flat(module.state_dict())


def flat(state: Any) -> list[float]:
    return [value for _, tensor in sorted(state.items()) for value in tensor.double().flatten().tolist()]


def net(pl: Any, record: Record, norm: bool, schedule: Any, by_hand: bool, **kwargs: Any) -> Any:
    class Net(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            layers = [torch.nn.Linear(4, 5), *[torch.nn.BatchNorm1d(5)] * norm, torch.nn.Tanh()]
            self.backbone = torch.nn.Sequential(*layers)
            self.head = torch.nn.Linear(5, 1)
            self.automatic_optimization = not by_hand

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = torch.nn.functional.mse_loss(self.head(self.backbone(batch[0])), batch[1])
            if by_hand:
                for optimizer in self.optimizers():
                    optimizer.zero_grad()
                self.manual_backward(loss)
                for optimizer in self.optimizers():
                    optimizer.step()
            return loss

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            record.steps.append(numbers(self))
            record.rates.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.head(self.backbone(batch[0]))
            record.validated.append(numbers(self))

        def configure_optimizers(self) -> Any:
            if by_hand:
                joint = [p for p in self.backbone.parameters() if p.requires_grad]
                return [torch.optim.SGD(part, lr=0.1) for part in ([self.head.weight, *joint], [self.head.bias])]
            wanted = [p for p in self.parameters() if p.requires_grad]
            optimizer = torch.optim.SGD(wanted, lr=0.1, momentum=0.9)
            if schedule is None:
                return optimizer
            interval, make = schedule
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": make(optimizer), "interval": interval}}

    return Net()


def run(
    pl: Any, make: Callable[[Any], Any], folder: Path, *, norm: bool = False, schedule: Any = None,
    by_hand: bool = False, twice: bool = False, **flags: Any,
) -> Record:  # fmt: skip
    record = Record()
    model = net(pl, record, norm, schedule, by_hand)
    saving = pl.callbacks.ModelCheckpoint(folder / pl.__name__, save_top_k=-1)
    flags = {"max_epochs": 4, **flags}
    going = trainer(pl, callbacks=[make(pl.callbacks), saving], **flags)
    going.fit(model, data(), data(4))
    if twice:
        going.fit_loop.max_epochs = flags["max_epochs"] + 2
        going.fit(model, data(), data(4))
    record.end = {name: value.flatten().tolist() for name, value in sorted(model.state_dict().items())}
    for file in sorted((folder / pl.__name__).glob("*.ckpt")):
        state = torch.load(file, weights_only=False)
        for part in ("state_dict", "current_model_state", "averaging_state"):
            weights = sorted(state.get(part, {}).items())
            record.files[f"{file.stem} {part}"] = {name: value.double().flatten().tolist() for name, value in weights}
    return record


EXPONENTIAL = ("epoch", lambda optimizer: RATES.ExponentialLR(optimizer, 0.8))
STEPS = ("step", lambda optimizer: RATES.StepLR(optimizer, 3, 0.7))
AVERAGES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "mean": (lambda c: c.WeightAveraging(), {"norm": True, "schedule": EXPONENTIAL}),
    "mean of windows": (lambda c: c.WeightAveraging(), {"accumulate_grad_batches": 2, "schedule": STEPS}),
    "mean, twice": (lambda c: c.WeightAveraging(use_buffers=False), {"norm": True, "twice": True}),
    "by hand": (lambda c: c.WeightAveraging(), {"by_hand": True}),
    "half": (lambda c: c.EMAWeightAveraging(decay=0.7), {"precision": "bf16-mixed"}),
    "ema": (lambda c: c.EMAWeightAveraging("cpu", decay=0.7, update_every_n_steps=3), {"norm": True}),
    "late": (
        lambda c: c.EMAWeightAveraging(decay=0.7, update_starting_at_step=5, update_starting_at_epoch=2),
        {"val_check_interval": 2},
    ),
}


@pytest.mark.parametrize("kind", AVERAGES)
def test_averages(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, kind: str) -> None:
    make, options = AVERAGES[kind]
    theirs, ours = both(lightning, fulmen, lambda pl: run(pl, make, tmp_path, **options))
    assert ours.steps == theirs.steps and ours.rates == theirs.rates
    if kind == "late":  # until step 5 there is no average: row 52 of ``docs/differences.md``
        del ours.validated[:2], theirs.validated[:2]
        for record in (ours, theirs):
            record.files = {name: file for name, file in record.files.items() if not name.startswith("epoch=0-")}
    assert ours.validated == theirs.validated and len(ours.validated) >= 4
    assert ours.end == theirs.end and ours.steps[-1] != numbers_of(ours.end)
    assert ours.files == theirs.files and len(ours.files) >= (9 if kind == "late" else 12)


def numbers_of(end: dict[str, list[float]]) -> list[float]:
    return [value for values in end.values() for value in values]


STOCHASTIC: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "with norm": ({"swa_epoch_start": 2, "annealing_epochs": 2}, {"norm": True, "schedule": EXPONENTIAL}),
    "linear": ({"swa_epoch_start": 0.5, "annealing_strategy": "linear"}, {"schedule": STEPS}),
    "windows": ({"swa_epoch_start": 1, "annealing_epochs": 0}, {"norm": True, "accumulate_grad_batches": 2}),
    "own": ({"swa_epoch_start": 2, "avg_fn": lambda average, weight, count: 0.5 * (average + weight)}, {}),
    "half": ({"swa_epoch_start": 2, "device": None}, {"precision": "bf16-mixed", "norm": True}),
}


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_stochastic_averages(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, kind: str) -> None:
    arguments, options = STOCHASTIC[kind]

    def make(callbacks: Any) -> Any:
        return callbacks.StochasticWeightAveraging(0.03, **arguments)

    theirs, ours = both(lightning, fulmen, lambda pl: run(pl, make, tmp_path, **options))
    assert ours.steps == theirs.steps and ours.rates == theirs.rates
    assert ours.end == theirs.end
    if options.get("norm"):  # the last epoch validates and saves the same in both
        assert ours.validated[-1] == theirs.validated[-1]
        last = sorted(name for name in ours.files if name.endswith("state_dict"))[-1]
        assert ours.files[last] == theirs.files[last]


FINETUNING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "with norm": ({"backbone_initial_lr": 0.05, "should_align": False}, {"norm": True, "schedule": EXPONENTIAL}),
    "by steps": ({"backbone_initial_ratio_lr": 0.5, "lambda_func": lambda epoch: 1 / epoch}, {"schedule": STEPS}),
    "cosine": ({}, {"schedule": ("epoch", lambda optimizer: RATES.CosineAnnealingLR(optimizer, 9))}),
    "windows": ({}, {"accumulate_grad_batches": 2, "precision": "bf16-mixed"}),
}


@pytest.mark.parametrize("kind", FINETUNING)
def test_finetuning(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, kind: str) -> None:
    arguments, options = FINETUNING[kind]

    def make(callbacks: Any) -> Any:
        return callbacks.BackboneFinetuning(2, **arguments)

    theirs, ours = both(lightning, fulmen, lambda pl: run(pl, make, tmp_path, **options))
    assert ours.rates == theirs.rates and len(ours.rates[-1]) == 2
    assert ours.steps == theirs.steps and ours.end == theirs.end and ours.files == theirs.files


def test_finetuning_of_ones_own(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Two optimizers, of which the backbone joins the second."""

    def make(callbacks: Any) -> Any:
        class Own(callbacks.BaseFinetuning):  # type: ignore[misc]
            def freeze_before_training(self, pl_module: Any) -> None:
                self.freeze(pl_module.backbone)

            def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
                if epoch == 1 and optimizer is pl_module.trainer.optimizers[1]:
                    self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, lr=0.02)

        return Own()

    theirs, ours = both(lightning, fulmen, lambda pl: run(pl, make, tmp_path, by_hand=True))
    assert ours.steps == theirs.steps and ours.end == theirs.end


class Corners(prune.BasePruningMethod):
    """Prunes the first elements."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: int) -> None:
        self.amount = amount

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        mask = default_mask.clone()
        mask.view(-1)[: self.amount] = 0
        return mask


def seeded(amount: float) -> Callable[[int], float]:
    """How much, with the same random numbers whenever it is asked for."""

    def function(epoch: int) -> float:
        torch.manual_seed(epoch)
        return amount

    return function


def before_the_last(epoch: int) -> bool:
    """What is put back for no training at all is another matter: row 54 of ``docs/differences.md``."""
    return epoch < 3


def first(epoch: int) -> bool:
    """In later epochs the lottery ticket is another matter: row 54 of ``docs/differences.md``."""
    return epoch == 0


PRUNING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lottery": ({"pruning_fn": "l1_unstructured", "use_lottery_ticket_hypothesis": first}, {"norm": True}),
    "in the middle": (
        {"pruning_fn": "l1_unstructured", "use_lottery_ticket_hypothesis": first}, {"val_check_interval": 2}
    ),
    "random": ({"pruning_fn": "random_unstructured", "amount": seeded(3), "use_lottery_ticket_hypothesis": False}, {}),
    "resampled": (
        {
            "pruning_fn": "l1_unstructured", "resample_parameters": True, "amount": 0.2,
            "use_lottery_ticket_hypothesis": before_the_last,
        },
        {},
    ),
    "functions": (
        {
            "pruning_fn": "l1_unstructured", "amount": lambda epoch: 0.1 * epoch, "apply_pruning": lambda e: e != 2,
            "use_lottery_ticket_hypothesis": lambda epoch: epoch == 1, "prune_on_train_epoch_end": False,
        },
        {"accumulate_grad_batches": 2, "schedule": STEPS},
    ),
    "channels": (
        {
            "pruning_fn": "ln_structured", "use_global_unstructured": False, "pruning_dim": 1, "pruning_norm": 1,
            "parameter_names": ["weight"], "amount": 0.3, "use_lottery_ticket_hypothesis": False,
        },
        {"precision": "bf16-mixed"},
    ),
    "random channels": (
        {
            "pruning_fn": "random_structured", "use_global_unstructured": False, "pruning_dim": 0,
            "parameter_names": ["weight"], "amount": seeded(0.3), "use_lottery_ticket_hypothesis": first,
        },
        {},
    ),
    "class": ({"pruning_fn": Corners, "amount": 4, "use_lottery_ticket_hypothesis": first}, {}),
    "kept": (
        {
            "pruning_fn": "l1_unstructured", "make_pruning_permanent": False, "amount": 0.2,
            "use_lottery_ticket_hypothesis": False,
        },
        {"twice": True},
    ),
    "by hand": ({"pruning_fn": "l1_unstructured", "use_lottery_ticket_hypothesis": first}, {"by_hand": True}),
}  # fmt: skip


@pytest.mark.parametrize("kind", PRUNING)
def test_pruning(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, kind: str) -> None:
    arguments, options = PRUNING[kind]

    def make(callbacks: Any) -> Any:
        return callbacks.ModelPruning(**arguments)

    theirs, ours = both(lightning, fulmen, lambda pl: run(pl, make, tmp_path, **options))
    assert ours.steps == theirs.steps
    assert ours.end == theirs.end and 0.0 in numbers_of(ours.end)
    assert len(ours.validated) == len(theirs.validated) >= 4
    if options.get("val_check_interval") == 2:  # the one at the end of an epoch is another matter: row 54, too
        assert ours.validated[::2] == theirs.validated[::2]
        return
    for epoch in filter(arguments.get("use_lottery_ticket_hypothesis") or (lambda epoch: False), range(4)):
        for record in (ours, theirs):  # what is put back is in the next file, not in this
            record.files = {name: file for name, file in record.files.items() if f"epoch={epoch}-" not in name}
    assert ours.files == theirs.files and (ours.files or kind == "resampled")


def test_helpers(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Those that people call themselves."""

    def script(pl: Any) -> Any:
        found: list[Any] = []
        finetuning = importlib.import_module(f"{pl.__name__}.callbacks.finetuning")
        base = finetuning.BaseFinetuning
        nets = torch.nn
        tree = [nets.Sequential(nets.Linear(2, 3), nets.BatchNorm1d(3)), nets.ModuleDict({"a": nets.PReLU()})]
        found.append([type(layer).__name__ for layer in base.flatten_modules(tree)])
        attention = nets.TransformerEncoderLayer(4, 2)
        found.append([type(layer).__name__ for layer in base.flatten_modules(attention)])
        for train_bn in (True, False):
            base.freeze(tree, train_bn=train_bn)
            found.append([p.requires_grad for part in tree for p in part.parameters()])
            found.append([len(list(base.filter_params(tree, bn, wanted))) for bn in (0, 1) for wanted in (0, 1)])
            found.append(tree[0][1].track_running_stats)
        optimizer = torch.optim.SGD(attention.parameters(), 0.1)
        base.unfreeze_and_add_param_group(tree, optimizer, train_bn=False)
        base.unfreeze_and_add_param_group(tree[0][1], optimizer, lr=0.5)
        found.append([(len(group["params"]), group["lr"]) for group in optimizer.param_groups])
        found.append(len(base.filter_on_optimizer(optimizer, nets.Linear(1, 1).parameters())))
        found.append(finetuning.multiplicative(4))
        ema = pl.callbacks.EMAWeightAveraging
        for every in (0, 1, 3):
            for step, epoch in ((None, None), (4, None), (None, 2), (3, 1)):
                callback = ema(update_every_n_steps=every, update_starting_at_step=step, update_starting_at_epoch=epoch)
                found.append([callback.should_update(step_idx=number) for number in range(9)])
                found.append([callback.should_update(epoch_idx=number) for number in range(4)])
        return found

    theirs, ours = both(lightning, fulmen, script)
    assert ours == theirs
