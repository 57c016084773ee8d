"""What Fulmen asks of a strategy: where the model lies, and how processes agree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fulmen.accelerators.accelerator import Accelerator
from fulmen.accelerators.registry import for_device
from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.lightning import LightningEnvironment
from fulmen.precision.precision import Precision
from fulmen.strategies.hooks import StrategyHooks
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.traceback import fold
from fulmen.utilities.tree import move_data_to_device
from fulmen.utilities.types import _PATH, LRSchedulerConfig, TBroadcast, TReduce

if TYPE_CHECKING:
    from fulmen.strategies.registry import Strategies


class Strategy(StrategyHooks, ABC):
    """Where the model lies, and how several processes act as one.

    It asks its accelerator and its precision only through their contracts, and knows of a module what PyTorch's own
    has, its steps, and the hooks that move a batch.

    Args:
        accelerator: The kind of device; None takes the one that :attr:`root_device` belongs to.
        checkpoint_io: How checkpoints get to disk and back.
        precision_plugin: How numbers look; None is single precision.
    """

    strategy_name: str = ""
    global_rank: int = 0
    local_rank: int = 0
    node_rank: int = 0
    world_size: int = 1
    lead = 0  # the rank whose buffers, such as running means, all go by
    peers: Any = None  # what a process knows of the others, where there are several

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        checkpoint_io: Any = None,
        precision_plugin: Precision | None = None,
    ) -> None:
        self._accelerator = accelerator
        self._checkpoint_io = checkpoint_io
        self._precision_plugin = precision_plugin
        self.cluster_environment: ClusterEnvironment = LightningEnvironment()
        self._model: nn.Module | None = None
        self._lightning_module: Any = None
        self._launcher: Any = None
        self._held_back = False
        self._inside: dict[str, Callable[..., Any]] = {}  # what a run does in the methods that are running
        self._optimizers: list[Optimizer] = []
        self._lightning_optimizers: list[Any] = []
        self._optimizer_names: tuple[str, ...] = ()
        self._scheduler_names: tuple[str, ...] = ()
        self.lr_scheduler_configs: list[LRSchedulerConfig] = []

    # What it is made of.

    @property
    def accelerator(self) -> Accelerator:
        """The kind of device."""
        if self._accelerator is None:
            self._accelerator = for_device(self.root_device)
        return self._accelerator

    @accelerator.setter
    def accelerator(self, accelerator: Accelerator | None) -> None:
        self._accelerator = accelerator

    @property
    def precision_plugin(self) -> Precision:
        """How numbers look."""
        if self._precision_plugin is None:
            self._precision_plugin = Precision()
        return self._precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, precision_plugin: Precision | None) -> None:
        self._precision_plugin = precision_plugin

    @property
    def checkpoint_io(self) -> Any:
        """How checkpoints get to disk and back."""
        return self._checkpoint_io

    @checkpoint_io.setter
    def checkpoint_io(self, checkpoint_io: Any) -> None:
        self._checkpoint_io = checkpoint_io

    @property
    def model(self) -> nn.Module | None:
        """The model, wrapped where the strategy wraps it; None before :meth:`connect`."""
        return self._lightning_module if self._model is None else self._model

    @model.setter
    def model(self, model: nn.Module | None) -> None:
        self._model = model

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers, as ``configure_optimizers`` made them."""
        return self._optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        self._optimizers = optimizers

    @property
    def lightning_module(self) -> Any:
        """The user's module, not wrapped; None before :meth:`connect`."""
        return self._lightning_module

    @property
    def launcher(self) -> Any:
        """What starts other processes, or None."""
        if self._launcher is None:
            self._configure_launcher()
        return self._launcher

    def _configure_launcher(self) -> None:
        """Puts into ``self._launcher`` what starts the other processes. Libraries override it."""

    @property
    @abstractmethod
    def root_device(self) -> torch.device:
        """The device of this process."""

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the process with rank 0."""
        return self.global_rank == 0

    @property
    def handles_gradient_accumulation(self) -> bool:
        """Whether it accumulates gradients itself."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Whether optimizers are restored with :meth:`load_optimizer_state_dict`, and not by the strategy itself."""
        return True

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Whether a checkpoint can be loaded only after :meth:`setup`."""
        return False

    # The way of a run: connect, setup_environment, setup, (optimizers), setup_precision_plugin, ..., teardown.

    def connect(self, model: nn.Module) -> None:
        """Takes a model, which may be what ``torch.compile`` made of a module."""
        self._lightning_module = getattr(model, "_orig_mod", model)
        self.model = model

    def setup_environment(self) -> None:
        """Makes this process's device the current one."""
        self.accelerator.setup_device(self.root_device)

    def setup(self, trainer: Any) -> None:
        """Gives the model its precision and moves it to its device; optimizers are made after this.

        Args:
            trainer: Who runs it.
        """
        self.accelerator.setup(trainer)
        if self.model is not None:
            self.model = self.precision_plugin.convert_module(self.model)
            self.model_to_device()

    @abstractmethod
    def model_to_device(self) -> None:
        """Moves the model to :attr:`root_device`."""

    def setup_optimizers(self, trainer: Any) -> None:
        """Asks the module for its optimizers and schedulers, through the Trainer.

        Args:
            trainer: Who runs it.
        """
        self.optimizers, self.lr_scheduler_configs, self._lightning_optimizers = trainer.configured_optimizers()

    def setup_precision_plugin(self) -> None:
        """Lets the precision see model, optimizers and schedulers, and puts what the optimizers remember in place."""
        if self.model is None:
            return
        self.model, self.optimizers, self.lr_scheduler_configs = self.precision_plugin.connect(
            self.model, self.optimizers, self.lr_scheduler_configs
        )
        self._move_states(self.root_device)

    def _move_states(self, device: torch.device) -> None:
        from fulmen.strategies.optimizer_state import move_optimizer  # a Trainer alone has no use for it

        for optimizer in self.optimizers:
            move_optimizer(optimizer, device)

    def teardown(self) -> None:
        """Moves the model and what its optimizers remember to the CPU, and frees what the run held."""
        self._move_states(torch.device("cpu"))
        if self._lightning_module is not None:
            self._lightning_module.cpu()
        self.precision_plugin.teardown()
        self.accelerator.teardown()
        if self.checkpoint_io is not None:
            self.checkpoint_io.teardown()

    # How processes agree.

    @abstractmethod
    def reduce(self, tensor: TReduce, group: Any = None, reduce_op: Any = "mean") -> TReduce:
        """Combines a tensor, or a nest of them, over all processes.

        Args:
            tensor: This process's part.
            group: Which processes; None for all.
            reduce_op: ``"mean"``, ``"sum"`` or an operation of ``torch.distributed``.

        Returns:
            The result, on every process.
        """

    @abstractmethod
    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Collects a tensor of every process.

        Args:
            tensor: This process's part.
            group: Which processes; None for all.
            sync_grads: Whether gradients flow back.

        Returns:
            The parts, stacked in a new first dimension of size :attr:`world_size`; on one process the tensor itself.
        """

    @abstractmethod
    def broadcast(self, obj: TBroadcast, src: int = 0) -> TBroadcast:
        """Hands an object of one process to all.

        Args:
            obj: The object.
            src: Whose.

        Returns:
            The object of process `src`.
        """

    @abstractmethod
    def barrier(self, name: str | None = None) -> None:
        """Waits until all processes are here.

        Args:
            name: Where "here" is, for a log.
        """

    def waiting(self, where: str, patient: bool = False) -> AbstractContextManager[Any]:
        """Says where this process waits for the others, for a report of who keeps them waiting.

        Args:
            where: What it waits for.
            patient: Whether the others may take as long as they like.
        """
        waits: AbstractContextManager[Any] = nullcontext()
        return waits if self.peers is None else self.peers.waiting(where, patient=patient)

    def explain(self, error: BaseException, asked: bool) -> BaseException:
        """What ends a run: the error itself, or that of the process that failed first.

        Args:
            error: What this process met.
            asked: Whether all processes were asked to end, and do.
        """
        if self.peers is None or asked:
            return error
        fold(error)  # what the others are told is what a user sees here
        failure: BaseException = self.peers.fail(error)
        return failure

    def outside_of_a_run(self, call: str) -> AbstractContextManager[Any]:
        """Makes an error about processes that are gone say so, where no run looks after them.

        Args:
            call: The method of the Trainer that all processes have to call.
        """
        return nullcontext()

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Lets processes agree on a decision.

        Args:
            decision: This process's.
            all: Whether all must be for it; otherwise one is enough.

        Returns:
            The decision of them all.
        """
        return decision

    def all_gather_object(self, obj: Any) -> list[Any]:
        """Collects an object of every process, in the order of their ranks."""
        return [obj]

    # The way of a batch.

    def wrap_training_step(self, step: Callable[..., Any], closes: Callable[[], bool] | None) -> Callable[..., Any]:
        """Puts around ``training_step`` what lets backward bring gradients of all processes together.

        Args:
            step: The step.
            closes: Whether the running batch closes an accumulation window; None where each does.
        """
        return step

    def gradient_check(self) -> Callable[[], None] | None:
        """What complains, after a backward that brings gradients together, if it could not; None if it always can."""
        return None

    def sync_gradients(self, parameters: Iterable[nn.Parameter], always: bool = False) -> None:
        """Makes gradients the mean over all processes, where backward has not done so.

        Args:
            parameters: Whose.
            always: Whether also where a user holds that back.
        """

    def forward_of_nothing(self) -> None:
        """Takes part where the others call ``training_step``, without a batch."""

    def backward_of_nothing(self, closes: bool, scale: Callable[[Tensor], Tensor] | None = None) -> None:
        """Takes part where the others bring gradients together, with gradients of zero.

        Args:
            closes: Whether they do so in the running batch.
            scale: What a loss goes through before backward.
        """

    def why_not_uneven(self) -> str | None:
        """What all processes need as many training batches for, as the beginning of a sentence; None: they need not."""
        return f"With `{type(self).__name__}`"

    def open_turns(self) -> Any:
        """Begins a pass in which processes tell each other ahead of time whether they have a batch."""
        raise NotImplementedError

    def open_tally(self) -> Any:
        """Begins a run in which processes may say something of a step that others do not; None where they cannot."""
        return None

    def combine_numbers(self, numbers: list[float], reduce_op: Literal["sum", "max"]) -> list[float]:
        """Combines numbers over processes, each with those at its place; in one small collective."""
        return numbers

    def sync_buffers(self) -> None:
        """Gives every process the model's buffers of the :attr:`lead`, which are what a checkpoint holds."""
        self.sync_buffers_of(self._lightning_module, self.lead)

    def sync_buffers_of(self, owner: nn.Module, source: int) -> None:
        """Gives every process the buffers of one, such as running means, where they can differ.

        Args:
            owner: Whose buffers: the model, or averages of it.
            source: The process that has them.
        """

    def process_dataloader(self, dataloader: Any) -> Any:
        """Adapts a loader to the strategy; returns it."""
        return dataloader

    def batch_to_device(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:
        """Moves a batch, by the module's own hooks where there is a module.

        Args:
            batch: The batch.
            device: Where to; None for :attr:`root_device`.
            dataloader_idx: The loader that it comes from.

        Returns:
            The batch on the device.
        """
        target = self.root_device if device is None else device
        module = self._lightning_module
        if "batch_to_device" in self._inside:
            return self._inside["batch_to_device"](batch, target, dataloader_idx)
        if not hasattr(module, "transfer_batch_to_device"):
            return move_data_to_device(batch, target)
        return module.on_after_batch_transfer(
            module.transfer_batch_to_device(batch, target, dataloader_idx), dataloader_idx
        )

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module's step of that name in the precision's context."""
        with self.precision_plugin.train_step_context():
            return self._step("training_step")(*args, **kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module's step of that name in the precision's context."""
        with self.precision_plugin.val_step_context():
            return self._step("validation_step")(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module's step of that name in the precision's context."""
        with self.precision_plugin.test_step_context():
            return self._step("test_step")(*args, **kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module's step of that name in the precision's context."""
        with self.precision_plugin.predict_step_context():
            return self._step("predict_step")(*args, **kwargs)

    def _step(self, name: str) -> Callable[..., Any]:
        step: Callable[..., Any] = self._inside.get(name) or getattr(self._lightning_module, name)
        return step

    def backward(self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        """Runs backward in the precision; outside of a run, without hooks of a module.

        Args:
            closure_loss: The loss.
            optimizer: The optimizer that will step, if it is known.
            *args: For ``loss.backward``.
            **kwargs: For ``loss.backward``.

        Returns:
            What backward ran on: the loss, scaled where the precision scales.
        """
        self.pre_backward(closure_loss)
        run: Callable[..., Tensor] = self._inside.get("backward", self._backward)
        loss = run(closure_loss, optimizer, *args, **kwargs)
        self.post_backward(loss)
        return loss

    def _backward(self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        loss = self.precision_plugin.pre_backward(closure_loss, self._lightning_module)
        self.precision_plugin.backward(loss, self._lightning_module, optimizer, *args, **kwargs)
        self.precision_plugin.post_backward(loss, self._lightning_module)
        return loss

    def pre_backward(self, closure_loss: Tensor) -> None:
        """Called before backward, with the loss."""

    def post_backward(self, closure_loss: Tensor) -> None:
        """Called after backward, with what it ran on."""

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> Any:
        """Steps an optimizer in the precision.

        Args:
            optimizer: The optimizer.
            closure: Computes the loss and its gradients.
            model: The model; None takes the connected one.
            **kwargs: For the optimizer's own ``step``.

        Returns:
            What the precision's step returned.
        """
        target = self._lightning_module if model is None else model
        return self.precision_plugin.optimizer_step(optimizer, model=target, closure=closure, **kwargs)

    # Where models and tensors are made.

    @contextmanager
    def tensor_init_context(self, empty_init: bool | None = None) -> Generator[None]:
        """New tensors lie on :attr:`root_device` and have the precision.

        Args:
            empty_init: Whether layers are left without initial weights.
        """
        empty: AbstractContextManager[Any] = nullcontext()
        if empty_init:
            from fulmen.strategies.empty_init import EmptyInit

            empty = EmptyInit()
        with empty, self.root_device, self.precision_plugin.tensor_init_context():
            yield

    @contextmanager
    def model_sharded_context(self) -> Generator[None]:
        """Layers made inside are sharded as they are made, where the strategy shards."""
        yield

    # Checkpoints.

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The module's weights, under the names of the module as it was written, compiled or not."""
        state: dict[str, Any] = self._lightning_module.state_dict()
        return state

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Loads the module's weights.

        Args:
            checkpoint: A checkpoint; the weights are its ``"state_dict"``.
            strict: Whether names must match exactly.
        """
        self._lightning_module.load_state_dict(checkpoint["state_dict"], strict=strict)

    def state_dict(self) -> dict[str, Any]:
        """What else a run needs of the strategy to go on bit by bit, in plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on as :meth:`state_dict` says, before training does."""

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """What an optimizer remembers."""
        return optimizer.state_dict()

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Gives every optimizer its state.

        Args:
            checkpoint: A checkpoint; the states are its ``"optimizer_states"``.

        Raises:
            MisconfigurationException: If it has a state more or less than there are optimizers.
        """
        states = checkpoint["optimizer_states"]
        if len(states) != len(self.optimizers):
            raise MisconfigurationException(
                "A run can be resumed only with as many optimizers as it had.",
                got=f"{len(states)} states in the checkpoint, {len(self.optimizers)} from `configure_optimizers`",
                fix="Return the same optimizers from `configure_optimizers` as before, or load the weights alone: "
                "`Model.load_from_checkpoint(path)`, then `fit` without `ckpt_path`.",
            )
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
        self._move_states(self.root_device)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: _PATH, storage_options: Any = None) -> None:
        """Writes a checkpoint, on rank 0.

        Args:
            checkpoint: What to write.
            filepath: Where to.
            storage_options: For the ``checkpoint_io``.
        """
        if self.is_global_zero:
            self._io().save_checkpoint(checkpoint, filepath, storage_options=storage_options)

    def load_checkpoint(self, checkpoint_path: _PATH, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a checkpoint.

        Args:
            checkpoint_path: Where it lies.
            weights_only: Whether to read plain data alone; None leaves it to the ``checkpoint_io``.

        Returns:
            The checkpoint.
        """
        options = {} if weights_only is None else {"weights_only": weights_only}
        checkpoint: dict[str, Any] = self._io().load_checkpoint(checkpoint_path, **options)
        return checkpoint

    def remove_checkpoint(self, filepath: _PATH) -> None:
        """Removes a checkpoint, on rank 0."""
        if self.is_global_zero:
            self._io().remove_checkpoint(filepath)

    def _io(self) -> Any:
        if self.checkpoint_io is None:
            raise MisconfigurationException(
                f"`{type(self).__name__}` has no `checkpoint_io`, and needs one to write and read checkpoints.",
                fix=f"Hand it to a Trainer, which gives it one, or pass `{type(self).__name__}(checkpoint_io=...)`.",
            )
        return self.checkpoint_io

    @classmethod
    def register_strategies(cls, strategy_registry: Strategies) -> None:
        """Enters the class into a registry, under the names that users pass as ``strategy=``."""
        if cls.strategy_name:
            strategy_registry.register(cls.strategy_name, cls)
