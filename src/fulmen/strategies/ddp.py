"""One whole model a process, trained with ``torch.nn.parallel.DistributedDataParallel``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fulmen.accelerators.accelerator import Accelerator
from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.precision.precision import Precision
from fulmen.strategies import process_group
from fulmen.strategies.collectives import average_gradients, broadcast_tensors
from fulmen.strategies.parallel import ParallelStrategy
from fulmen.utilities.exceptions import MisconfiguredRun, MisconfiguredValue
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
        **kwargs: For ``DistributedDataParallel``, such as ``find_unused_parameters`` and ``static_graph``.

    Raises:
        MisconfiguredValue: If `start_method` is unknown.
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
        **kwargs: Any,
    ) -> None:
        super().__init__(accelerator, parallel_devices, cluster_environment, checkpoint_io, precision_plugin)
        if start_method not in _START:
            raise MisconfiguredValue(
                "`DDPStrategy(start_method=...)` says how processes are started.",
                got=start_method,
                fix=f"Choose among: {', '.join(repr(one) for one in _START)}.",
            )
        self._comm_state, self._comm_hook, self._comm_wrapper = ddp_comm_state, ddp_comm_hook, ddp_comm_wrapper
        self._averaging_period = model_averaging_period
        self._process_group_backend = process_group_backend
        self._timeout = timeout
        self._start_method = start_method
        self._ddp_kwargs = kwargs
        self._stall_report = _seconds(stall_report, "FULMEN_STALL_REPORT", 60.0)
        self._stall_timeout = _seconds(stall_timeout, "FULMEN_STALL_TIMEOUT", 300.0)

    # Starting.

    @property
    def launcher(self) -> Any:
        """What starts the other processes; None where somebody else does."""
        if self.in_child:
            return None
        if self._launcher is None and not self.cluster_environment.creates_processes_externally:
            from fulmen.strategies.launchers import multiprocessing, subprocess_script

            if self._start_method == "popen":
                self._launcher = subprocess_script._SubprocessScriptLauncher(
                    self.cluster_environment, self.num_processes, self.num_nodes
                )
            else:
                self._launcher = multiprocessing._MultiProcessingLauncher(self, self._start_method)
        return self._launcher

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
            self.cluster_environment, self.global_rank, self.world_size, self._timeout, self._stall_report
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
        if self._layer_sync is not None:
            module = self._layer_sync.apply(module)
        self.model = self.precision_plugin.convert_module(module)
        self.model_to_device()
        if trainer.state.fn in (None, TrainerFn.FITTING) and any(p.requires_grad for p in self.model.parameters()):
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
        self.model = ddp = DistributedDataParallel(
            self.model, device_ids=self.determine_ddp_device_ids(), **self._ddp_kwargs
        )
        hook = self._comm_hook
        if hook is not None:
            ddp.register_comm_hook(
                state=self._comm_state, hook=hook if self._comm_wrapper is None else self._comm_wrapper(hook)
            )

    def setup_optimizers(self, trainer: Any) -> None:
        super().setup_optimizers(trainer)
        if self._averaging_period is not None:
            self._average_models()

    def _average_models(self) -> None:
        from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager

        begin = getattr(self._comm_state, "start_localSGD_iter", 0)
        averager = PeriodicModelAverager(period=self._averaging_period, warmup_steps=begin)
        # once a step: with several optimizers after the last of them
        self.optimizers[-1].register_step_post_hook(
            lambda *_: averager.average_parameters(self._lightning_module.parameters())
        )

    # Training.

    @property
    def _ddp(self) -> DistributedDataParallel | None:
        return self.model if isinstance(self.model, DistributedDataParallel) else None

    def wrap_training_step(self, step: Callable[..., Any], closes: Callable[[], bool] | None) -> Callable[..., Any]:
        ddp = self._ddp
        if ddp is None:
            return step
        before, after = ddp._pre_forward, ddp._post_forward
        # torch.compile splits its graphs where gradients are sent, inside what DDP's own forward opens
        inside = ddp._inside_ddp_forward if self._lightning_module.__dict__.get("_compiled_by") is not None else None

        def synced_step(batch: Any, index: int) -> Any:
            if closes is not None:
                ddp.require_backward_grad_sync = closes() and not self._held_back
            before()
            if inside is None:
                return after(step(batch, index))
            with inside():
                return after(step(batch, index))

        return synced_step

    def check_gradients(self) -> None:
        ddp = self._ddp
        if ddp is None:
            return
        try:
            ddp.reducer._check_reducer_finalized()
        except RuntimeError as error:
            trained = [name for name, parameter in ddp.module.named_parameters() if parameter.requires_grad]
            numbers = re.findall(r"did not receive grad for rank \d+:([ \d]+)", str(error))
            names = [trained[int(number)] for number in "".join(numbers[:1]).split()]
            if not names:
                raise
            raise MisconfiguredRun(
                "In every step, each process brings a gradient for every parameter that is trained.",
                got=f"none for {', '.join(names)} on rank {self.global_rank}",
                fix='`strategy="ddp_find_unused_parameters_true"` where the loss does not depend on all parameters in '
                "every step, or `requires_grad_(False)` for those that it never depends on.",
            ) from None

    def sync_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        if self.world_size > 1 and not self._held_back:
            average_gradients(parameters, self.root_device)

    def backward_of_nothing(self, closes: bool) -> None:
        if closes and self._ddp is not None:
            parts = [parameter.sum() * 0 for parameter in self._ddp.parameters() if parameter.requires_grad]
            torch.stack([part.to(parts[0]) for part in parts]).sum().backward()

    def sync_buffers(self) -> None:
        """Gives every process the buffers of rank 0, such as running means, which are what a checkpoint holds."""
        ddp = self._ddp
        if self.world_size > 1 and (ddp is None or ddp.broadcast_buffers):
            broadcast_tensors(list(self._lightning_module.buffers()))

    # The end.

    def explain(self, error: BaseException, asked: bool) -> BaseException:
        if self.peers is not None and not asked:
            process_group.give_up()
        return super().explain(error, asked)

    def on_exception(self, exception: BaseException) -> None:
        self._part()
        end = getattr(self._launcher, "end", None)
        if end is not None:
            end(patient=True)  # this process prints last

    def _part(self) -> None:
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
