"""Random numbers: seeding, the state of all generators, and streams for the workers of a loader."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.imports import available
from fulmen.utilities.numpy_rng import numpy_state, plain_numpy_state, set_numpy_state, whole_numpy_state
from fulmen.utilities.rank_zero import _rank_from_environment, rank_zero_info, rank_zero_only, rank_zero_warn

if TYPE_CHECKING:
    import numpy

MIN_SEED, MAX_SEED = 0, 2**32 - 1  # what numpy accepts
_64_BITS = 2**64 - 1


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seeds the generators of Python, numpy and PyTorch (on all devices).

    Sets two variables that processes started from here inherit: ``PL_GLOBAL_SEED``, the seed, and
    ``PL_SEED_WORKERS``, whether loaders of the Trainer seed their workers.

    Args:
        seed: From 0 to 2**32 - 1. None takes ``PL_GLOBAL_SEED``, and 0 with a warning where that is not set.
        workers: Whether each worker of each loader, on each process, gets a stream of its own in all generators, by
            :func:`pl_worker_init_function`.
        verbose: Whether the seed is logged.

    Returns:
        The seed.

    Raises:
        MisconfigurationException: If the seed is no number or out of bounds.

    Example:
        >>> seed_everything(7, verbose=False)
        7
    """
    chosen = _read_seed(seed)
    if verbose:
        rank_zero_info(f"Seed set to {chosen}")
    os.environ["PL_GLOBAL_SEED"] = str(chosen)
    os.environ["PL_SEED_WORKERS"] = str(int(bool(workers)))
    random.seed(chosen)
    if available("numpy"):
        import numpy

        numpy.random.seed(chosen)
    torch.manual_seed(chosen)
    return chosen


def _read_seed(seed: int | None) -> int:
    origin = "`seed`"
    given: Any = seed
    if given is None:
        given, origin = os.environ.get("PL_GLOBAL_SEED"), "The environment variable `PL_GLOBAL_SEED`"
        if given is None:
            rank_zero_warn("No seed found, seed set to 0. What to do: `seed_everything(42)`.")
            return 0
    try:
        value = int(given)
    except (TypeError, ValueError):
        value = -1
    if not MIN_SEED <= value <= MAX_SEED:
        raise MisconfigurationException(
            f"{origin} must be a whole number from {MIN_SEED} to {MAX_SEED}.",
            got=given,
            fix="`seed_everything(42)`, or unset `PL_GLOBAL_SEED`.",
        )
    return value


def reset_seed() -> None:
    """Seeds everything again as the last :func:`seed_everything` did; does nothing where there was none."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    if seed is not None:
        workers = os.environ.get("PL_SEED_WORKERS", "0")
        seed_everything(_read_seed(None), workers=workers == "1", verbose=False)


def collect_rng_state(include_cuda: bool = True) -> dict[str, Any]:
    """The state of every generator.

    Args:
        include_cuda: Whether the generators of accelerators (CUDA or any other) are included. Reading them
            initializes the device, so leave them out where none is in use.

    Returns:
        Tensors and plain values only, so that ``torch.load(..., weights_only=True)`` reads them back.
    """
    state: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if available("numpy"):
        state["numpy"] = plain_numpy_state(numpy_state())
    device = torch.accelerator.current_accelerator(check_available=True) if include_cuda else None
    if device is not None:
        module: Any = torch.get_device_module(device)
        # MPS has one generator and takes no index.
        indices: list[Any] = [()] if device.type == "mps" else [(i,) for i in range(torch.accelerator.device_count())]
        state["devices"] = {device.type: [module.get_rng_state(*index) for index in indices]}
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Gives every generator the state that :func:`collect_rng_state` found.

    Args:
        state: The states; devices that this machine lacks are passed over.
    """
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(state["torch"])
    if "numpy" in state and available("numpy"):
        set_numpy_state(whole_numpy_state(state["numpy"]))
    device = torch.accelerator.current_accelerator(check_available=True) if state.get("devices") else None
    if device is not None:
        module: Any = torch.get_device_module(device)
        for index, one in enumerate(state["devices"].get(device.type, ())):
            if index < torch.accelerator.device_count():
                module.set_rng_state(one, *(() if device.type == "mps" else (index,)))


def branch_rng(number: int) -> None:
    """Gives all generators states of their own, which follow from that of PyTorch on the host and a number.

    Args:
        number: Which of the branches.
    """
    state = torch.get_rng_state().numpy().tobytes()
    digest = hashlib.blake2b(state, digest_size=8, salt=number.to_bytes(8, "big")).digest()
    seed = int.from_bytes(digest, "big")
    random.seed(seed)
    if available("numpy"):
        import numpy

        numpy.random.seed([seed >> 32, seed % 2**32])
    torch.manual_seed(seed)


@contextmanager
def isolate_rng(include_cuda: bool = True) -> Generator[None]:
    """Gives all generators back the state that they had before the ``with`` block.

    Args:
        include_cuda: Whether the generators of accelerators are included.

    Example:
        >>> import torch
        >>> seed_everything(1, verbose=False)
        1
        >>> with isolate_rng():
        ...     inside = torch.rand(1)
        >>> bool(torch.rand(1) == inside)
        True
    """
    state = collect_rng_state(include_cuda)
    try:
        yield
    finally:
        set_rng_state(state)


def pl_worker_init_function(worker_id: int, rank: int | None = None) -> None:
    """Gives a loader's worker streams of its own in Python, numpy and PyTorch; for ``worker_init_fn``.

    The streams depend on the loader's base seed, the worker and the rank, so that no two workers of a job draw the
    same numbers, and they are the ones that PyTorch Lightning gives.

    Args:
        worker_id: The worker, from 0.
        rank: The process's rank among all; None asks the environment.
    """
    if rank is None:
        rank = getattr(rank_zero_only, "rank", None)
        rank = _rank_from_environment() if rank is None else int(rank)
    # A loader gives each worker its base seed plus the worker's number.
    base = (torch.initial_seed() - worker_id) & _64_BITS
    first, second, third = _draw_seeds((base << 32) | (worker_id << 16) | rank, 3)
    torch.manual_seed(first)
    random.seed((second << 32) | third)
    if available("numpy"):
        _seed_numpy(base, worker_id, rank)


def _seed_numpy(base: int, worker_id: int, rank: int) -> None:
    import numpy

    words: numpy.ndarray[Any, Any] = numpy.random.SeedSequence([base, worker_id, rank]).generate_state(4)
    numpy.random.seed(words)


def _draw_seeds(value: int, count: int) -> list[int]:
    """Seeds of 64 bits: MurmurHash3's finalizer spreads neighbours apart, Knuth's MMIX generator goes on from there."""
    value ^= value >> 33
    value = value * 0xFF51AFD7ED558CCD & _64_BITS
    value ^= value >> 33
    value = value * 0xC4CEB9FE1A85EC53 & _64_BITS
    value ^= value >> 33
    seeds = []
    for _ in range(count):
        value = (value * 6364136223846793005 + 1) & _64_BITS
        seeds.append(value)
    return seeds
