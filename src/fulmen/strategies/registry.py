"""Which strategy a user means."""

from __future__ import annotations

from typing import Any

import torch

from fulmen.accelerators.accelerator import Accelerator
from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.precision.precision import Precision
from fulmen.precision.registry import resolve as resolve_precision
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.strategies.strategy import Strategy
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.imports import interactive
from fulmen.utilities.registry import Registry, closest

# The first words of names that stand for models in parts, or for kinds of devices.
_LATER = (
    "fsdp",
    "deepspeed",
    "xla",
    "single_xla",
    "single_tpu",
    "model_parallel",
    "dp",
    "horovod",
    "hpu_parallel",
)


class Strategies(Registry[Strategy]):
    """A dict from the name of a strategy to its class and the arguments it is made with."""

    def register(
        self,
        name: str,
        strategy: type[Strategy] | None = None,
        description: str | None = None,
        override: bool = False,
        **init_params: Any,
    ) -> Any:
        """Registers a strategy; without one, gives back a decorator that does.

        Args:
            name: What users will pass as ``strategy=``.
            strategy: The class.
            description: What it is.
            override: Whether an entry of that name may be replaced.
            **init_params: Arguments to make it with.

        Returns:
            The class, or the decorator.

        Raises:
            MisconfigurationException: If the name is no string, or taken.
        """
        return self.add(name, strategy, description, override, init_params)

    def available_strategies(self) -> list[str]:
        """The registered names."""
        return list(self)


StrategyRegistry = Strategies("strategy")
SingleDeviceStrategy.register_strategies(StrategyRegistry)
# By path: one process does not import what several need.
for _name, _method in (("ddp", "popen"), ("ddp_spawn", "spawn"), ("ddp_fork", "fork"), ("ddp_notebook", "fork")):
    for _unused in ("", "_find_unused_parameters_false", "_find_unused_parameters_true"):
        StrategyRegistry.add(
            f"{_name}{_unused}",
            "fulmen.strategies.ddp:DDPStrategy",
            init_params={
                "start_method": _method,
                **({"find_unused_parameters": _unused.endswith("true")} if _unused else {}),
            },
        )


def resolve(
    strategy: Strategy | str,
    accelerator: Accelerator,
    devices: list[torch.device],
    precision: Precision | str | int | None = None,
    num_nodes: int = 1,
    environment: ClusterEnvironment | None = None,
) -> Strategy:
    """Turns what a user passed into a strategy with its accelerator and its precision.

    Args:
        strategy: ``"auto"``, a registered name, or a strategy, which is taken as it is; its own devices, if it was
            given some, go before `devices`.
        accelerator: The kind of device, from :func:`fulmen.accelerators.registry.choose`.
        devices: The devices, from the same.
        precision: What the user passed; None where that is nothing.
        num_nodes: The number of machines.
        environment: Where this process stands among others, if the user said so.

    Returns:
        The strategy.

    Raises:
        MisconfigurationException: If the name is unknown, one process is to be several, or the precision is given
            twice.
    """
    devices = getattr(strategy, "parallel_devices", None) or devices
    several = len(devices) * num_nodes > 1 or (environment is not None and environment.world_size() > 1)
    made = strategy if isinstance(strategy, Strategy) else _make(strategy, devices, several)
    if environment is not None:
        environment.validate_settings(len(devices), num_nodes)
        made.cluster_environment = environment
    if isinstance(made, SingleDeviceStrategy):
        _check_alone(len(devices), num_nodes, made.cluster_environment)
    elif hasattr(made, "set_world_ranks"):
        several_processes: Any = made
        if environment is None:
            made.cluster_environment.validate_settings(len(devices), num_nodes)
        several_processes.parallel_devices = devices
        several_processes.num_nodes = num_nodes
        several_processes.set_world_ranks()
    if made._accelerator is None and made.root_device.type == devices[0].type:
        made.accelerator = accelerator
    if made._precision_plugin is None:
        made.precision_plugin = resolve_precision(precision, made.root_device)
    elif precision is not None:
        raise MisconfigurationException(
            "`precision` was given twice: to the Trainer and to its strategy.",
            got=f"precision={precision!r} and {type(made).__name__}(precision_plugin="
            f"{type(made.precision_plugin).__name__}(...))",
            fix="Leave one of them away.",
        )
    return made


def _make(name: Any, devices: list[torch.device], several: bool) -> Strategy:
    if name == "auto" and several:
        name = "ddp_notebook" if interactive() else "ddp"
    if name in ("auto", SingleDeviceStrategy.strategy_name):
        return SingleDeviceStrategy(devices[0])
    if isinstance(name, str) and name in StrategyRegistry:
        return StrategyRegistry.make(name)
    if isinstance(name, str) and any(name == word or name.startswith(f"{word}_") for word in _LATER):
        raise MisconfiguredValue(
            f"`strategy={name!r}` needs a kind of device, or models in parts, which are not supported yet.",
            got=name,
            fix='`strategy="ddp"` trains a whole model on each device; `Trainer(devices=1, strategy="auto")` on one.',
        )
    choices = ("auto", *StrategyRegistry)
    raise MisconfiguredValue(
        "`strategy` must be the name of a strategy, or a `Strategy`.",
        got=name,
        fix=f"{closest(name, choices)}Choose among: {', '.join(repr(choice) for choice in choices)}.",
    )


def _check_alone(devices: int, num_nodes: int, environment: ClusterEnvironment) -> None:
    processes = max(devices * num_nodes, environment.world_size())
    if processes > 1:
        raise MisconfigurationException(
            "`SingleDeviceStrategy` is one process on one device.",
            got=f"{devices} devices on {num_nodes} machines" if devices * num_nodes > 1 else f"{processes} processes",
            fix='`Trainer(strategy="ddp")` for several, or `Trainer(devices=1)`.',
        )
