from __future__ import annotations

import io
import logging
import os
import random
from functools import partial

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.seed import (
    collect_rng_state,
    isolate_rng,
    pl_worker_init_function,
    reset_seed,
    seed_everything,
    set_rng_state,
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    # Set first, so that monkeypatch removes what the tests leave.
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    with isolate_rng():
        yield


def draw() -> tuple[float, float, float]:
    return random.random(), float(numpy.random.rand()), torch.rand(1).item()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_seed_decides_all_draws_and_is_left_to_child_processes(seed, workers):
    assert seed_everything(seed, workers=workers, verbose=False) == seed
    first = draw()
    assert os.environ["PL_GLOBAL_SEED"] == str(seed)
    assert os.environ["PL_SEED_WORKERS"] == str(int(workers))
    reset_seed()
    assert draw() == first
    assert os.environ["PL_SEED_WORKERS"] == str(int(workers))


def test_draws_are_those_of_each_library_seeded_by_hand():
    seed_everything(1, verbose=False)
    drawn = draw()
    random.seed(1)
    numpy.random.seed(1)
    torch.manual_seed(1)
    assert drawn == draw()


def test_the_seed_comes_from_the_environment_and_an_argument_goes_before_it(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert seed_everything(verbose=False) == 7
    assert seed_everything(3, verbose=False) == 3
    assert seed_everything("5", verbose=False) == 5


def test_no_seed_at_all_is_zero_with_a_warning():
    with pytest.warns(UserWarning, match="No seed found, seed set to 0"):
        assert seed_everything(verbose=False) == 0


def test_the_seed_is_logged_unless_told_otherwise(caplog):
    with caplog.at_level(logging.INFO, logger="fulmen"):
        seed_everything(4)
        seed_everything(5, verbose=False)
    assert [record.message for record in caplog.records] == ["Seed set to 4"]


@pytest.mark.parametrize("seed", [-1, 2**32, "x", float("nan"), [1]])
def test_a_bad_seed_is_named(seed):
    with pytest.raises(MisconfigurationException, match=r"(?s)from 0 to 4294967295.*seed_everything\(42\)"):
        seed_everything(seed)
    assert "PL_GLOBAL_SEED" not in os.environ


def test_a_bad_seed_in_the_environment_names_the_variable(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "abc")
    with pytest.raises(MisconfigurationException, match=r"(?s)`PL_GLOBAL_SEED` must be.*abc.*unset"):
        seed_everything()


def test_reset_does_nothing_without_a_seed():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    reset_seed()
    assert torch.equal(torch.rand(1), expected)
    assert "PL_GLOBAL_SEED" not in os.environ


@pytest.mark.parametrize("fails", [False, True])
def test_isolation_leaves_no_trace(fails):
    seed_everything(11, verbose=False)
    numpy.random.randn()  # leaves half of a pair of normal draws behind
    expected = (*draw(), numpy.random.randn())
    seed_everything(11, verbose=False)
    numpy.random.randn()
    try:
        with isolate_rng():
            seed_everything(5, verbose=False)
            draw()
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert (*draw(), numpy.random.randn()) == expected


def test_states_are_plain_data_that_a_file_can_hold():
    seed_everything(3, verbose=False)
    numpy.random.randn()
    buffer = io.BytesIO()
    torch.save(collect_rng_state(), buffer)
    expected = (*draw(), numpy.random.randn())
    seed_everything(4, verbose=False)
    buffer.seek(0)
    set_rng_state(torch.load(buffer, weights_only=True))
    assert (*draw(), numpy.random.randn()) == expected


# Drawn by pytorch-lightning 2.6.6: (worker, rank, base seed), torch's seed, a draw of Python's and of numpy's.
LIGHTNING = [
    (0, 0, 0, 1, 0.9658065227696058, 0.6630280770507926),
    (0, 0, 123, 18045987309623305858, 0.47203113800776, 0.8480940789038505),
    (0, 3, 2**63 - 1, 11587291607019660447, 0.42241741957556267, 0.3254174977577653),
    (3, 0, 7, 14573604283072529015, 0.09349719905647003, 0.488229544128823),
    (3, 2, 7, 12410420304549177324, 0.5261826428895149, 0.9345509923021443),
    (0, 1, 0, 17457226417617275581, 0.38508480283925917, 0.7321354605204562),
]


@pytest.mark.parametrize("worker, rank, base, seed, python, from_numpy", LIGHTNING)
def test_worker_streams_are_lightnings(worker, rank, base, seed, python, from_numpy):
    torch.manual_seed(base + worker)  # as a loader does in its workers
    pl_worker_init_function(worker, rank)
    assert torch.initial_seed() == seed
    assert random.random() == python
    assert numpy.random.rand() == from_numpy


def test_no_two_workers_share_a_stream():
    streams = set()
    for worker in range(8):
        for rank in range(8):
            torch.manual_seed(9 + worker)
            pl_worker_init_function(worker, rank)
            streams.update(draw())
    assert len(streams) == 8 * 8 * 3


def test_the_rank_comes_from_the_environment_where_it_is_not_given(monkeypatch):
    from fulmen.utilities.rank_zero import rank_zero_only

    monkeypatch.delattr(rank_zero_only, "rank", raising=False)
    monkeypatch.setenv("RANK", "2")
    torch.manual_seed(10)
    pl_worker_init_function(3)
    found = draw()
    torch.manual_seed(10)
    pl_worker_init_function(3, rank=2)
    assert draw() == found


class Draws(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(draw(), dtype=torch.float64)


def test_a_loaders_workers_draw_what_lightnings_do():
    torch.manual_seed(5)
    loader = DataLoader(Draws(), 1, num_workers=2, worker_init_fn=partial(pl_worker_init_function, rank=1))
    found = torch.cat(list(loader))
    # Python, numpy, torch; drawn with pytorch-lightning 2.6.6 in the same loader.
    expected = torch.tensor(
        [
            [0.38871220649699567, 0.6923785725092297, 0.46574968099594116],
            [0.21107875862934244, 0.4947333406048515, 0.76280677318573],
            [0.06812497912808191, 0.4243375202438947, 0.47698646783828735],
            [0.7188156518485133, 0.9284831797266029, 0.9859272241592407],
        ],
        dtype=torch.float64,
    )
    assert torch.equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_isolation_covers_every_device():
    kind = torch.accelerator.current_accelerator().type
    devices = [torch.device(kind, index) for index in range(torch.accelerator.device_count())]
    torch.manual_seed(1)
    expected = [torch.rand(1, device=device).item() for device in devices]
    torch.manual_seed(1)
    with isolate_rng():
        for device in devices:
            torch.rand(100, device=device)
    assert [torch.rand(1, device=device).item() for device in devices] == expected
