"""Processes that are about to do different things hear of it before they wait for each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.runs import QUIET

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.early_stopping import EarlyStopping
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.trainer import same
from fulmen.trainer.same import check_same
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.states import TrainerFn

FIT, VALIDATE, TEST = TrainerFn.FITTING, TrainerFn.VALIDATING, TrainerFn.TESTING


class Ranks:
    """Trainers of which each is that of a rank.

    Args:
        *flags: The arguments of each.
    """

    def __init__(self, *flags: dict[str, Any]) -> None:
        self.trainers = [Trainer(**{**QUIET, **one}) for one in flags]
        self.exchanged = 0

    def check(self, *fns: TrainerFn) -> None:
        """What each rank does when its method is called; what the last says is raised, and all say the same."""
        plans = [same._plan(trainer, fn) for trainer, fn in zip(self.trainers, fns, strict=True)]
        told = []
        for trainer, fn in zip(self.trainers, fns, strict=True):
            real: Any = trainer._strategy
            trainer._strategy = Stub(real, plans, self)  # type: ignore[assignment]
            try:
                check_same(trainer, fn)
            except MisconfigurationException as error:
                told.append(error)
            finally:
                trainer._strategy = real
        assert len({str(one) for one in told}) <= 1
        if told:
            assert len(told) == len(fns)
            raise told[0]


class Stub(SimpleNamespace):
    """A strategy of several processes.

    Args:
        real: What says all else.
        plans: What the ranks hand to each other.
        ranks: Whose exchanges are counted.
    """

    def __init__(self, real: Any, plans: list[Any], ranks: Ranks) -> None:
        super().__init__(world_size=len(plans), peers=SimpleNamespace(run=""))
        self._real, self._plans, self._ranks = real, plans, ranks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_real"], name)

    def all_gather_object(self, plan: Any) -> list[Any]:
        assert plan in self._plans
        self._ranks.exchanged += 1
        return self._plans


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({"max_epochs": 2}, {"max_epochs": 3}, "`max_epochs`: 2 on rank 0, 3 on rank 1"),
        ({"max_steps": 5}, {"max_steps": 10}, "`max_steps`: 5 on rank 0, 10 on rank 1"),
        ({"accumulate_grad_batches": 2}, {}, "`accumulate_grad_batches`: 2 on rank 0, 1 on rank 1"),
        ({"limit_val_batches": 2}, {"limit_val_batches": 5}, "`limit_val_batches`: 2 on rank 0, 5 on rank 1"),
        ({"val_check_interval": 2}, {"val_check_interval": 3}, "`val_check_interval`: 2 on rank 0, 3 on rank 1"),
        ({"check_val_every_n_epoch": 2}, {}, "`check_val_every_n_epoch`: 2 on rank 0, 1 on rank 1"),
        ({"precision": "bf16-mixed"}, {}, "precision: "),
        (
            {"callbacks": [EarlyStopping("x")]},
            {},
            "callbacks that save or stop: EarlyStopping on rank 0, none on rank 1",
        ),
        (
            {"callbacks": [ModelCheckpoint()], "enable_checkpointing": True},
            {},
            "callbacks that save or stop: ModelCheckpoint on rank 0, none on rank 1",
        ),
    ],
)
def test_each_difference_is_named_with_what_each_rank_has(
    first: dict[str, Any], second: dict[str, Any], told: str
) -> None:
    with pytest.raises(MisconfigurationException, match="same arguments, callbacks and loaders") as caught:
        Ranks(first, second).check(FIT, FIT)
    assert told in str(caught.value)


def test_what_only_one_rank_does_apart_from_the_others_is_its_own_matter() -> None:
    ranks = Ranks({"callbacks": [Callback()], "limit_train_batches": 2, "limit_test_batches": 3}, {})
    ranks.check(FIT, FIT)
    assert ranks.exchanged == 2  # one a rank
    ranks.check(VALIDATE, VALIDATE)
    with pytest.raises(MisconfigurationException, match="`limit_test_batches`: 3 on rank 0"):
        ranks.check(TEST, TEST)


def test_a_validation_that_only_some_have(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = {}, {}, {"max_epochs": 1}
    ranks = Ranks(first, second, third)
    lucky = ranks.trainers[1]
    monkeypatch.setattr(Trainer, "enable_validation", property(lambda trainer: trainer is lucky))
    with pytest.raises(MisconfigurationException, match="validation: without on ranks 0, 2, with on rank 1"):
        ranks.check(FIT, FIT, FIT)


def test_another_method() -> None:
    with pytest.raises(MisconfigurationException, match=r"without `if trainer\.is_global_zero`") as caught:
        Ranks({}, {}, {}).check(VALIDATE, TEST, VALIDATE)
    assert "`validate` on ranks 0, 2, `test` on rank 1" in str(caught.value)


def test_one_process_exchanges_nothing() -> None:
    ranks = Ranks({})
    ranks.check(FIT)
    assert ranks.exchanged == 0
