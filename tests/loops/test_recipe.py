from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.runs import Net, data, fit
from torch import nn
from torch.optim import LBFGS, SGD, Adam, Optimizer

from fulmen.loops.recipe import Recipe, needs_closure, step_function
from fulmen.precision.amp import MixedPrecision
from fulmen.utilities.exceptions import MisconfigurationException

PIECES = ("context", "scale", "backward", "precision_backward", "post_backward", "zero_grad", "optimizer_step", "clip",
          "clip_value", "unscale", "update")  # fmt: skip


def there(recipe: Recipe) -> set[str]:
    return {name for name in PIECES if getattr(recipe, name) is not None}


def recipe_of(module: Net, **flags: Any) -> Recipe:
    trainer = fit(module, **flags)
    return Recipe(trainer, module)


def test_nothing_is_there_that_nobody_asked_for() -> None:
    assert there(recipe_of(Net())) == set()


@pytest.mark.parametrize(
    ("hook", "piece"),
    [
        ("backward", "backward"),
        ("optimizer_zero_grad", "zero_grad"),
        ("optimizer_step", "optimizer_step"),
        ("configure_gradient_clipping", "clip"),
    ],
)
def test_an_override_costs_its_owner_only(hook: str, piece: str) -> None:
    base = getattr(Net, hook)
    module = type("Mine", (Net,), {hook: lambda self, *args, **kwargs: base(self, *args, **kwargs)})()
    assert there(recipe_of(module)) == {piece}


def test_precisions_bring_their_own() -> None:
    class InSingle(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx).float()

    assert there(recipe_of(InSingle(), precision="bf16-mixed")) == {"context", "scale"}
    scaled = recipe_of(InSingle(), plugins=MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu")))
    assert there(scaled) == {"context", "scale", "unscale", "update"}
    assert scaled.stranger is None


def test_what_others_wrote_is_known_as_theirs() -> None:
    class Theirs(MixedPrecision):
        def optimizer_step(self, optimizer: Any, model: Any, closure: Any, **kwargs: Any) -> Any:
            return super().optimizer_step(optimizer, model, closure, **kwargs)

    class InSingle(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx).float()

    theirs = Theirs("bf16-mixed", "cpu")
    recipe = recipe_of(InSingle(), plugins=theirs)
    assert recipe.update == theirs.optimizer_step and recipe.stranger is theirs


def test_the_trainers_flags() -> None:
    recipe = recipe_of(Net(), gradient_clip_val=0.5, gradient_clip_algorithm="value")
    assert (recipe.clip_value, str(recipe.clip_algorithm)) == (0.5, "value")


class Insists(Optimizer):
    def step(self, closure: Any) -> Any:  # type: ignore[override]
        return closure()


class Accepts(SGD):
    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class Alone(Optimizer):
    def step(self) -> None:  # type: ignore[override]
        """Takes none."""


@pytest.mark.parametrize(("kind", "needed"), [(SGD, False), (Adam, False), (LBFGS, True), (Accepts, True)])
def test_who_needs_a_closure(kind: Any, needed: bool) -> None:
    assert needs_closure(kind([nn.Parameter(torch.ones(1))], lr=0.1)) is needed


def test_who_insists_on_one_and_who_takes_none() -> None:
    parameters = [nn.Parameter(torch.ones(1))]
    assert needs_closure(Insists(parameters, {}))
    assert not needs_closure(Alone(parameters, {}))


@pytest.mark.parametrize("name", ["training_step", "validation_step", "test_step", "predict_step"])
def test_a_step_may_want_the_batch_alone(name: str) -> None:
    module = type("Mine", (Net,), {name: lambda self, batch: ("got", batch)})()
    assert step_function(module, name, 2)("batch", 0) == ("got", "batch")


def test_a_step_is_the_method_itself() -> None:
    module = Net()
    assert step_function(module, "training_step", 2) == module.training_step


def test_a_compiled_module_compiles_its_steps() -> None:
    module = Net()
    module.__dict__["_compiled_by"] = lambda method: ("compiled", method)
    assert step_function(module, "training_step", 2) == ("compiled", module.training_step)


def test_steps_over_the_loaders_iterator_are_no_more() -> None:
    module = type("Mine", (Net,), {"training_step": lambda self, dataloader_iter: None})()
    with pytest.raises(MisconfigurationException, match=r"def training_step\(self, batch, batch_idx\)"):
        fit(module)


@pytest.mark.parametrize(
    "optimizer",
    [lambda p: LBFGS(p, max_iter=3), lambda p: Accepts(p, 0.1), lambda p: SGD(p, 0.1)],
    ids=["LBFGS", "own", "SGD"],
)
def test_every_kind_of_optimizer_trains(optimizer: Any) -> None:
    class Trains(Net):
        def configure_optimizers(self) -> Any:
            return optimizer(self.parameters())

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (self(batch[0]) - 3).pow(2).mean()

    module = Trains()
    before = module(torch.ones(1, 2)).item()
    assert fit(module, data(4)).global_step == 4
    assert abs(module(torch.ones(1, 2)).item() - 3) < abs(before - 3)
