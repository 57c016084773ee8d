"""Which accelerator and which devices a user means."""

from __future__ import annotations

from typing import Any

import torch

from fulmen.accelerators.accelerator import Accelerator
from fulmen.accelerators.devices import current_type
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.registry import Registry, closest


class Accelerators(Registry[Accelerator]):
    """A dict from the name of an accelerator to its class and the arguments it is made with."""

    def register(
        self,
        name: str,
        accelerator: type[Accelerator] | None = None,
        description: str | None = None,
        override: bool = False,
        **init_params: Any,
    ) -> Any:
        """Registers an accelerator; without one, gives back a decorator that does.

        Args:
            name: What users will pass as ``accelerator=``.
            accelerator: The class.
            description: What it is.
            override: Whether an entry of that name may be replaced.
            **init_params: Arguments to make it with.

        Returns:
            The class, or the decorator.

        Raises:
            MisconfigurationException: If the name is no string, or taken.
        """
        return self.add(name, accelerator, description, override, init_params)

    def available_accelerators(self) -> set[str]:
        """The registered names."""
        return set(self)


AcceleratorRegistry = Accelerators("accelerator")
# By path: a run on one kind of device does not import the others.
AcceleratorRegistry.add("cpu", "fulmen.accelerators.cpu:CPUAccelerator")
AcceleratorRegistry.add("cuda", "fulmen.accelerators.cuda:CUDAAccelerator")
AcceleratorRegistry.add("mps", "fulmen.accelerators.mps:MPSAccelerator")


def choose(
    accelerator: str | Accelerator = "auto", devices: int | str | list[int] = "auto"
) -> tuple[Accelerator, list[torch.device]]:
    """Turns what a user passed into an accelerator and its devices.

    Args:
        accelerator: ``"auto"`` (what the machine has, else the CPU), ``"gpu"`` (what the machine has beside the CPU),
            a type of device (``"cpu"``, ``"cuda"``, ``"mps"`` or any other that ``torch.accelerator`` reports), a
            registered name, or an accelerator.
        devices: ``"auto"``, a count (``2`` or ``"2"``), ``-1`` for all, or indices (``[0, 2]`` or ``"0,2"``).

    Returns:
        The accelerator, and at least one device.

    Raises:
        MisconfigurationException: If the accelerator is unknown or not there, or the devices are not.

    Example:
        >>> chosen, where = choose("cpu", 1)
        >>> where
        [device(type='cpu')]
    """
    chosen = accelerator if isinstance(accelerator, Accelerator) else _by_name(accelerator)
    if not chosen.is_available():
        raise MisconfigurationException(
            f"`accelerator={chosen.name()!r}` is not available on this machine, or PyTorch was built without it.",
            got=accelerator,
            fix=f"Choose one that is available: {_available_names()}.",
        )
    parsed = chosen.parse_devices(chosen.auto_device_count() if devices == "auto" else devices)
    return chosen, chosen.get_parallel_devices(parsed)


def for_device(device: torch.device) -> Accelerator:
    """The accelerator that a device belongs to."""
    if device.type in AcceleratorRegistry:
        return AcceleratorRegistry.make(device.type)
    from fulmen.accelerators.generic import GenericAccelerator

    return GenericAccelerator(device.type)


def _by_name(name: Any) -> Accelerator:
    if isinstance(name, str) and name in AcceleratorRegistry:
        return AcceleratorRegistry.make(name)
    here = _of_this_machine()
    if name == "auto":
        return here if here is not None else AcceleratorRegistry.make("cpu")
    if name == "gpu":
        if here is None:
            raise MisconfigurationException(
                '`accelerator="gpu"` needs a GPU, and PyTorch finds none on this machine.',
                fix='`accelerator="cpu"`, or `accelerator="auto"` to use a GPU only where there is one. If there is '
                "one, check that your PyTorch was built for it: `python -m torch.utils.collect_env`.",
            )
        return here
    if here is not None and name == here.name():
        return here
    raise _unknown(name)


def _of_this_machine() -> Accelerator | None:
    kind = current_type()
    found = None if kind is None or kind == "cpu" else for_device(torch.device(kind))
    return found if found is not None and found.is_available() else None


def _available_names() -> str:
    here = _of_this_machine()
    own = [] if here is None else [here.name()]
    names = {"auto", *own, *(name for name in AcceleratorRegistry if AcceleratorRegistry.make(name).is_available())}
    return ", ".join(repr(name) for name in sorted(names))


def _unknown(name: Any) -> MisconfigurationException:
    if name == "tpu":
        return MisconfigurationException(
            "TPUs are not supported yet.", got='accelerator="tpu"', fix=f"Choose among: {_available_names()}."
        )
    kind, _, index = str(name).partition(":")
    if index.isdigit():
        return MisconfiguredValue(
            "`accelerator` is a kind of device, and `devices` says which ones.",
            got=f"accelerator={name!r}",
            fix=f"`accelerator={kind!r}, devices=[{index}]`.",
        )
    try:
        torch.device(str(name))
    except RuntimeError:
        known = {"auto", "gpu", *AcceleratorRegistry}
        return MisconfiguredValue(
            "`accelerator` must be the name of an accelerator, or an `Accelerator`.",
            got=name,
            fix=f"{closest(name, known)}Available here: {_available_names()}.",
        )
    return MisconfigurationException(
        f"`accelerator={str(name)!r}` is not available on this machine, or PyTorch was built without it.",
        fix=f"Choose one that is available: {_available_names()}.",
    )
