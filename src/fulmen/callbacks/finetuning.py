"""Finetuning: layers that begin frozen, and join training later with a learning rate of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn import Module, ModuleDict
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.finetuning_state import dump_frozen, dump_groups, load_frozen, load_groups
from fulmen.callbacks.scheduler_groups import include_groups
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredHook, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

Modules = Module | Iterable[Any]


def multiplicative(epoch: int) -> float:
    """Twice the learning rate in each epoch; the default of :class:`BackboneFinetuning`."""
    return 2.0


class BaseFinetuning(Callback):
    """Freezes layers before training, and lets them join it later.

    Override :meth:`freeze_before_training` to freeze, and :meth:`finetune_function` to unfreeze. Let the optimizer have
    those parameters alone that are trained from the start. Groups that join an optimizer follow its schedulers in
    proportion to its first group. What is frozen and which groups there are goes into checkpoints.

    Example:
        >>> class UnfreezeAtTen(BaseFinetuning):
        ...     def freeze_before_training(self, pl_module):
        ...         self.freeze(pl_module.encoder)
        ...
        ...     def finetune_function(self, pl_module, epoch, optimizer):
        ...         if epoch == 10:
        ...             self.unfreeze_and_add_param_group(pl_module.encoder, optimizer)
    """

    def __init__(self) -> None:
        self._internal_optimizer_metadata: dict[int, list[dict[str, Any]]] = {}
        self._loaded: dict[str, Any] | None = None

    # What to freeze, and when to unfreeze.

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freezes what is not to be trained from the start; called before the optimizers are made.

        Args:
            pl_module: The module.
        """
        raise MisconfiguredHook(
            f"`{type(self).__name__}` does not say what to freeze.",
            fix="Write `def freeze_before_training(self, pl_module): self.freeze(pl_module.encoder)`.",
        )

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Unfreezes, where it is time; called at the start of each epoch, for each optimizer.

        Args:
            pl_module: The module.
            epoch: The epoch that begins, from 0.
            optimizer: An optimizer of the module.
        """
        raise MisconfiguredHook(
            f"`{type(self).__name__}` does not say when to unfreeze.",
            fix="Write `def finetune_function(self, pl_module, epoch, optimizer)`, and call "
            "`self.unfreeze_and_add_param_group(pl_module.encoder, optimizer)` in it when it is time.",
        )

    # Helpers for that.

    @staticmethod
    def flatten_modules(modules: Modules) -> list[Module]:
        """The layers of modules: submodules without submodules, or with parameters of their own.

        Args:
            modules: A module, or a nest of them.
        """
        if isinstance(modules, ModuleDict):
            modules = modules.values()
        if isinstance(modules, Module):
            found = list(modules.modules())
        else:
            found = [layer for module in modules for layer in BaseFinetuning.flatten_modules(module)]
        return [layer for layer in found if not list(layer.children()) or layer._parameters]

    @staticmethod
    def filter_params(modules: Modules, train_bn: bool = True, requires_grad: bool = True) -> Iterator[nn.Parameter]:
        """Parameters of modules.

        Args:
            modules: A module, or a nest of them.
            train_bn: Whether those of batch-norm layers are among them.
            requires_grad: Take those that are trained, or those that are frozen.
        """
        for layer in BaseFinetuning.flatten_modules(modules):
            if isinstance(layer, _BatchNorm) and not train_bn:
                continue
            for parameter in layer.parameters(recurse=False):
                if parameter.requires_grad == requires_grad:
                    yield parameter

    @staticmethod
    def make_trainable(modules: Modules) -> None:
        """Unfreezes modules; batch-norm layers gather statistics again.

        Args:
            modules: A module, or a nest of them.
        """
        for layer in BaseFinetuning.flatten_modules(modules):
            if isinstance(layer, _BatchNorm):
                layer.track_running_stats = True
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad = True

    @staticmethod
    def freeze_module(module: Module) -> None:
        """Freezes the parameters of one layer; a batch-norm layer gathers no more statistics.

        Args:
            module: The layer.
        """
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad = False

    @staticmethod
    def freeze(modules: Modules, train_bn: bool = True) -> None:
        """Freezes modules.

        Args:
            modules: A module, or a nest of them.
            train_bn: Whether batch-norm layers are trained all the same.
        """
        for layer in BaseFinetuning.flatten_modules(modules):
            if isinstance(layer, _BatchNorm) and train_bn:
                BaseFinetuning.make_trainable(layer)
            else:
                BaseFinetuning.freeze_module(layer)

    @staticmethod
    def filter_on_optimizer(optimizer: Optimizer, params: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        """Those parameters that an optimizer does not have yet; warns of the others.

        Args:
            optimizer: The optimizer.
            params: The parameters.
        """
        params = list(params)
        new = [parameter for parameter in params if id(parameter) not in _parameters_of(optimizer)]
        if len(new) < len(params):
            rank_zero_warn(
                f"{len(params) - len(new)} of the parameters that are unfrozen are in a group of the optimizer "
                "already, and stay there with its learning rate. To give them a group of their own, let the optimizer "
                "have those alone that are trained from the start: "
                f"`{type(optimizer).__name__}([p for p in self.parameters() if p.requires_grad], ...)`."
            )
        return new

    @staticmethod
    def unfreeze_and_add_param_group(
        modules: Modules,
        optimizer: Optimizer,
        lr: float | None = None,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:
        """Unfreezes modules and gives their parameters to an optimizer, as a new group.

        Args:
            modules: A module, or a nest of them.
            optimizer: The optimizer.
            lr: The group's learning rate; None takes that of the first group, divided by `initial_denom_lr`.
            initial_denom_lr: See `lr`.
            train_bn: Whether the parameters of batch-norm layers are among them.
        """
        known = _parameters_of(optimizer)
        trained = {id(p) for p in BaseFinetuning.filter_params(modules) if id(p) in known}
        BaseFinetuning.make_trainable(modules)
        rate = optimizer.param_groups[0]["lr"] / initial_denom_lr if lr is None else lr
        joining = [p for p in BaseFinetuning.filter_params(modules, train_bn=train_bn) if id(p) not in trained]
        joining = BaseFinetuning.filter_on_optimizer(optimizer, joining)
        if joining:
            optimizer.add_param_group({"params": joining, "lr": rate})

    # The run.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freezes, where training begins."""
        if stage == TrainerFn.FITTING:
            self._internal_optimizer_metadata, self._loaded = {}, None
            self.freeze_before_training(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives optimizers the groups that they had in an earlier run, and unfreezes what it had unfrozen."""
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        names, saved = trainer.strategy._optimizer_names, loaded.get("optimizer_names", ())
        for index, optimizer in enumerate(trainer.optimizers):
            place = saved.index(names[index]) if names and sorted(names) == sorted(saved) else index
            groups = loaded["internal_optimizer_metadata"].get(place)
            if groups is not None:
                count = len(optimizer.param_groups)
                joined = load_groups(pl_module, optimizer, groups)
                include_groups(trainer.lr_scheduler_configs, optimizer, count)
                if "trainable" not in loaded:  # Lightning does not keep it
                    for parameter in joined:
                        parameter.requires_grad = True
        if "trainable" in loaded:
            load_frozen(pl_module, loaded)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Unfreezes, where it is time."""
        for index, optimizer in enumerate(trainer.optimizers):
            count = len(optimizer.param_groups)
            self.finetune_function(pl_module, trainer.current_epoch, optimizer)
            if len(optimizer.param_groups) > count:
                include_groups(trainer.lr_scheduler_configs, optimizer, count)
            if len(optimizer.param_groups) > count or index not in self._internal_optimizer_metadata:
                self._internal_optimizer_metadata[index] = dump_groups(pl_module, optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The groups of each optimizer, with the names of their parameters."""
        return {"internal_optimizer_metadata": self._internal_optimizer_metadata}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self._loaded = state_dict
        self._internal_optimizer_metadata = state_dict["internal_optimizer_metadata"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds what is frozen, and the groups as they are now."""
        state = checkpoint["callbacks"][self.state_key]
        state.update(dump_frozen(pl_module))
        if trainer.optimizers:  # else they were in other processes, and are as the callback has noted
            state["internal_optimizer_metadata"] = {
                index: dump_groups(pl_module, optimizer) for index, optimizer in enumerate(trainer.optimizers)
            }
        if trainer.strategy._optimizer_names:
            state["optimizer_names"] = list(trainer.strategy._optimizer_names)


def _parameters_of(optimizer: Optimizer) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


class BackboneFinetuning(BaseFinetuning):
    """Trains the head of a module first, and later its ``backbone`` with it.

    The module has an attribute ``backbone``. From the epoch of its unfreezing on, it is a group of its own in the
    optimizer, whose learning rate is set at the start of each epoch.

    Args:
        unfreeze_backbone_at_epoch: The epoch, from 0, in which the backbone joins.
        lambda_func: For the number of the next epoch a factor on the backbone's learning rate.
        backbone_initial_ratio_lr: What part of the head's learning rate the backbone begins with.
        backbone_initial_lr: With what learning rate the backbone begins; None goes by `backbone_initial_ratio_lr`.
        should_align: Whether the backbone's learning rate is at most that of the head.
        initial_denom_lr: See :meth:`unfreeze_and_add_param_group`.
        train_bn: Whether batch-norm layers of the backbone are trained, from the start on. If not, they stay as they
            are, with their statistics.
        verbose: Whether the learning rates are reported.
        rounding: To how many digits.

    Raises:
        MisconfigurationException: If an argument is of another kind; or when training starts, if the module has no
            backbone.

    Example:
        >>> BackboneFinetuning(unfreeze_backbone_at_epoch=5, lambda_func=lambda epoch: 1.5).state_key
        'BackboneFinetuning'
    """

    def __init__(
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = multiplicative,
        backbone_initial_ratio_lr: float = 10e-2,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        if not isinstance(unfreeze_backbone_at_epoch, int) or unfreeze_backbone_at_epoch < 0:
            raise MisconfiguredValue(
                "`unfreeze_backbone_at_epoch` is an epoch, counted from 0.",
                got=unfreeze_backbone_at_epoch,
                fix="Pass an int from 0 up: `unfreeze_backbone_at_epoch=10`.",
            )
        if not callable(lambda_func):
            raise MisconfigurationException(
                "`lambda_func` gives for an epoch the factor on the backbone's learning rate.",
                got=lambda_func,
                fix="Pass a function: `lambda_func=lambda epoch: 1.5`.",
            )
        self.unfreeze_backbone_at_epoch = unfreeze_backbone_at_epoch
        self.lambda_func = lambda_func
        self.backbone_initial_ratio_lr = backbone_initial_ratio_lr
        self.backbone_initial_lr = backbone_initial_lr
        self.should_align = should_align
        self.initial_denom_lr = initial_denom_lr
        self.train_bn = train_bn
        self.verbose = verbose
        self.rounding = rounding
        self.previous_backbone_lr: float | None = None
        self._rate_of: tuple[int, float | None] = (-1, None)  # the running epoch, and the rate before it

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freezes the backbone, where training begins.

        Raises:
            MisconfigurationException: If there is none.
        """
        if stage == TrainerFn.FITTING and not isinstance(getattr(pl_module, "backbone", None), Module):
            raise MisconfigurationException(
                "`BackboneFinetuning` finetunes `self.backbone` of the module, a `torch.nn.Module`.",
                got=f"`{type(pl_module).__name__}` with `{'`, `'.join(n for n, _ in pl_module.named_children())}`",
                fix="Set `self.backbone` in `__init__`, or derive a callback from `BaseFinetuning` that freezes and "
                "unfreezes what you have.",
            )
        super().setup(trainer, pl_module, stage)

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freezes the backbone."""
        self.freeze(pl_module.backbone, train_bn=self.train_bn)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Unfreezes the backbone, and sets its learning rate."""
        if epoch < self.unfreeze_backbone_at_epoch:
            return
        if self._rate_of[0] != epoch:  # another optimizer's turn in the same epoch goes by the same rate
            self._rate_of = (epoch, self.previous_backbone_lr)
        head, previous = optimizer.param_groups[0]["lr"], self._rate_of[1]
        if epoch == self.unfreeze_backbone_at_epoch or previous is None:
            first = self.backbone_initial_lr
            rate = head * self.backbone_initial_ratio_lr if first is None else first
        else:
            rate = self.lambda_func(epoch + 1) * previous
            rate = min(rate, head) if self.should_align else rate
        self.previous_backbone_lr = rate
        joins = epoch == self.unfreeze_backbone_at_epoch or self._is_missing(pl_module, optimizer)
        if joins:
            self._unfreeze(pl_module, optimizer, rate)
        own = self._own_group(pl_module, optimizer)
        if own is not None:
            own["lr"] = rate
        if self.verbose:
            rank_zero_info(f"Current lr: {round(head, self.rounding)}, Backbone lr: {round(rate, self.rounding)}")

    def _unfreeze(self, pl_module: LightningModule, optimizer: Optimizer, rate: float) -> None:
        if self._is_missing(pl_module, optimizer) or self._own_group(pl_module, optimizer) is None:
            self.unfreeze_and_add_param_group(
                pl_module.backbone, optimizer, rate, initial_denom_lr=self.initial_denom_lr, train_bn=self.train_bn
            )
        else:  # it had a group of its own from the start
            self.make_trainable(pl_module.backbone)
        if not self.train_bn:
            for layer in self.flatten_modules(pl_module.backbone):
                if isinstance(layer, _BatchNorm):
                    self.freeze_module(layer)

    def _own_group(self, pl_module: LightningModule, optimizer: Optimizer) -> dict[str, Any] | None:
        """The group of the optimizer that holds parameters of the backbone and no others."""
        backbone = {
            id(p) for layer in self.flatten_modules(pl_module.backbone) for p in layer.parameters(recurse=False)
        }
        group: dict[str, Any]
        for group in reversed(optimizer.param_groups):
            if group["params"] and all(id(parameter) in backbone for parameter in group["params"]):
                return group
        return None

    def _is_missing(self, pl_module: LightningModule, optimizer: Optimizer) -> bool:
        """Whether the optimizer lacks parameters that are to be trained."""
        known = _parameters_of(optimizer)
        layers = self.flatten_modules(pl_module.backbone)
        return any(
            id(parameter) not in known
            for layer in layers
            if self.train_bn or not isinstance(layer, _BatchNorm)
            for parameter in layer.parameters(recurse=False)
        )

    def state_dict(self) -> dict[str, Any]:
        """The groups of each optimizer, and the backbone's learning rate."""
        return {**super().state_dict(), "previous_backbone_lr": self.previous_backbone_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self.previous_backbone_lr = state_dict["previous_backbone_lr"]
        super().load_state_dict(state_dict)


__all__ = ["BackboneFinetuning", "BaseFinetuning", "multiplicative"]
