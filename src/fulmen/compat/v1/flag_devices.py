"""Where 1.x's arguments of the Trainer want to run: devices, processes, strategies, precision."""

from __future__ import annotations

from typing import Any

from fulmen.compat.v1.hints import hint
from fulmen.utilities.exceptions import MisconfigurationException

_DDP = '`Trainer(accelerator="gpu", devices=2, strategy="ddp")`: one process a device.'
_SHARDED = '`Trainer(accelerator="gpu", devices=2, strategy="fsdp")` shards weights, gradients and optimizer states.'
_OTHER_DEVICE = 'Train on what PyTorch knows: `Trainer(accelerator="auto")`.'

# First words of the names of strategies that no longer exist, and what replaces them; longest first.
_GONE = {
    "ddp_sharded": _SHARDED, "ddp_spawn_sharded": _SHARDED, "deepspeed": _SHARDED, "colossalai": _SHARDED,
    "ddp2": _DDP, "dp": _DDP, "horovod": _DDP, "bagua": _DDP, "hivemind": _DDP, "collaborative": _DDP,
    "ipu": _OTHER_DEVICE, "hpu": _OTHER_DEVICE, "tpu": _OTHER_DEVICE,
}  # fmt: skip
_NOW = {
    "ddp_fully_sharded": "fsdp",
    "fsdp_native": "fsdp",
    "fsdp_native_full_shard_offload": "fsdp_cpu_offload",
}
_KEPT = frozenset({"ddp", "ddp_spawn", "fsdp"})


def place(named: dict[str, Any]) -> None:
    """Makes `accelerator`, `strategy` and `devices` of today out of whatever of 1.x says where to run.

    Args:
        named: The Trainer's arguments; changed in place.

    Raises:
        MisconfigurationException: If that is gone, naming what replaces it.
    """
    for name in ("accelerator", "strategy", "devices", "plugins"):
        if named.get(name, name) is None:
            del named[name]
    _refuse_other_devices(named)
    _read_accelerator(named)
    _read_plugins(named)
    if isinstance(named.get("strategy"), str):
        named["strategy"] = strategy_of(named["strategy"], "strategy")
    _read_gpus(named)
    _read_processes(named)
    _read_precision(named)


def strategy_of(name: str, argument: str) -> str:
    """Today's name of a strategy of 1.x.

    Args:
        name: The name that was given.
        argument: The Trainer's argument.

    Raises:
        MisconfigurationException: If the strategy is gone.
    """
    for word, fix in _GONE.items():
        if name == word or name.startswith(f"{word}_"):
            raise MisconfigurationException(
                f"`{argument}={name!r}` is of Lightning 1.x, and what it stands for no longer exists.", fix=fix
            )
    if name in _NOW:
        hint(f"`Trainer({argument}={name!r})`", f"`strategy={_NOW[name]!r}`.")
    return _NOW.get(name, name)


def _refuse_other_devices(named: dict[str, Any]) -> None:
    for name, kind in (("tpu_cores", "TPUs"), ("ipus", "IPUs"), ("hpus", "HPUs")):
        if named.pop(name, None) is not None:
            raise MisconfigurationException(
                f"`Trainer({name}=...)` is of Lightning 1.x, and {kind} are not supported.",
                fix=f"Leave `{name}` out. {_OTHER_DEVICE}",
            )


def _read_accelerator(named: dict[str, Any]) -> None:
    given = named.get("accelerator")
    if not isinstance(given, str):
        return
    if given == "ddp_cpu":
        hint('`Trainer(accelerator="ddp_cpu")`', '`accelerator="cpu", strategy="ddp_spawn"`.')
        named["accelerator"] = "cpu"
        named.setdefault("strategy", "ddp_spawn")
    elif given in ("ipu", "hpu"):
        strategy_of(given, "accelerator")
    elif given != "tpu" and (given in _KEPT or given in _NOW or any(given.startswith(word) for word in _GONE)):
        del named["accelerator"]
        found = strategy_of(given, "accelerator")
        hint(f"`Trainer(accelerator={given!r})`", f'`accelerator="gpu", strategy={found!r}`.')
        named.setdefault("strategy", found)


def is_strategy(plugin: Any) -> bool:
    """Whether something among `plugins` is what `strategy` takes today: a name, or a ``Strategy``."""
    return isinstance(plugin, str) or any(base.__name__ == "Strategy" for base in type(plugin).__mro__)


def _read_plugins(named: dict[str, Any]) -> None:
    given = named.get("plugins")
    several = isinstance(given, (list, tuple))
    strategies = [one for one in (given if several else [given]) if is_strategy(one)]  # type: ignore[union-attr]
    if not strategies:
        return
    hint("A strategy in `Trainer(plugins=...)`", '`strategy="ddp"`, or `strategy=DDPStrategy(...)`.')
    rest = [one for one in given if not is_strategy(one)] if several else []  # type: ignore[union-attr]
    del named["plugins"]
    if rest:
        named["plugins"] = rest
    named.setdefault("strategy", strategies[0])


def _read_gpus(named: dict[str, Any]) -> None:
    chosen = named.pop("auto_select_gpus", None)
    if "gpus" not in named:
        return
    devices = _gpus(named.pop("gpus"))
    if not devices:
        if "accelerator" not in named and "devices" not in named:
            named["accelerator"] = "cpu"
        return
    if "devices" in named:
        return
    if chosen and isinstance(devices, int):
        devices = _free(devices)
    named["devices"] = devices
    named.setdefault("accelerator", "gpu")


def _gpus(given: Any) -> int | list[int] | None:
    if given is None or isinstance(given, int):
        return given
    try:
        if isinstance(given, str):
            parts = [part.strip() for part in given.split(",")]
            return [int(part) for part in parts if part] if len(parts) > 1 else int(given)
        return [int(index) for index in given]
    except (TypeError, ValueError):
        raise MisconfigurationException(
            "`gpus` of Lightning 1.x is a number of GPUs, or the indices of some.",
            got=f"gpus={given!r}",
            fix='`Trainer(accelerator="gpu", devices=2)` for two of them, `devices=[0, 2]` for the first and third.',
        ) from None


def _free(count: int) -> int | list[int]:
    from fulmen.accelerators.cuda import find_usable_cuda_devices, is_cuda_available

    return find_usable_cuda_devices(count) if is_cuda_available() else count


def _read_processes(named: dict[str, Any]) -> None:
    count = named.pop("num_processes", None)
    if count is None or "devices" in named:  # beside GPUs it means nothing
        return
    if count > 1 and named.setdefault("accelerator", "cpu") == "cpu":
        named["devices"] = count


def _read_precision(named: dict[str, Any]) -> None:
    backend = named.pop("amp_backend", None)
    level = named.pop("amp_level", None)
    # without Apex, `amp_level` had no effect
    if backend is not None and str(backend).lower().split(".")[-1] != "native":
        given = f"amp_backend={backend!r}" + ("" if level is None else f", amp_level={level!r}")
        raise MisconfigurationException(
            "Apex no longer exists: mixed precision is PyTorch's own.",
            got=given,
            fix='Leave `amp_backend` and `amp_level` out, and pass `precision="16-mixed"` or "bf16-mixed".',
        )
    if named.get("precision") == "mixed":
        hint('`Trainer(precision="mixed")`', '`precision="16-mixed"`.')
        named["precision"] = "16-mixed"
