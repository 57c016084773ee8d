"""Pruning: weights that are set to zero in the course of training, with ``torch.nn.utils.prune``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fulmen.callbacks.averaging import Averaging
from fulmen.callbacks.callback import Callback
from fulmen.callbacks.pruning_masks import (
    Part,
    count_pruned,
    dump_masks,
    keep_places,
    load_masks,
    parameter_of,
    plain_weights,
    refresh,
    remove_pruning,
)
from fulmen.callbacks.pruning_options import Method, check_alone, check_flags, find_method, find_parts
from fulmen.utilities.rank_zero import rank_zero_info
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

Amount = int | float


class ModelPruning(Callback):
    """Prunes parameters at the end of epochs.

    It prunes before the validation with which an epoch ends, so that what is validated and what is saved is the pruned
    model. What the lottery ticket puts back, it puts back when training goes on: files, and the model after training,
    have the weights that were trained. Masks, and what they hide, go into checkpoints, so that a run that goes on is
    the run that was not stopped.

    Args:
        pruning_fn: ``"l1_unstructured"``, ``"random_unstructured"``, ``"ln_structured"``, ``"random_structured"``, or a
            class derived from ``torch.nn.utils.prune.BasePruningMethod``.
        parameters_to_prune: Pairs of a layer and the name of its parameter; none takes all that have a name of
            `parameter_names`.
        parameter_names: Names of parameters; None for ``"weight"`` and ``"bias"``.
        use_global_unstructured: Whether elements of all parameters compete with each other; else each parameter is
            pruned for itself.
        amount: How much to prune: a part of what is left, as a float, a number of elements, as an int, or a function
            that gives it for an epoch.
        apply_pruning: Whether to prune, or a function that says so for an epoch.
        make_pruning_permanent: Whether checkpoints, and the model after training, have plain parameters with zeros in
            them. Else they have the parameters ``*_orig`` and buffers ``*_mask``.
        use_lottery_ticket_hypothesis: Whether training goes on after pruning with what is left at its values from
            before training; or a function that says so for an epoch. See https://arxiv.org/abs/1803.03635.
        resample_parameters: Whether it gets new random values then, by the layers' ``reset_parameters``.
        pruning_dim: The dimension along which structured pruning goes.
        pruning_norm: The norm by which ``"ln_structured"`` goes.
        verbose: 1 reports how much is pruned, 2 for each parameter, too; 0 nothing.
        prune_on_train_epoch_end: Whether to prune at the end of each training epoch, or at each validation.

    Raises:
        MisconfigurationException: If an argument is of another kind, one that the method needs is missing, or when
            training starts there is nothing to prune, or another callback averages the weights.

    Example:
        >>> ModelPruning("l1_unstructured", amount=lambda epoch: 0.5 if epoch == 3 else 0).PARAMETER_NAMES
        ('weight', 'bias')
    """

    PARAMETER_NAMES = ("weight", "bias")

    def __init__(
        self,
        pruning_fn: Callable[..., Any] | str,
        parameters_to_prune: Sequence[Part] = (),
        parameter_names: list[str] | None = None,
        use_global_unstructured: bool = True,
        amount: Amount | Callable[[int], Amount] = 0.5,
        apply_pruning: bool | Callable[[int], bool] = True,
        make_pruning_permanent: bool = True,
        use_lottery_ticket_hypothesis: bool | Callable[[int], bool] = True,
        resample_parameters: bool = False,
        pruning_dim: int | None = None,
        pruning_norm: int | None = None,
        verbose: int = 0,
        prune_on_train_epoch_end: bool = True,
    ) -> None:
        check_flags(amount, verbose)
        self._method: Method = find_method(pruning_fn, use_global_unstructured, pruning_dim, pruning_norm)
        self._use_global_unstructured = use_global_unstructured
        self._parameters_to_prune: Sequence[Part] = parameters_to_prune
        self._wanted = parameters_to_prune
        self._parameter_names = parameter_names or list(self.PARAMETER_NAMES)
        self.amount = amount
        self._apply_pruning = apply_pruning
        self._make_pruning_permanent = make_pruning_permanent
        self._use_lottery_ticket_hypothesis = use_lottery_ticket_hypothesis
        self._resample_parameters = resample_parameters
        self._verbose = verbose
        self._prune_on_train_epoch_end = prune_on_train_epoch_end
        self._by_name: dict[str, Part] = {}
        self._originals: dict[str, Tensor] = {}
        self._layers: dict[int, nn.Module] = {}  # copies, to be given random values
        self._state: dict[str, Any] | None = None  # of an earlier run, or of this one after its end
        self._forget()

    def _forget(self) -> None:
        self._pruned_at = -1  # after how many batches it pruned last
        self._owes_ticket = False  # whether what is left goes back to its values before training goes on

    def listens_to(self, event: str) -> bool:
        """Not to what comes with each batch or validation, where nothing is done there."""
        others = {"on_train_batch_start", "on_validation_epoch_end"}
        deaf = others if self._prune_on_train_epoch_end else {"on_train_epoch_end"}
        if not self._use_lottery_ticket_hypothesis:
            deaf |= {"on_train_epoch_start", "on_train_batch_start"}
        return event not in deaf or getattr(type(self), event) is not getattr(ModelPruning, event)

    # What to prune.

    def filter_parameters_to_prune(self, parameters_to_prune: Sequence[Part] = ()) -> Sequence[Part]:
        """A place to leave parameters out; gives all back.

        Args:
            parameters_to_prune: What was found.
        """
        return parameters_to_prune

    @staticmethod
    def sanitize_parameters_to_prune(
        pl_module: LightningModule, parameters_to_prune: Sequence[Part] = (), parameter_names: Sequence[str] = ()
    ) -> Sequence[Part]:
        """The parameters to prune.

        Args:
            pl_module: The module.
            parameters_to_prune: Pairs of a layer and the name of its parameter; none for all.
            parameter_names: The names that count then; none for :attr:`PARAMETER_NAMES`.

        Raises:
            MisconfigurationException: If they are no such pairs, or not of the module, or there are none.
        """
        return find_parts(pl_module, parameters_to_prune, parameter_names or ModelPruning.PARAMETER_NAMES)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finds what to prune, and keeps its values."""
        if stage != TrainerFn.FITTING:
            return
        check_alone([type(other).__name__ for other in trainer.callbacks if isinstance(other, Averaging)])
        self._forget()
        parts = self.sanitize_parameters_to_prune(pl_module, self._wanted, self._parameter_names)
        if self._method.by_channels and not self._wanted:  # what has one dimension has no channels
            parts = [part for part in parts if parameter_of(part).ndim > 1]
        self._parameters_to_prune = parts = self.filter_parameters_to_prune(parts)
        paths = {id(layer): path for path, layer in pl_module.named_modules()}
        self._by_name = {f"{paths[id(layer)]}.{name}".lstrip("."): (layer, name) for layer, name in parts}
        self._state, self._originals, self._layers = None, {}, {}
        if self._use_lottery_ticket_hypothesis and self._resample_parameters:
            self._layers = {id(layer): copy.deepcopy(_without_pruning(layer)) for layer, _ in parts}
        elif self._use_lottery_ticket_hypothesis:
            self._originals = {name: parameter_of(part).detach().clone() for name, part in self._by_name.items()}

    # Pruning.

    def apply_pruning(self, amount: Amount) -> None:
        """Prunes.

        Args:
            amount: How much; see the class.
        """
        parts = self._parameters_to_prune
        before = [count_pruned(part) for part in parts] if self._verbose else []
        names = [list(layer._parameters) for layer, _ in parts]
        refresh(parts)
        self._method.prune(parts, amount)
        for (layer, _), order in zip(parts, names):
            keep_places(layer, order)
        if self._verbose:
            self._report(amount, before, [count_pruned(part) for part in parts])

    def _report(self, amount: Amount, before: list[tuple[int, int]], after: list[tuple[int, int]]) -> None:
        method, total = self._method.name, sum(size for _, size in after)
        was, now = sum(count for count, _ in before), sum(count for count, _ in after)
        rank_zero_info(
            f"Applied `{method}`. Pruned: {was}/{total} ({was / total:.2%}) -> {now}/{total} ({now / total:.2%})"
        )
        if self._verbose == 2:
            for (layer, name), (was, size), (now, _) in zip(self._parameters_to_prune, before, after):
                rank_zero_info(
                    f"Applied `{method}` to `{layer!r}.{name}` with amount={amount}. "
                    f"Pruned: {was} ({was / size:.2%}) -> {now} ({now / size:.2%})"
                )

    @torch.no_grad()
    def apply_lottery_ticket_hypothesis(self) -> None:
        """Gives what is left its values from before training, or new random ones."""
        for layer in self._layers.values():
            reset = getattr(layer, "reset_parameters", None)
            if reset is not None:
                reset()
        for name, part in self._by_name.items():
            value = getattr(self._layers[id(part[0])], part[1]) if self._layers else self._originals[name]
            parameter_of(part).copy_(value)
        refresh(self._parameters_to_prune)

    def make_pruning_permanent(self, module: nn.Module) -> None:
        """Makes plain parameters with zeros in them of what is pruned.

        Args:
            module: The module.
        """
        remove_pruning(module)

    def _prune(self, epoch: int) -> None:
        wanted = self._apply_pruning(epoch) if callable(self._apply_pruning) else self._apply_pruning
        amount = self.amount(epoch) if callable(self.amount) else self.amount
        if not wanted or not amount:
            return
        self.apply_pruning(amount)
        lottery = self._use_lottery_ticket_hypothesis
        self._owes_ticket = bool(lottery(epoch) if callable(lottery) else lottery)

    def _put_back(self) -> None:
        if self._owes_ticket:
            self.apply_lottery_ticket_hypothesis()
            self._owes_ticket = False

    # The run.

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prunes what an earlier run had pruned."""
        state, self._state = self._state, None
        if state is None:
            return
        load_masks(self._by_name, state)
        self._pruned_at = state.get("pruned_at", -1)
        self._owes_ticket = state.get("owes_ticket", False)
        for name, value in state["originals"].items():
            if name in self._originals:
                self._originals[name] = value

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the values from before training back, if asked to."""
        self._put_back()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Does the same after a validation in the middle of an epoch."""
        self._put_back()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prunes, if this is the validation at the end of the epoch, or each counts."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if not self._prune_on_train_epoch_end or self._is_last_validation(trainer):
            self._pruned_at = trainer.progress.batches
            self._prune(trainer.current_epoch)

    @staticmethod
    def _is_last_validation(trainer: Trainer) -> bool:
        """Whether the epoch ends with it, by what is known before it."""
        fit, progress = trainer.fit_loop, trainer.progress
        return progress.epoch_done or progress.steps >= fit.last_step or (trainer.should_stop and fit.may_stop)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing; it is there for those who call it."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prunes, if that was not done before a validation."""
        if self._prune_on_train_epoch_end and self._pruned_at != trainer.progress.batches:
            self._prune(trainer.current_epoch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes pruning permanent, if asked to."""
        if self._make_pruning_permanent and self._state is None:
            self._state = self.state_dict()
            self.make_pruning_permanent(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Does the same for a run in which nothing was left to train."""
        self.on_train_end(trainer, pl_module)

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        """The masks, what they hide, and the values from before training."""
        if self._state is not None:
            return self._state
        places = {"pruned_at": self._pruned_at, "owes_ticket": self._owes_ticket}
        return {**dump_masks(self._by_name), "originals": dict(self._originals), **places}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self._state = state_dict

    def before_weights(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Gives the weights of a checkpoint the names that the module has for them, before they are loaded."""
        fitting = trainer.state.fn == TrainerFn.FITTING
        weights = checkpoint["state_dict"]
        if not fitting and set(weights) == set(pl_module.state_dict()):
            return
        remove_pruning(pl_module, masked=not fitting)
        checkpoint["state_dict"] = plain_weights(weights, masked=not fitting)

    def replace_weights(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Makes pruning permanent in a checkpoint, if asked to."""
        if self._make_pruning_permanent:
            checkpoint["state_dict"] = plain_weights(checkpoint["state_dict"])

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Makes pruning permanent in a checkpoint, if asked to."""
        self.replace_weights(trainer, pl_module, checkpoint)


def _without_pruning(layer: nn.Module) -> nn.Module:
    """A layer that can be copied: a pruned tensor is the result of a computation, which cannot."""
    twin = copy.copy(layer)
    twin._parameters, twin._buffers = dict(layer._parameters), dict(layer._buffers)
    twin._forward_pre_hooks = type(layer._forward_pre_hooks)()
    for name in [key.removesuffix("_orig") for key in layer._parameters if key.endswith("_orig")]:
        if f"{name}_mask" in layer._buffers:
            twin.__dict__.pop(name, None)
            twin._parameters[name] = twin._parameters.pop(f"{name}_orig")
            del twin._buffers[f"{name}_mask"]
    return twin


__all__ = ["ModelPruning"]
