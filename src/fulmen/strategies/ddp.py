"""One whole model a process, trained with ``torch.nn.parallel.DistributedDataParallel``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fulmen.accelerators.accelerator import Accelerator
from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.precision.precision import Precision
from fulmen.strategies import process_group
from fulmen.strategies.bucket_order import BucketOrder
from fulmen.strategies.collectives import broadcast_tensors
from fulmen.strategies.gradients import average_gradients
from fulmen.strategies.layer_sync import check_device
from fulmen.strategies.model_averaging import average_now_and_then
from fulmen.strategies.parallel import ParallelStrategy
from fulmen.strategies.reduced import Reduced, wrapped
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.rank_zero import warn_once
from fulmen.utilities.states import TrainerFn

_START = ("popen", "spawn", "fork", "forkserver")


class DDPStrategy(ParallelStrategy):
    """Each process trains on its part of the data; backward brings the gradients of all together.

    Args:
        accelerator: The kind of device; None takes the one that the devices belong to.
        parallel_devices: The devices of this machine, one a process; None for those that the Trainer is given.
        cluster_environment: Where this process stands among others; None for what is found.
        checkpoint_io: How checkpoints get to disk and back.
        precision_plugin: How numbers look; None is single precision.
        ddp_comm_state: What the communication hook is given.
        ddp_comm_hook: How gradients are brought together, in place of their mean; see
            ``DistributedDataParallel.register_comm_hook``.
        ddp_comm_wrapper: Wraps the hook, for example ``fp16_compress_wrapper``.
        model_averaging_period: With ``post_localSGD_hook``: after how many steps the weights are averaged.
        process_group_backend: ``"gloo"``, ``"nccl"``, ...; None for the device's own.
        timeout: How long a collective may take.
        start_method: How processes are started: ``"popen"`` (this program again), ``"spawn"``, ``"fork"`` or
            ``"forkserver"``.
        stall_report: After how many seconds without progress the places of all processes are shown; None for 60, or
            ``FULMEN_STALL_REPORT``.
        stall_timeout: After how many seconds without progress all processes are ended; None for 300, or
            ``FULMEN_STALL_TIMEOUT``.
        uneven: What to do where processes have different numbers of training batches. ``"join"``: an epoch goes on
            until the last is through, and those that ran out take part with nothing. ``"error"``: an error that names
            all the numbers. See docs/uneven.md.
        **kwargs: For ``DistributedDataParallel``, such as ``find_unused_parameters`` and ``static_graph``.

    Raises:
        MisconfiguredValue: If `start_method` or `uneven` is unknown.
    """

    strategy_name = "ddp"

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: list[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: Any = None,
        precision_plugin: Precision | None = None,
        ddp_comm_state: object | None = None,
        ddp_comm_hook: Callable[..., Any] | None = None,
        ddp_comm_wrapper: Callable[..., Any] | None = None,
        model_averaging_period: int | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(seconds=1800),  # immutable
        start_method: Literal["popen", "spawn", "fork", "forkserver"] = "popen",
        *,
        stall_report: float | None = None,
        stall_timeout: float | None = None,
        uneven: Literal["join", "error"] = "join",
        **kwargs: Any,
    ) -> None:
        super().__init__(accelerator, parallel_devices, cluster_environment, checkpoint_io, precision_plugin)
        if start_method not in _START:
            raise MisconfiguredValue(
                "`DDPStrategy(start_method=...)` says how processes are started.",
                got=start_method,
                fix=f"Choose among: {', '.join(repr(one) for one in _START)}.",
            )
        if uneven not in ("join", "error"):
            raise MisconfiguredValue(
                "`DDPStrategy(uneven=...)` says what happens where processes have different numbers of batches.",
                got=uneven,
                fix='`"join"` to go on until the last process is through, or `"error"`.',
            )
        self.uneven = uneven
        self._nothing: Tensor | None = None
        self._closes: Callable[[], bool] | None = None
        self._comm_state, self._comm_hook, self._comm_wrapper = ddp_comm_state, ddp_comm_hook, ddp_comm_wrapper
        self._averaging_period = model_averaging_period
        self._process_group_backend = process_group_backend
        self._timeout = timeout
        self._start_method = start_method
        self._ddp_kwargs = kwargs
        self._reduced, self._bucket_order = Reduced(nn.Module()), BucketOrder()
        self._stall_report = _seconds(stall_report, "FULMEN_STALL_REPORT", 60.0)
        self._stall_timeout = _seconds(stall_timeout, "FULMEN_STALL_TIMEOUT", 300.0)

    # Starting.

    @property
    def launcher(self) -> Any:
        """What starts the other processes; None where somebody else does."""
        if self.in_child:
            return None
        if self._start_method in ("spawn", "forkserver"):
            from fulmen.strategies.launchers.main_guard import check_main_guard

            check_main_guard()
        return super().launcher

    def _configure_launcher(self) -> None:
        if not self.cluster_environment.creates_processes_externally:
            from fulmen.strategies.launchers.chosen import launcher_of

            self._launcher = launcher_of(self, self._start_method)

    @property
    def process_group_backend(self) -> str | None:
        """How the processes talk; None until the group is made, unless it was given."""
        return self._process_group_backend

    def setup_environment(self) -> None:
        self.setup_distributed()
        super().setup_environment()

    def setup_distributed(self) -> None:
        """Makes this process one of the group, and keeps watch over it."""
        self.set_world_ranks()
        if self._process_group_backend is None:
            self._process_group_backend = process_group.default_backend(self.root_device)
        process_group.meet(
            self.cluster_environment,
            self.global_rank,
            self.world_size,
            self._timeout,
            self._stall_report,
            getattr(self._launcher, "ended", dict),
        )
        if self.world_size > 1 and self.peers is None:
            from fulmen.strategies.peers.peers import Peers

            self.peers = Peers(
                process_group.store_of_run(),
                self.global_rank,
                self.world_size,
                report_after=self._stall_report,
                end_after=self._stall_timeout,
                members=process_group.members,
            )
            self.peers.start()
            if self._launcher is not None:
                self._launcher.attended = True
        with self.waiting("the start of the group"):
            process_group.join_group(self._process_group_backend, self.global_rank, self.world_size, self._timeout)

    # The model.

    def setup(self, trainer: Any) -> None:
        self.accelerator.setup(trainer)
        module = self.model
        if module is None:
            return
        fitting = trainer.state.fn in (None, TrainerFn.FITTING)
        if self._layer_sync is not None:
            module = self._layer_sync.apply(module)
        if fitting:
            check_device(module, self.root_device)
        self.model = self.precision_plugin.convert_module(module)
        self.model_to_device()
        if fitting and Reduced(self.model).parameters:
            self.configure_ddp()
        else:
            broadcast_tensors([*self.model.parameters(), *self.model.buffers()])

    def model_to_device(self) -> None:
        if self.model is not None:
            self.model.to(self.root_device)

    def determine_ddp_device_ids(self) -> list[int] | None:
        """Which devices ``DistributedDataParallel`` is told of; None on the CPU."""
        return None if self.root_device.type == "cpu" else [self.root_device.index or 0]

    def configure_ddp(self) -> None:
        """Wraps the model, which gives every process the weights of rank 0."""
        assert self.model is not None
        self._reduced = Reduced(self.model)
        self.model = ddp = wrapped(
            self.model, self._reduced, device_ids=self.determine_ddp_device_ids(), **self._ddp_kwargs
        )
        # Buffers are those of rank 0, which may have no batch while others have.
        broadcast: Any = ddp._sync_module_buffers
        ddp.__dict__["_sync_module_buffers"] = lambda authoritative_rank: broadcast(self.lead)
        hook = self._comm_hook
        if hook is not None:
            ddp.register_comm_hook(
                state=self._comm_state, hook=hook if self._comm_wrapper is None else self._comm_wrapper(hook)
            )

    def setup_optimizers(self, trainer: Any) -> None:
        super().setup_optimizers(trainer)
        if self._averaging_period is not None:
            begin = getattr(self._comm_state, "start_localSGD_iter", 0)
            # once a step: with several optimizers after the last of them
            average_now_and_then(self.optimizers[-1], self._lightning_module, self._averaging_period, begin)

    # Training.

    @property
    def _ddp(self) -> DistributedDataParallel | None:
        return self.model if isinstance(self.model, DistributedDataParallel) else None

    def wrap_training_step(self, step: Callable[..., Any], closes: Callable[[], bool] | None) -> Callable[..., Any]:
        self._wrap_anew()
        ddp = self._ddp
        if ddp is None:
            return step
        self._closes = closes
        ddp.require_backward_grad_sync = True
        before: Callable[..., Any] = ddp._pre_forward
        after: Callable[..., Any] = ddp._post_forward
        moved = () if ddp.device_ids is None else (None,)  # where it has a device, it looks for something to move there
        # torch.compile splits its graphs where gradients are sent, inside what DDP's own forward opens
        inside: Any = (
            ddp._inside_ddp_forward if self._lightning_module.__dict__.get("_compiled_by") is not None else None
        )

        def end(output: Any) -> Any:
            return self._end_of_nothing() if output is None else after(output)

        def synced_step(batch: Any, index: int) -> Any:
            if closes is not None:
                ddp.require_backward_grad_sync = closes() and not self._held_back
            before(*moved)
            if inside is None:
                return end(step(batch, index))
            with inside():
                return end(step(batch, index))

        return synced_step

    def _wrap_anew(self) -> None:
        """Wraps the model again where other parameters are trained than before, as when a callback unfreezes some."""
        ddp, model = self._ddp, self.model
        if model is None:
            return
        model = model if ddp is None else ddp.module
        now = Reduced(model)
        if now.is_same(self._reduced) if ddp is not None else not now.parameters:
            return
        if ddp is not None:
            ddp.reducer._remove_autograd_hooks()
        self.model = model
        if now.parameters:
            self.configure_ddp()

    def gradient_check(self) -> Callable[[], None] | None:
        ddp = self._ddp
        if ddp is None or self.world_size == 1:
            return None
        is_complete, model = ddp.reducer._check_reducer_finalized, ddp.module
        later, order = True, self._bucket_order
        if self.world_size > 2 and self._comm_hook is None:  # which may count what it is called for
            order.begin(ddp, self._reduced)

        def check() -> None:
            nonlocal later
            try:
                is_complete()
            except RuntimeError as error:
                raise self._reduced.explain(error, self.global_rank) or error from None
            if later:  # once an epoch
                later = False
                order.end()
                reason = self._reduced.explain_change(model)
                if reason is not None:
                    raise reason

        return check

    def state_dict(self) -> dict[str, Any]:
        order = self._bucket_order.known(self._reduced)
        return {"bucket_order": order} if order else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._bucket_order.wanted = state.get("bucket_order", [])

    def sync_gradients(self, parameters: Iterable[nn.Parameter], always: bool = False) -> None:
        ddp = self._ddp
        held_back = self._held_back or (ddp is not None and not ddp.require_backward_grad_sync)
        if self.world_size == 1 or (held_back and not always):
            return
        if self._comm_hook is not None:
            warn_once(
                "`ddp_comm_hook` has no part in manual optimization, nor where there are several optimizers: gradients "
                "are brought together after backward there, as their mean in full precision."
            )
        average_gradients(parameters, self.root_device)

    def forward_of_nothing(self) -> None:
        ddp = self._ddp
        if ddp is not None:
            if self._closes is not None:
                ddp.require_backward_grad_sync = self._closes() and not self._held_back
            begin: Any = ddp._pre_forward
            begin(*(() if ddp.device_ids is None else (None,)))
            self._end_of_nothing()

    def _end_of_nothing(self) -> None:
        """Ends a forward pass that gave no loss, with one that all parameters have a part in."""
        end: Any = self._ddp._post_forward if self._ddp is not None else None
        self._nothing = end(self._reduced.nothing())

    def backward_of_nothing(self, closes: bool, scale: Callable[[Tensor], Tensor] | None = None) -> None:
        nothing, self._nothing = self._nothing, None
        ddp = self._ddp
        if closes and ddp is not None:
            if nothing is None:  # the step gave a loss, which has no weight
                nothing = self._reduced.nothing()
                if ddp.find_unused_parameters and not ddp.static_graph:
                    ddp.reducer.prepare_for_backward([nothing])
            (nothing if scale is None else scale(nothing)).backward()

    def why_not_uneven(self) -> str | None:
        if self.uneven == "error":
            return 'With `DDPStrategy(uneven="error")`'
        if any(isinstance(layer, nn.SyncBatchNorm) for layer in self._lightning_module.modules()):
            return "With `SyncBatchNorm` layers, which talk to those of all other processes"
        if self._ddp_kwargs.get("static_graph"):
            return "With `DDPStrategy(static_graph=True)`"
        return None if self._averaging_period is None else "With `DDPStrategy(model_averaging_period=...)`"

    def sync_buffers_of(self, owner: nn.Module, source: int) -> None:
        if self.world_size > 1 and getattr(self._ddp, "broadcast_buffers", True):
            broadcast_tensors(list(owner.buffers()), source, self.root_device)

    # The end.

    def explain(self, error: BaseException, asked: bool) -> BaseException:
        if self.peers is not None and not asked:
            process_group.give_up()
        return super().explain(error, asked)

    @contextmanager
    def outside_of_a_run(self, call: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            failure = None if self.peers is not None else process_group.explain(error, self.global_rank, call)
            if failure is None:
                raise
            raise failure from None

    def on_exception(self, exception: BaseException) -> None:
        self._part()
        process_group.break_off()
        end = getattr(self._launcher, "end", None)
        if end is not None:
            end(patient=True)  # this process prints last

    def _part(self) -> None:
        self._bucket_order.end()
        peers, self.peers = self.peers, None
        if peers is not None:
            peers.close()
            if self._launcher is not None:
                self._launcher.attended = False

    def teardown(self) -> None:
        self._part()
        if self._ddp is not None:
            self._ddp.require_backward_grad_sync = True
        self.model = self._lightning_module
        if self._layer_sync is not None and self._lightning_module is not None:
            self._layer_sync.revert(self._lightning_module)
        super().teardown()


def _seconds(given: float | None, variable: str, default: float) -> float:
    return float(os.environ.get(variable, default)) if given is None else given
