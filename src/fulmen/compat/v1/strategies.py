"""Strategies that 1.x had under names of their own; today they are ``DDPStrategy``."""

from __future__ import annotations

from abc import ABCMeta
from datetime import timedelta
from typing import Any

from fulmen.strategies.ddp import DDPStrategy

_SPAWN = ("spawn", "fork", "forkserver")


class _ByStart(ABCMeta):
    """Takes for an instance whatever starts its processes in the same way, as code asks that got it by name."""

    _starts: tuple[str, ...]

    def __instancecheck__(cls, instance: Any) -> bool:
        asked = instance._start_method in cls._starts if isinstance(instance, DDPStrategy) else False
        return asked or super().__instancecheck__(instance)


class DDPPlugin(DDPStrategy, metaclass=_ByStart):
    """``DDPStrategy``, as 1.5 makes it.

    Args:
        parallel_devices: As for ``DDPStrategy``.
        num_nodes: Passed over: the Trainer says how many.
        cluster_environment: As for ``DDPStrategy``.
        checkpoint_io: As for ``DDPStrategy``.
        sync_batchnorm: Whether batch normalization goes over the batches of all processes.
        ddp_comm_state: As for ``DDPStrategy``.
        ddp_comm_hook: As for ``DDPStrategy``.
        ddp_comm_wrapper: As for ``DDPStrategy``.
        model_averaging_period: As for ``DDPStrategy``.
        **kwargs: For ``DDPStrategy``.
    """

    _starts: tuple[str, ...] = ("popen",)

    def __init__(
        self,
        parallel_devices: Any = None,
        num_nodes: int | None = None,
        cluster_environment: Any = None,
        checkpoint_io: Any = None,
        sync_batchnorm: bool | None = None,
        ddp_comm_state: Any = None,
        ddp_comm_hook: Any = None,
        ddp_comm_wrapper: Any = None,
        model_averaging_period: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            parallel_devices=parallel_devices,
            cluster_environment=cluster_environment,
            checkpoint_io=checkpoint_io,
            ddp_comm_state=ddp_comm_state,
            ddp_comm_hook=ddp_comm_hook,
            ddp_comm_wrapper=ddp_comm_wrapper,
            model_averaging_period=model_averaging_period,
            **kwargs,
        )
        if sync_batchnorm:
            from fulmen.strategies.layer_sync import TorchSyncBatchNorm

            self._layer_sync = TorchSyncBatchNorm()


class DDPSpawnPlugin(DDPPlugin):
    """``DDPStrategy(start_method="spawn")``, as 1.5 makes it.

    Args:
        *args: As for ``DDPPlugin``.
        **kwargs: For ``DDPPlugin``.
    """

    _starts = _SPAWN

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("start_method", "spawn")
        super().__init__(*args, **kwargs)


class DDPSpawnStrategy(DDPStrategy, metaclass=_ByStart):
    """``DDPStrategy(start_method="spawn")``, as 1.6 to 1.9 make it.

    Args:
        accelerator: As for ``DDPStrategy``.
        parallel_devices: As for ``DDPStrategy``.
        cluster_environment: As for ``DDPStrategy``.
        checkpoint_io: As for ``DDPStrategy``.
        precision_plugin: As for ``DDPStrategy``.
        ddp_comm_state: As for ``DDPStrategy``.
        ddp_comm_hook: As for ``DDPStrategy``.
        ddp_comm_wrapper: As for ``DDPStrategy``.
        process_group_backend: As for ``DDPStrategy``.
        timeout: As for ``DDPStrategy``.
        start_method: As for ``DDPStrategy``.
        **kwargs: For ``DDPStrategy``.
    """

    strategy_name = "ddp_spawn"
    _starts = _SPAWN

    def __init__(
        self,
        accelerator: Any = None,
        parallel_devices: Any = None,
        cluster_environment: Any = None,
        checkpoint_io: Any = None,
        precision_plugin: Any = None,
        ddp_comm_state: Any = None,
        ddp_comm_hook: Any = None,
        ddp_comm_wrapper: Any = None,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=30),  # immutable
        start_method: Any = "spawn",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            accelerator,
            parallel_devices,
            cluster_environment,
            checkpoint_io,
            precision_plugin,
            ddp_comm_state,
            ddp_comm_hook,
            ddp_comm_wrapper,
            process_group_backend=process_group_backend,
            timeout=timeout,
            start_method=start_method,
            **kwargs,
        )
