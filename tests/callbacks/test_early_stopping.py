from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks import EarlyStopping
from fulmen.callbacks.early_stopping import EarlyStoppingReason
from fulmen.utilities.exceptions import MisconfigurationException

from .simulated_run import SimulatedRun


def run(values: list[float], **arguments: Any) -> tuple[EarlyStopping, SimulatedRun]:
    """One value of `val` an epoch, as far as training gets."""
    settings = arguments.pop("settings", {})
    stopping = EarlyStopping(**{"monitor": "val", **arguments})
    simulated = SimulatedRun(stopping, **settings)
    simulated.validate = lambda: simulated.log("val", values[simulated.current_epoch])
    simulated.fit(epochs=len(values))
    return stopping, simulated


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    st.integers(0, 4),
    st.sampled_from(["min", "max"]),
    st.sampled_from([0.0, 1.0]),
)
def test_patience(values: list[int], patience: int, mode: str, min_delta: float) -> None:
    stopping, simulated = run([float(v) for v in values], patience=patience, mode=mode, min_delta=min_delta)
    sign = 1 if mode == "max" else -1
    best, waited, last = -math.inf, 0, len(values) - 1
    for epoch, value in enumerate(values):
        if sign * value - min_delta > best:
            best, waited = sign * value, 0
        else:
            waited += 1
            if waited >= patience:
                last = epoch
                break
    assert simulated.current_epoch == last + 1
    assert stopping.wait_count == waited
    assert stopping.best_score.item() == sign * best
    if simulated.should_stop:
        assert stopping.stopped_epoch == last
        assert stopping.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED


@pytest.mark.parametrize(
    ("values", "arguments", "epochs", "reason", "message"),
    [
        ([1.0, math.nan], {}, 2, "NON_FINITE_METRIC", "val = nan is not finite. Previous best value was 1.000"),
        ([1.0, -math.inf], {}, 2, "NON_FINITE_METRIC", "val = -inf is not finite"),
        ([1.0, 0.5, 0.25], {"stopping_threshold": 0.3}, 3, "STOPPING_THRESHOLD", "val = 0.25 < 0.3"),
        ([0.5, 0.75], {"stopping_threshold": 0.5, "mode": "max"}, 2, "STOPPING_THRESHOLD", "val = 0.75 > 0.5"),
        ([1.0, 3.0], {"divergence_threshold": 2.0}, 2, "DIVERGENCE_THRESHOLD", "val = 3.0 > 2.0"),
        ([0.5, 0.25], {"divergence_threshold": 0.3, "mode": "max"}, 2, "DIVERGENCE_THRESHOLD", "val = 0.25 < 0.3"),
        ([1.0, 2.0], {"divergence_threshold": 2.0}, 2, "NOT_STOPPED", None),
        ([1.0, math.nan], {"check_finite": False}, 2, "NOT_STOPPED", None),
        ([1.0, 1.0], {"patience": 1}, 2, "PATIENCE_EXHAUSTED", "did not improve in the last 1 records"),
    ],
)
def test_reasons(values: list[float], arguments: dict[str, Any], epochs: int, reason: str, message: str | None) -> None:
    stopping, simulated = run([*values, 0.0][: epochs + (message is not None)], **arguments)
    assert simulated.current_epoch == epochs
    assert stopping.stopping_reason is EarlyStoppingReason[reason]
    assert stopping.stopping_reason.value == stopping.state_dict()["stopping_reason"]
    if message is None:
        assert stopping.stopping_reason_message is None
    else:
        assert message in str(stopping.stopping_reason_message)


def test_it_checks_where_each_epoch_ends_with_a_validation_or_else_after_validation() -> None:
    checks: list[str] = []
    stopping = EarlyStopping("val", patience=100)
    simulated = SimulatedRun(stopping, val_check_interval=0.5)
    simulated.end_of_epoch = lambda: checks.append("epoch")
    simulated.validate = lambda: (simulated.log("val", 1.0), checks.append("val"))  # type: ignore[func-returns-value]
    simulated.fit(epochs=1, batches=4, validate_every=2)
    assert stopping.wait_count == 1 and checks == ["val", "val", "epoch"]

    at_train_end, _ = run([1.0, 1.0, 1.0], patience=100)
    assert at_train_end.wait_count == 2

    both, simulated = run([1.0, 1.0, 1.0], patience=100, check_on_train_epoch_end=True)
    assert both.wait_count == 2


def test_sanity_check_and_other_functions_are_passed_over() -> None:
    for settings in ({"sanity_checking": True}, {"fast_dev_run": 1}):
        stopping, _ = run([math.nan], settings=settings)
        assert stopping.stopping_reason is EarlyStoppingReason.NOT_STOPPED


def test_a_missing_metric() -> None:
    with pytest.raises(MisconfigurationException, match=r"`val`\n.*Did you mean 'val'\?"):
        run([1.0], monitor="vall")
    run([1.0], monitor="vall", strict=False)
    with pytest.warns(RuntimeWarning, match="`vall`|vall"):
        run([1.0], monitor="vall", strict=False, verbose=True)


@pytest.mark.parametrize("patience", [-1, "3", None])
def test_bad_patience(patience: Any) -> None:
    with pytest.raises(MisconfigurationException, match="Pass `patience=3`"):
        EarlyStopping("val", patience=patience)


def test_bad_mode() -> None:
    with pytest.raises(MisconfigurationException, match='mode="min" for a loss'):
        EarlyStopping("val", mode="auto")


def test_verbose_tells_of_improvements(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fulmen"):
        run([1.0, 0.5, 0.5], verbose=True, patience=1)
    assert caplog.messages[:2] == [
        "Metric val improved. New best score: 1.000",
        "Metric val improved by 0.500 >= min_delta = 0.0. New best score: 0.500",
    ]
    assert "Signaling Trainer to stop" in caplog.messages[2]


@pytest.mark.parametrize(("only_zero", "rank", "said"), [(False, 1, True), (True, 1, False), (True, 0, True)])
def test_ranks_speak_for_themselves(caplog: pytest.LogCaptureFixture, only_zero: bool, rank: int, said: bool) -> None:
    settings = {"world_size": 2, "global_rank": rank, "is_global_zero": rank == 0}
    with caplog.at_level(logging.INFO, logger="fulmen"):
        run([1.0], verbose=True, log_rank_zero_only=only_zero, settings=settings)
    assert [message.startswith(f"[rank: {rank}]") for message in caplog.messages] == [True] * said


def test_what_another_process_decides_holds() -> None:
    stopping = EarlyStopping("val")
    simulated = SimulatedRun(stopping)
    simulated.strategy.reduce_boolean_decision = lambda decision, all=True: True  # type: ignore[method-assign]
    simulated.fit(epochs=3)
    assert simulated.current_epoch == 1


def test_state_goes_round() -> None:
    stopping, _ = run([1.0, 2.0], patience=5)
    again = EarlyStopping("val")
    again.load_state_dict(stopping.state_dict())
    assert again.state_dict() == stopping.state_dict()
    assert set(stopping.state_dict()) == {
        "wait_count",
        "stopped_epoch",
        "best_score",
        "patience",
        "stopping_reason",
        "stopping_reason_message",
    }
    assert stopping.state_key == "EarlyStopping{'monitor': 'val', 'mode': 'min'}"
    older = {key: value for key, value in stopping.state_dict().items() if "reason" not in key}
    again.load_state_dict(older)
    assert again.stopping_reason is EarlyStoppingReason.NOT_STOPPED


def test_a_metric_may_have_one_element_and_any_dtype() -> None:
    stopping = EarlyStopping("val")
    simulated = SimulatedRun(stopping)
    simulated.validate = lambda: simulated.callback_metrics.update(val=torch.tensor([2]))
    simulated.fit()
    assert stopping.best_score == 2
