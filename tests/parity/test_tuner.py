"""Finders of learning rates and batch sizes under both frameworks, and their rows of ``docs/differences.md``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from .differing import both, model, trainer


def tuner(pl: Any, made: Any) -> Any:
    return importlib.import_module(f"{pl.__name__}.tuner").Tuner(made)


def callback(pl: Any, name: str) -> Any:
    return getattr(pl.callbacks, name)


def kept(pl: Any, made: Any, **attributes: Any) -> Any:
    """A model with settings of its own."""
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def with_rate(self: Any) -> Any:
    return torch.optim.SGD(self.parameters(), self.lr)


def regression(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
    loss = (self.layer(batch) - batch.sum(1, keepdim=True) - 3).pow(2).mean()
    self.log("loss", loss)
    return loss


def learner(pl: Any, **changes: Any) -> Any:
    return kept(pl, model(pl, **{"training_step": regression, "configure_optimizers": with_rate, **changes}), lr=0.1)


def samples(count: int = 40) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(1))


def data(batch_size: int = 2, count: int = 40, **options: Any) -> Any:
    return DataLoader(samples(count), batch_size=batch_size, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "linear", "min_lr": 1e-3, "max_lr": 0.3},
        {"num_training": 37, "early_stop_threshold": None},
        {"num_training": 40, "early_stop_threshold": 1.5, "max_lr": 10},
        {"update_attr": False, "num_training": 5},
        {"attr_name": "learning_rate"},
        {"attr_name": "hyper"},
    ],
    ids=str,
)
def test_rates_losses_and_suggestions(lightning: ModuleType, fulmen: ModuleType, options: dict[str, Any]) -> None:
    def found(pl: Any) -> Any:
        made = kept(pl, learner(pl), learning_rate=0.2)
        made.hparams["hyper"] = 0.3
        made.hparams["lr"] = 0.4
        result = tuner(pl, trainer(pl, max_epochs=100)).lr_find(made, data(), **{"num_training": 60, **options})
        settings = (made.lr, made.learning_rate, dict(made.hparams))
        facts = (result.mode, result.lr_min, result.lr_max, result.num_training, result._total_batch_idx)
        suggestions = [result.suggestion(begin, end) for begin, end in ((10, 1), (0, 1), (3, 7), (50, 1))]
        return result.results, suggestions, facts, settings

    theirs, ours = both(lightning, fulmen, found)
    assert ours == theirs


def test_suggestions_for_the_same_losses(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Made of nothing but numbers, among them some that are not finite."""

    def suggested(pl: Any) -> list[float | None]:
        kind = importlib.import_module(f"{pl.__name__}.tuner.lr_finder")._LRFinder
        torch.manual_seed(3)
        answers = []
        for count in range(3, 60):
            finder = kind("exponential", 1e-8, 1, count)
            losses = (torch.rand(count) * 10).tolist()
            for bad in (float("nan"), float("inf"), float("-inf")):
                losses[int(torch.randint(count, ()))] = bad
            finder.results = {"lr": [1e-8 * 1e8 ** (i / count) for i in range(count)], "loss": losses}
            answers += [finder.suggestion(begin, end) for begin in (0, 4, 10) for end in (1, 3)]
        return answers

    theirs, ours = both(lightning, fulmen, suggested)
    assert ours == theirs and len(set(ours)) > 50


@pytest.mark.parametrize(
    "losses",
    [[1.0, None, 3.0, 2.0], [1.0, 2.0, float("nan"), 4.0], [3.0, 1.0, float("inf"), 2.0], [1.0, 0.5, 9.0]],
    ids=str,
)
def test_losses_that_are_none(lightning: ModuleType, fulmen: ModuleType, losses: list[Any]) -> None:
    def step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        loss = losses[self.global_step % len(losses)]
        return None if loss is None else self.layer(batch).sum() * 0 + loss

    def found(pl: Any) -> str:
        made = learner(pl, training_step=step)
        return str(tuner(pl, trainer(pl, max_epochs=9)).lr_find(made, data(), num_training=12).results)

    theirs, ours = both(lightning, fulmen, found)
    assert ours == theirs


def test_the_callback(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Its rate is the one that training takes."""

    def trained(pl: Any) -> Any:
        made = learner(pl)
        finder = callback(pl, "LearningRateFinder")(num_training_steps=30, early_stop_threshold=None)
        run = trainer(pl, max_epochs=3, callbacks=[finder])
        run.fit(made, data())
        rate = run.optimizers[0].param_groups[0]["lr"]
        return finder.optimal_lr.results, made.lr, rate, [p.tolist() for p in made.parameters()]

    theirs, ours = both(lightning, fulmen, trained)
    assert ours == theirs
    assert ours[1] == ours[2] != 0.1


def limited(room: int) -> Callable[..., Any]:
    """A step for which memory suffices up to so many samples."""

    def step(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        self.sizes.append(len(batch))
        if len(batch) > room:
            raise RuntimeError("CUDA out of memory.")
        return self.layer(batch).pow(2).mean()

    return step


def sized(pl: Any, room: int, sizes: list[int], count: int = 1000) -> Any:
    def loader(self: Any) -> Any:
        return DataLoader(samples(count), batch_size=self.batch_size)

    steps = dict.fromkeys(("training_step", "validation_step", "test_step", "predict_step"), limited(room))
    loaders = dict.fromkeys(("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"), loader)
    made = kept(pl, model(pl, **steps, **loaders), batch_size=2, lr=0.1)
    object.__setattr__(made, "sizes", Sizes(sizes))
    return made


class Sizes:
    """Keeps sizes where nothing is put back."""

    def __init__(self, sizes: list[int]) -> None:
        self.append = sizes.append


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("fit", {}),
        pytest.param("fit", {"mode": "binsearch", "margin": 0.3}, marks=pytest.mark.soak),
        pytest.param("validate", {}, marks=pytest.mark.soak),
        pytest.param("test", {}, marks=pytest.mark.soak),
        ("predict", {}),
    ],
    ids=str,
)
def test_batch_sizes(lightning: ModuleType, fulmen: ModuleType, method: str, options: dict[str, Any]) -> None:
    def found(pl: Any) -> Any:
        sizes: list[int] = []
        made = sized(pl, 51, sizes, 130)
        made.hparams["batch_size"] = 7
        size = tuner(pl, trainer(pl, max_epochs=1)).scale_batch_size(made, method=method, **options)
        return size, made.batch_size, dict(made.hparams), list(dict.fromkeys(sizes))

    theirs, ours = both(lightning, fulmen, found)
    assert ours[:3] == theirs[:3]
    if method != "predict":  # of which they read whole passes
        assert ours[3] == theirs[3]


@pytest.mark.parametrize(
    "options", [{"max_trials": 3, "mode": "binsearch"}, pytest.param({"steps_per_trial": 1}, marks=pytest.mark.soak)]
)
def test_batch_sizes_with_other_options(lightning: ModuleType, fulmen: ModuleType, options: dict[str, Any]) -> None:
    def found(pl: Any) -> Any:
        finder = callback(pl, "BatchSizeFinder")(**options)
        made = sized(pl, 40, [])
        trainer(pl, max_steps=2, limit_val_batches=0, callbacks=[finder]).fit(made)
        return finder.optimal_batch_size, made.batch_size

    theirs, ours = both(lightning, fulmen, found)
    assert ours == theirs


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "mode of rates": lambda pl: tuner(pl, trainer(pl)).lr_find(learner(pl), data(), mode="x"),
    "method of rates": lambda pl: tuner(pl, trainer(pl)).lr_find(learner(pl), data(), method="test"),
    "no such attribute": lambda pl: tuner(pl, trainer(pl)).lr_find(learner(pl), data(), attr_name="x"),
    "a finder already": lambda pl: tuner(pl, trainer(pl, callbacks=[callback(pl, "LearningRateFinder")()])).lr_find(
        learner(pl), data()
    ),
    "mode of sizes": lambda pl: tuner(pl, trainer(pl)).scale_batch_size(sized(pl, 9, []), mode="x"),
    "method of sizes": lambda pl: tuner(pl, trainer(pl)).scale_batch_size(sized(pl, 9, []), method="x"),
    "no such size": lambda pl: tuner(pl, trainer(pl)).scale_batch_size(sized(pl, 9, []), batch_arg_name="x"),
    "loaders": lambda pl: tuner(pl, trainer(pl)).scale_batch_size(sized(pl, 9, []), data()),
    "loaders of another method": lambda pl: tuner(pl, trainer(pl)).lr_find(learner(pl), dataloaders=data()),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(lightning: ModuleType, fulmen: ModuleType, name: str) -> None:
    """Each is an error here that whoever caught Lightning's catches, too."""

    def raised(pl: Any) -> type[BaseException]:
        with pytest.raises(Exception) as caught:
            MISTAKES[name](pl)
        return caught.type

    theirs, ours = both(lightning, fulmen, raised)
    names = {base.__name__ for base in ours.__mro__}
    assert theirs.__name__ in names


def test_a_finder_leaves_no_trace(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 60. Beside a run without a finder."""
    monkeypatch.chdir(tmp_path)

    def dropping(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        return (torch.nn.functional.dropout(self.layer(batch), 0.5) - 3).pow(2).mean()

    def trained(pl: Any, find: bool) -> list[Any]:
        torch.manual_seed(4)
        made = learner(pl, training_step=dropping)
        shuffled = data(shuffle=True, generator=torch.Generator().manual_seed(2))
        run = trainer(pl, max_epochs=2)
        if find:
            tuner(pl, run).lr_find(made, shuffled, update_attr=False, num_training=12, early_stop_threshold=None)
        run.fit(made, shuffled)
        return [p.tolist() for p in made.parameters()]

    theirs, ours = both(lightning, fulmen, lambda pl: (trained(pl, True), trained(pl, False)))
    assert ours[0] == ours[1]
    assert theirs[0] != theirs[1]
    assert list(tmp_path.iterdir()) == []


def test_a_range_test_has_the_steps_it_was_asked_for(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 61. Beside big batches, of which every window is one."""

    def found(pl: Any, batch_size: int, accumulate: int, epochs: int) -> Any:
        torch.manual_seed(5)
        run = trainer(pl, max_epochs=epochs, accumulate_grad_batches=accumulate)
        result = tuner(pl, run).lr_find(
            learner(pl), data(batch_size, 22), update_attr=False, num_training=12, early_stop_threshold=None
        )
        return result

    theirs, ours = both(lightning, fulmen, lambda pl: (found(pl, 2, 4, 50), found(pl, 8, 1, 50), found(pl, 8, 1, 1)))
    assert [len(one.results["lr"]) for one in ours] == [12, 12, 12]
    assert [len(one.results["lr"]) for one in theirs] == [8, 12, 3]  # without the short windows, and one epoch
    assert ours[1].results == theirs[1].results
    assert ours[0].results["lr"] == ours[1].results["lr"]
    assert ours[0].results["loss"] == pytest.approx(ours[1].results["loss"], rel=1e-5)
    assert theirs[0].results["loss"][0] != pytest.approx(theirs[1].results["loss"][0], rel=1e-2)
    # all points, where none is left out
    losses = torch.tensor(ours[1].results["loss"])
    slopes = torch.gradient(losses, spacing=[torch.tensor(ours[1].results["lr"])])[0]
    assert ours[1].suggestion(0, 0) == ours[1].results["lr"][int(slopes.argmin())]
    assert theirs[1].suggestion(0, 0) is None


def test_a_range_test_where_losses_are_negative_or_steps_by_hand(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 61. A loss that falls does not diverge, and a rate that stays tells nothing."""

    def falling(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        return self.layer.weight.sum() * 0 - 1 - 0.1 * self.global_step

    def steps(pl: Any) -> int:
        made = learner(pl, training_step=falling)
        return len(tuner(pl, trainer(pl)).lr_find(made, data(), num_training=20).results["loss"])

    theirs, ours = both(lightning, fulmen, steps)
    assert ours == 20 and theirs == 2

    def by_hand(self: Any, batch: torch.Tensor, batch_idx: int) -> Any:
        loss, optimizer = regression(self, batch, batch_idx), self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss.detach()

    def rates(pl: Any) -> int:
        made = learner(pl, training_step=by_hand, automatic_optimization=False)
        run = trainer(pl)
        return len(set(tuner(pl, run).lr_find(made, data(), num_training=20, early_stop_threshold=None).results["lr"]))

    theirs, ours = both(lightning, fulmen, rates)
    assert ours == 20 and theirs == 1


@pytest.mark.parametrize(
    ("options", "room", "count", "expected"),
    [
        ({"init_val": 64}, 50, 300, 32),
        pytest.param({"max_val": 100}, 110, 300, 100, marks=pytest.mark.soak),
        ({}, 10**6, 20, 20),
    ],
    ids=str,
)
def test_a_batch_size_was_tried(
    lightning: ModuleType, fulmen: ModuleType, options: dict[str, Any], room: int, count: int, expected: int
) -> None:
    """Row 62. The size that is found was among those of the batches that were computed, and it fits."""

    def found(pl: Any) -> tuple[int, list[int]]:
        sizes: list[int] = []
        run = trainer(pl, max_epochs=2, limit_val_batches=0)
        return tuner(pl, run).scale_batch_size(sized(pl, room, sizes, count), **options), sizes

    (their_size, their_sizes), (our_size, our_sizes) = both(lightning, fulmen, found)
    assert our_size == expected and our_size in our_sizes and our_size <= room
    assert their_size not in their_sizes or their_size > room


def test_the_rate_found_is_the_module_s(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 63. Beside a run with that rate written down, with groups and a schedule made of it."""

    def groups(self: Any) -> Any:
        weight, bias = self.layer.parameters()
        optimizer = torch.optim.SGD([{"params": [weight], "lr": self.lr}, {"params": [bias], "lr": 0.1 * self.lr}])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def trained(pl: Any, callbacks: list[Any], rate: float) -> tuple[float, Any]:
        torch.manual_seed(6)
        made = kept(pl, learner(pl, configure_optimizers=groups), lr=rate)
        run = trainer(pl, max_epochs=2, callbacks=callbacks)
        run.fit(made, data())
        return made.lr, ([group["lr"] for group in run.optimizers[0].param_groups], [*map(tolist, made.parameters())])

    def compared(pl: Any) -> bool:
        finder = callback(pl, "LearningRateFinder")(num_training_steps=30, early_stop_threshold=None)
        rate, found = trained(pl, [finder], 0.1)
        _, written = trained(pl, [], rate)
        return bool(found == written)

    assert both(lightning, fulmen, compared) == (False, True)

    def later(pl: Any) -> int:
        """How many steps a test takes that is made at the start of the second epoch."""

        class Later(callback(pl, "LearningRateFinder")):  # type: ignore[misc]
            def on_fit_start(self, *args: Any) -> None: ...

            def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
                if trainer.current_epoch == 1:
                    self.lr_find(trainer, pl_module)

        finder = Later(num_training_steps=20)
        trainer(pl, max_epochs=3, callbacks=[finder]).fit(learner(pl), data())
        return len(finder.optimal_lr.results["loss"])

    theirs, ours = both(lightning, fulmen, later)
    assert ours == 20 and theirs == 1


def tolist(tensor: torch.Tensor) -> Any:
    return tensor.tolist()


def test_going_on_with_a_finder(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 64. A run goes on after the steps that its checkpoint has, which are counted here."""

    def resumed(pl: Any) -> list[tuple[int, int]]:
        path = tmp_path / f"{pl.__name__}.ckpt"
        first = trainer(pl, max_epochs=1)
        first.fit(learner(pl), data())
        first.save_checkpoint(path)
        counts: list[tuple[int, int]] = []

        class Count(pl.Callback):  # type: ignore[misc]
            def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
                counts.append((trainer.current_epoch, trainer.global_step))

        finder = callback(pl, "LearningRateFinder")(num_training_steps=20)
        trainer(pl, max_epochs=2, callbacks=[finder, Count()]).fit(learner(pl), data(), ckpt_path=path)
        return counts

    theirs, ours = both(lightning, fulmen, resumed)
    steps = len(data())
    assert ours == [(1, steps)]
    assert theirs[0] == (0, 0)
