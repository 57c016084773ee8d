"""A snapshot is what a synchronous save of the same moment would have written, and stays so."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fulmen.checkpoint.snapshot import Snapshots


class Kind(Enum):
    A = 1


class Marked(Tensor):
    pass


def written(state: Any) -> bytes:
    """What `torch.save` makes of a state."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def read(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=False)


def trained() -> dict[str, Any]:
    """The state of a network with tied weights and its optimizer."""
    network = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 3), nn.Linear(5, 3))
    network[3].weight = network[2].weight
    optimizer = torch.optim.AdamW(network.parameters())
    network[2](network[:2](torch.randn(4, 3))).sum().backward()
    optimizer.step()
    return {"state_dict": network.state_dict(), "optimizer_states": [optimizer.state_dict()], "epoch": 3}


def memory(snapshots: Snapshots) -> dict[int, int]:
    """The pieces of memory that are held, and their sizes."""
    parts = [*snapshots._parts, *(tensor.untyped_storage() for tensor in snapshots._tensors)]
    return {part.data_ptr(): part.nbytes() for part in parts}


def test_gives_the_bytes_of_a_synchronous_save() -> None:
    state = trained()
    assert written(Snapshots().take(state)) == written(state)


def test_later_steps_do_not_change_it() -> None:
    state = trained()
    expected = written(state)
    copy = Snapshots().take(state)
    for value in state["state_dict"].values():
        value.zero_()
    state["optimizer_states"][0]["param_groups"][0]["lr"] = 77
    state["epoch"] += 1
    assert written(copy) == expected


def test_tied_weights_stay_tied_and_are_copied_once() -> None:
    snapshots, state = Snapshots(), trained()["state_dict"]
    copy = snapshots.take(state)
    assert copy["2.weight"].data_ptr() == copy["3.weight"].data_ptr()
    assert sum(memory(snapshots).values()) == sum(value.nbytes for name, value in state.items() if name != "3.weight")


OTHERS: dict[str, Callable[[], Any]] = {
    "plain": lambda: {"a": [1, 2.5, None, "x", (1, {2}), b"y"], "ordered": OrderedDict(b=1, a=2)},
    "kinds": lambda: [
        Kind.A,
        Path("a/b"),
        torch.float16,
        torch.device("cpu"),
        torch.Size([2]),
        slice(1, 2),
        np.float32(1.5),
    ],
    "dtypes": lambda: [torch.ones(3, dtype=kind) for kind in (torch.bool, torch.int8, torch.bfloat16, torch.complex64)],
    "parameter": lambda: nn.Parameter(torch.ones(2), requires_grad=False),
    "leaf": lambda: torch.ones(2, requires_grad=True),
    "subclass": lambda: torch.ones(2).as_subclass(Marked),
    "empty": lambda: [torch.empty(0), torch.empty(2, 0, dtype=torch.int64)],
    "scalar": lambda: torch.tensor(3.0),
    "strided": lambda: torch.arange(12.0).view(3, 4).t(),
    "expanded": lambda: torch.ones(1).expand(5),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "conjugate": lambda: torch.tensor([1 + 2j]).conj(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
    "meta": lambda: torch.ones(2, device="meta"),
    "storage": lambda: torch.ones(2).untyped_storage(),
    "module": lambda: nn.Linear(2, 2),
    "numpy": lambda: np.arange(6).reshape(2, 3),
    "random": lambda: torch.get_rng_state(),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("ignore:.*Sparse CSR tensor support is in beta.*", "ignore:.*quantize_per_tensor.*")
@pytest.mark.filterwarnings("ignore:.*TypedStorage is deprecated.*")
def test_whatever_can_be_saved(name: str) -> None:
    state = OTHERS[name]()
    assert written(Snapshots().take(state)) == written(state)


def test_an_attribute_of_a_tensor_is_kept() -> None:
    weight = torch.ones(2)
    weight.mark = "kept"  # type: ignore[attr-defined]
    copy = Snapshots().take([weight, weight[1:]])
    weight.zero_()
    assert copy[0].mark == "kept" and copy[0].tolist() == [1, 1] and copy[1].tolist() == [1]
    assert copy[0].untyped_storage().data_ptr() == copy[1].untyped_storage().data_ptr()


slices = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted)


@given(st.lists(slices, min_size=1, max_size=6), st.lists(slices, max_size=2))
def test_views_share_what_they_shared_and_no_more_is_copied(views: list[Any], halves: list[Any]) -> None:
    """Views of one memory as floats and, at odd places, as bytes."""
    floats = torch.arange(40.0)
    state = [floats[a:b] for a, b in views] + [floats.view(torch.uint8)[a:b] for a, b in halves]
    expected = [value.clone() for value in state]
    snapshots = Snapshots()
    copy = snapshots.take(state)
    needed: set[int] = set()
    for a, b in [(4 * a, 4 * b) for a, b in views] + halves:
        needed.update(range(a, b))
    assert sum(memory(snapshots).values()) <= len(needed) + 64 * len(state)
    floats.fill_(-1)
    assert all(torch.equal(*pair) for pair in zip(copy, expected, strict=True))
    for number, (original, one) in enumerate(zip(state, copy, strict=True)):  # what is written through one view ...
        original.fill_(number)
        one.fill_(number)
    assert all(torch.equal(*pair) for pair in zip(copy, state, strict=True))  # ... is seen through all that overlap it


def test_memory_is_used_again() -> None:
    snapshots, state = Snapshots(), trained()
    first = snapshots.take(state)
    places = memory(snapshots)
    del first
    second = snapshots.take(state)
    assert memory(snapshots) == places
    snapshots.release()
    assert written(second) == written(state)


KEEP: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "the tensor": lambda copy: copy["w"],
    "a view": lambda copy: copy["w"][:2],  # the tensor of the copy is gone, its memory is not
    "a storage": lambda copy: copy["w"].untyped_storage(),
    "an array": lambda copy: copy["w"].numpy(),
    "the whole": lambda copy: copy,
}


@pytest.mark.parametrize("what", KEEP)
@pytest.mark.parametrize("names", ["w", "wv"])
def test_memory_that_somebody_holds_is_left_alone(what: str, names: str) -> None:
    """Of a tensor that is alone on its memory, and of one that shares it."""
    snapshots, weight = Snapshots(), torch.ones(2)
    state = {name: weight.view(2) for name in names}
    kept = KEEP[what](snapshots.take(state))
    before = pickle.dumps(kept)
    weight.zero_()
    for _ in range(2):
        assert snapshots.take(state)["w"].tolist() == [0, 0]
    assert pickle.dumps(kept) == before


def test_works_in_inference_mode_and_outside() -> None:
    snapshots = Snapshots()
    with torch.inference_mode():
        made = torch.ones(2)
        assert not snapshots.take([made])[0].is_inference()
    assert snapshots.take([made + 1])[0].tolist() == [2, 2]


def test_says_what_cannot_be_pickled() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        Snapshots().take({"bad": lambda: 1})
