"""One training step with several optimizers that have names, and a loss for each."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from fulmen.core.module import overridden
from fulmen.core.optimization import OptimizationMixin
from fulmen.loops.optimize import Automatic
from fulmen.loops.recipe import Recipe, needs_closure
from fulmen.loops.step_mistakes import closure_not_run, why_no_backward
from fulmen.loops.window import Window, scale_gradients
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun
from fulmen.utilities.grads import gradients_of, put_gradients
from fulmen.utilities.rank_zero import warn_once
from fulmen.utilities.suggest import closest

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule


class _Part:
    """One of the optimizers.

    Attributes:
        window: What its losses weigh in the accumulation window.
        used: Whether it was given a loss in the window.
        reached: Whether it was looked whether its losses reach its parameters.
        loss: The last.
    """

    def __init__(self, name: str, optimizer: Optimizer, wrapped: Any, window: Window) -> None:
        self.name, self.optimizer, self.wrapped, self.window = name, optimizer, wrapped, window
        self.used = self.reached = False
        self.loss: Tensor

    @property
    def parameters(self) -> list[Parameter]:
        """Those that it trains at the moment."""
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]

    def look(self) -> None:
        """Says if the first loss trains nothing."""
        self.reached = True
        if all(parameter.grad is None for parameter in self.parameters):
            warn_once(
                f"The loss for {self.name!r} gave no parameter of this optimizer a gradient, so it trains nothing. "
                "What to do: see that the loss has the right name, and depends on the parameters that "
                "`configure_optimizers` gives this optimizer."
            )


def check_backward(module: LightningModule) -> None:
    """Raises if an override of ``backward`` cannot be told whose parameters a loss is for."""
    own = overridden(module, "backward", OptimizationMixin)
    if own is None:
        return
    try:
        inspect.signature(own).bind(None, inputs=[], retain_graph=True)
    except TypeError:
        raise MisconfiguredRun(
            "Where optimizers have names, `backward` is told whose parameters a loss is for.",
            got=f"`{type(module).__name__}.backward{inspect.signature(own)}`",
            fix="Hand everything on: `def backward(self, loss, *args, **kwargs): loss.backward(*args, **kwargs)`.",
        ) from None


class Named(Automatic):
    """``training_step`` gives a loss for each optimizer by name; each trains its own parameters, and no others.

    Losses that are *returned* in a dict belong to one forward: all gradients are computed before the first optimizer
    steps. One that is *yielded* is done with before the step goes on, so that what follows sees the new weights. Either
    way a batch counts as one step of training.
    """

    def check(self) -> None:
        """Complains of optimizers that cannot be stepped in this way.

        Raises:
            MisconfigurationException: If one computes its loss itself, two share a parameter, or an override of
                `backward` cannot say whose parameters a loss is for.
        """
        check_backward(self.module)
        names, optimizers = self.trainer.strategy._optimizer_names, self.trainer.optimizers
        owners: dict[int, str] = {}
        for name, optimizer in zip(names, optimizers, strict=True):
            if needs_closure(optimizer):
                raise MisconfiguredRun(
                    "An optimizer with a name is handed a loss, so it cannot compute it again.",
                    got=f"{type(optimizer).__name__} as {name!r}",
                    fix="Use one that steps on gradients, such as Adam, or set `self.automatic_optimization = False`.",
                )
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                other = owners.setdefault(id(parameter), name)
                if other != name:
                    raise MisconfiguredRun(
                        "Each parameter belongs to one of the optimizers with names.",
                        got=f"a parameter of shape {tuple(parameter.shape)} in {other!r} and in {name!r}",
                        fix="Leave it out of one of them, or set `self.automatic_optimization = False`.",
                    )

    def begin_epoch(self) -> None:
        """Looks up everything that a step needs."""
        trainer, strategy = self.trainer, self.trainer.strategy
        self.recipe = Recipe(trainer, self.module, gathers=True)
        self.planned = trainer.accumulate_grad_batches
        found = zip(strategy._optimizer_names, trainer.optimizers, strategy._lightning_optimizers, strict=True)
        self.parts = {
            name: _Part(name, optimizer, wrapped, Window(self.planned, exact=trainer.exact_accumulation))
            for name, optimizer, wrapped in found
        }
        for part in self.parts.values():
            part.wrapped._stepper = self.step_from_hook
        self.opens = self.closed = True
        self.in_turn = False
        self.stepped: list[str] = []

    def step(self, batch: Any, index: int, last: bool) -> Any:
        """Runs one batch, and the updates where it closes a window; see ``Automatic.step``."""
        self.batch, self.index, self.stepped = batch, index, []
        self.closed = last or (index + 1) % self.planned == 0
        output = self._run(lambda: self.recipe.step(batch, index))
        self.in_turn = isinstance(output, Generator)
        if self.opens:
            for part in self.parts.values():
                part.used = False
        rest = dict(self.parts)
        outputs: dict[str, Any] = {}
        if isinstance(output, Generator):
            for name, loss in self._yielded(output):
                outputs |= self._learn({name: loss})
                if self.closed:
                    self._update([rest.pop(name)])
        else:
            outputs = self._learn(self._losses(output))
        if self.closed:
            self._update(rest.values())
            self._count()
        self.opens = self.closed
        return outputs

    def flush(self) -> None:
        """Steps on what an open window has gathered, where the data ended sooner than was known."""
        if not self.closed:
            self._update(self.parts.values())
            self._count()
            self.closed = self.opens = True

    def state_dict(self, failed: bool = False) -> dict[str, Any]:
        """What an accumulation window that is open has gathered; where none is, which optimizers did not step.

        Args:
            failed: Whether the batch failed; which optimizers had stepped in it is all that is known then.
        """
        if failed:
            return {"stepped": self.stepped} if self.stepped else {}
        if self.closed:
            idle = [name for name, part in self.parts.items() if part.optimizer in self.idle]
            return {"idle": idle} if idle else {}
        windows = {name: part.window.state_dict() for name, part in self.parts.items() if part.used}
        return {"windows": windows, "gradients": gradients_of(self.module)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave, after :meth:`begin_epoch`."""
        named = zip(self.trainer.strategy._optimizer_names, self.trainer.optimizers, strict=True)
        self.idle = tuple(optimizer for name, optimizer in named if name in state.get("idle", ()))
        if "windows" not in state:
            return
        factor = 1.0
        for name, saved in state["windows"].items():
            if name in self.parts:
                factor = self.parts[name].window.load_state_dict(saved)
                self.parts[name].used = True
        put_gradients(self.module, state["gradients"], factor)
        self.opens = self.closed = False

    def why_no_backward(self, loss: Tensor, error: RuntimeError, alone: bool) -> MisconfigurationException | None:
        """What the user did, where torch says what it could not do; None if that says it all."""
        if self.in_turn and ("second time" in str(error) or "inplace operation" in str(error)):
            return MisconfiguredRun(
                "A loss that is yielded is done with before the step goes on: its graph is freed, and the weights of "
                "its optimizer may have changed. A loss that was computed before cannot follow it.",
                got=f"the loss for {self.name!r}",
                fix="Compute it after the other's `yield`, from the batch on; or return both in one dict.",
            )
        return why_no_backward(loss, error, True, self.name)

    def _run(self, function: Any) -> Any:
        """Calls into ``training_step``: in the run's precision, with `self.log` open."""
        book, context = self.book, self.recipe.context
        book.hook, book.entries = "training_step", book.tables["training_step"]
        try:
            if context is None:
                return function()
            with context():
                return function()
        finally:
            book.hook = None

    def _yielded(self, steps: Generator[Any, None, Any]) -> Iterator[tuple[str, Any]]:
        """Goes through a step that yields its losses, each by a name that comes once."""
        seen: set[str] = set()
        end = object()

        def advance() -> Any:
            try:
                return next(steps)
            except StopIteration as stop:
                if stop.value is not None:
                    raise self._returned(stop.value) from None
                return end

        while (pair := self._run(advance)) is not end:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise self._wrong(pair, f"a {type(pair).__name__}, yielded")
            [(name, loss)] = self._losses({pair[0]: pair[1]}).items()
            if name in seen:
                raise self._wrong(pair, f"a second loss for {name!r}")
            seen.add(name)
            yield name, loss

    def _returned(self, value: Any) -> MisconfigurationException:
        shown = f"a dict with the keys {list(value)}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
        return MisconfigurationException(
            "A `training_step` that yields losses returns nothing: what it returns would be lost.",
            got=f"{shown}, returned by a step that has a `yield`",
            fix='Yield every loss, `yield "name", loss`; or return all in one dict, with no `yield` in the step.',
        )

    def _losses(self, output: Any) -> dict[str, Any]:
        """Checks what ``training_step`` returned."""
        if output is None:
            warn_once("`training_step` returned None, so the batch was skipped. Return the losses to train on it.")
            return {}
        if not isinstance(output, Mapping):
            raise self._wrong(output, type(output).__name__)
        for name, loss in output.items():
            if name not in self.parts:
                raise self._wrong(output, f"the key {name!r}", closest(str(name), list(self.parts)))
            known = isinstance(loss, Tensor) or (isinstance(loss, Mapping) and isinstance(loss.get("loss"), Tensor))
            if loss is not None and not known:
                raise self._wrong(output, f"{type(loss).__name__} for {name!r}")
        return dict(output)

    def _wrong(self, output: Any, got: str, meant: str | None = None) -> MisconfigurationException:
        names = list(self.parts)
        example = ", ".join(f'"{name}": loss_{i}' for i, name in enumerate(names))
        return MisconfigurationException(
            "Where `configure_optimizers` names its optimizers, `training_step` returns a dict of losses (tensors) by "
            "these names, or yields pairs of a name and a loss, each name once; one that is left out is not trained "
            "with the batch.",
            got=f"{got}; the names are {names}",
            fix=f"{f'Did you mean {meant!r}? ' if meant else ''}Write `return {{{example}}}`, and log other "
            "values with `self.log`.",
        )

    def _learn(self, losses: dict[str, Any]) -> dict[str, Tensor]:
        """Adds the gradients of losses that were computed together.

        Returns:
            The losses, for those who hear of the batch.
        """
        given = [(self.parts[name], *self._read_one(loss)) for name, loss in losses.items() if loss is not None]
        outputs = {part.name: loss.detach() for part, loss, _ in given}
        # A network that is frozen at the moment rests, and does not step on gradients from before.
        given = [(part, loss, weight) for part, loss, weight in given if part.parameters]
        for part, _, _ in given:
            if not part.used:
                self._open(part)
            part.used, part.loss = True, outputs[part.name]
        for i, (part, loss, weight) in enumerate(given):
            self._turn_to(part)
            if self.planned > 1:
                loss = part.window.share(loss, weight, self.batch)
            if weight != 0 or not part.window.exact:
                options = {"retain_graph": True} if i + 1 < len(given) else {}
                self.backward(loss, part.optimizer, inputs=part.parameters, **options)
                if not part.reached:
                    part.look()
        return outputs

    def _read_one(self, given: Any) -> tuple[Tensor, float | None]:
        if isinstance(given, Tensor):
            return given, None
        loss, weight = self._read(given)
        assert loss is not None
        return loss, weight

    def _open(self, part: _Part) -> None:
        self._turn_to(part)
        if self.planned > 1:
            part.window.open()
        self.hooks.on_before_zero_grad(part.optimizer)
        if self.recipe.zero_grad is None:
            part.optimizer.zero_grad()
        else:
            self._call(
                "optimizer_zero_grad", self.recipe.zero_grad, self.trainer.current_epoch, self.index, part.wrapped
            )

    def _update(self, parts: Iterable[_Part]) -> None:
        """Steps the optimizers that were given losses in the window."""
        parts = list(parts)
        if self.recipe.gather is not None and parts:
            self._bring_together(parts)
        with self.recipe.precision.one_update():
            for part in parts:
                if part.used:
                    self._turn_to(part)
                    self._step(part)
                    self.stepped.append(part.name)

    def _gather(self) -> None:
        """Nothing: it is done where a window ends, and for all of its losses."""

    def _bring_together(self, parts: list[_Part]) -> None:
        """Makes gradients the mean over processes; what any of them has trained counts as trained on all."""
        strategy = self.trainer.strategy
        said = [[float(part in parts), float(part.used), *part.window.weights] for part in self.parts.values()]
        everyone = strategy.all_gather(torch.tensor(said, dtype=torch.float64, device=strategy.root_device)).tolist()
        members = [[name for name, one in zip(self.parts, own, strict=True) if one[0]] for own in everyone]
        if members.count(members[0]) < len(members):
            raise MisconfiguredRun(
                "All processes yield the same losses in the same order.",
                got="; ".join(f"rank {rank}: {', '.join(map(repr, own))}" for rank, own in enumerate(members)),
                fix="Let which loss is yielded not depend on the process or its data; or return the losses in a dict, "
                "where each process may leave some out.",
            )
        for part, *rows in zip(self.parts.values(), *everyone, strict=True):
            if part in parts and any(used for _, used, _, _ in rows):
                self._agree(part, [weights for _, _, *weights in rows])
        used = [parameter for part in parts if part.used for parameter in part.parameters]
        strategy.sync_gradients(used, always=True)

    def _agree(self, part: _Part, weights: list[list[float]]) -> None:
        if not part.used:
            part.optimizer.zero_grad()
            part.used, part.loss = True, torch.zeros(())
        if self.planned > 1 and part.window.exact:
            first = next((one for one, _ in weights if one), 1.0)
            total = sum(one for _, one in weights) / len(weights)
            scale_gradients(part.optimizer, part.window.agree(first, total or first * self.planned))

    def _count(self) -> None:
        self.progress.steps += 1
        self.idle = tuple(part.optimizer for part in self.parts.values() if not part.used)

    def _step(self, part: _Part) -> None:
        recipe, optimizer = self.recipe, part.optimizer
        if recipe.optimizer_step is not None:
            self._ran = False
            epoch = self.trainer.current_epoch
            self._call("optimizer_step", recipe.optimizer_step, epoch, self.index, part.wrapped, self._computed)
            if not self._ran:
                raise closure_not_run(self.module, optimizer)
            return
        self._finish()
        if recipe.update is None:
            optimizer.step()
        else:
            recipe.update(optimizer, model=self.module, closure=self._computed)

    def _computed(self) -> Tensor:
        """Stands in for the closure of a step: the loss and its gradients are there already."""
        self._ran = True
        return self.parts[self.name].loss

    def _turn_to(self, part: _Part) -> None:
        self.name, self.optimizer, self.wrapped, self.window = part.name, part.optimizer, part.wrapped, part.window
