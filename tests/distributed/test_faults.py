"""Whatever goes wrong on one of several processes: all end soon, the culprit is named last, nothing is left or lost."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import pytest
from tests.conftest import SOAK

from .fault_runs import SOON, TIMEOUT, Case, Ended, run_case

KINDS = ("exception", "kill", "os_exit", "sys_exit", "stall", "sigterm")
PLACES = ("fit_start", "step", "validation", "save", "teardown")
LAUNCHERS = ("script", "spawn", "torchrun")

# Each kind at each place on each rank; the launchers take turns, so that each meets each kind, place and rank.
GRID = [
    Case(kind, rank, place, LAUNCHERS[(number + number // 3) % 3])
    for number, (kind, rank, place) in enumerate(itertools.product(KINDS, (0, 1), PLACES))
]
OTHERS = [
    Case("exception", 1, "start", "script"),  # before there is a group
    Case("exception", 1, "setup", "torchrun"),
    Case("exception", 0, "prepare_data", "script"),
    Case("exception", 0, "prepare_data", "spawn"),
    Case("stall", 1, "setup", "script"),
    Case("exception", 1, "configure_optimizers", "script"),
    Case("exception", 0, "configure_optimizers", "torchrun"),
    Case("exception", 1, "callback", "spawn"),
    Case("exception", 0, "callback", "torchrun"),
    Case("exception", 1, "train_dataloader", "script"),
    Case("exception", 1, "fit_end", "script"),
    Case("exception", 0, "fit_end", "torchrun"),
    Case("exception", 1, "between", "script"),
    Case("exception", 0, "between", "torchrun"),
    Case("kill", 1, "between", "script"),
    Case("memory", 1, "step", "script"),
    Case("memory", 0, "step", "spawn"),
    Case("interrupt", 1, "step", "script"),
    Case("interrupt", 0, "step", "torchrun"),
    Case("sys_exit_0", 1, "step", "torchrun"),
    Case("sys_exit_0", 0, "step", "script"),
    Case("sys_exit_0", 1, "validation", "spawn"),
    Case("finally", 1, "step", "script"),
    Case("stop", 1, "step", "script"),
]
QUICK = [
    *random.Random(6).sample([case for case in GRID if case.launcher == "script" and case.kind != "stall"], 1),
    *random.Random(6).sample([case for case in GRID if case.launcher == "torchrun" and case.kind != "stall"], 1),
    *(case._replace(launcher="fork") for case in random.Random(6).sample([c for c in GRID if c.kind != "stall"], 2)),
]
# Within how many seconds of the fault a run is over. Who is stopped has some time to answer.
LIMITS = {"stall": TIMEOUT + SOON, "finally": TIMEOUT + SOON, "stop": TIMEOUT + 2 * SOON}
# Who ends without a word leaves no traceback.
MUTE = ("kill", "os_exit", "sigterm")


@pytest.mark.parametrize("case", [*GRID, *OTHERS] if SOAK else QUICK, ids=str)
def test_all_end_and_name_the_culprit(case: Case, tmp_path: Path) -> None:
    ended = run_case(case, tmp_path / "first")
    if ended.seconds is not None and ended.seconds >= limit_of(case):  # other tests may have taken the cores
        ended = run_case(case, tmp_path / "second")
    check(case, ended)


def limit_of(case: Case) -> float:
    return LIMITS.get(case.kind, SOON)


def check(case: Case, ended: Ended) -> None:
    told = f"{case}: code {ended.code} after {ended.seconds} s, {ended.saved}\n{ended.output}"
    assert ended.code is not None, f"it hangs: {told}"
    assert ended.code != 0, told
    assert ended.seconds is not None, f"it did not come to its fault: {told}"
    assert ended.seconds < limit_of(case), told
    assert ended.left == [], told
    assert ended.damaged == [], told
    if case.kind == "sigterm" and case.place not in ("fit_start", "teardown"):
        check_sigterm(case, ended, told)
        return
    assert ended.named == case.rank, f"named {ended.named}: {told}"
    if case.kind in ("stall", "stop"):
        assert re.search(r"(no progress|does not answer)", ended.output), told
    if case.kind not in (*MUTE, "stop"):
        assert re.search(r'fault_script\.py", line \d+, in go_wrong', ended.last), told
    assert not any(step_of(name) > 8 for name in ended.saved) or case.place in ("teardown", "fit_end", "between"), told


def check_sigterm(case: Case, ended: Ended, told: str) -> None:
    """A healthy group that is asked to end during training saves, and ends as it was asked to."""
    if case.launcher != "torchrun":  # which has an exit code of its own
        assert ended.code == 143, told
    assert case.launcher == "fork" or "everything is saved to" in ended.output, told
    assert 6 <= max(map(step_of, ended.saved)) <= 10, told


# What is found before anybody waits for it, on all ranks or on one, and what says so.
MISTAKES = {
    "shapes": r"All processes bring tensors of one shape .*rank 0: .*\(2,\).*rank 1: .*\(3,\)",
    "unused": r"did not depend on all parameters.*no gradient for .*unused\.weight.*unused\.bias",
    "unused_here": r"did not depend on all parameters.*no gradient for .*layer\.bias.* on rank 1",
    "one_logs": r"logged by all of them.*`only_here`, logged with `sync_dist=True` on rank 1, and not on rank 0.*"
    r"Call `self\.log` on every rank",
}


@pytest.mark.parametrize("place", [*MISTAKES] if SOAK else ["one_logs"])
def test_a_mistake_is_named_and_not_waited_for(place: str, tmp_path: Path) -> None:
    ended = run_case(Case("mistake", 1, place, "fork"), tmp_path)
    told = f"code {ended.code} after {ended.seconds} s\n{ended.output}"
    assert ended.code == 1 and ended.seconds is not None and ended.seconds < SOON and ended.left == [], told
    assert re.search(MISTAKES[place], ended.last, re.DOTALL), told


@pytest.mark.soak
def test_a_collective_of_one_rank_shows_where_both_are(tmp_path: Path) -> None:
    ended = run_case(Case("mismatch", 1, "one_gathers", "fork"), tmp_path)
    told = f"code {ended.code} after {ended.seconds} s\n{ended.output}"
    assert ended.code == 1 and ended.seconds is not None and ended.seconds < LIMITS["stall"] and ended.left == [], told
    assert re.search(
        r"Rank 0, .*Rank 1, .*waiting in all_gather.*fault_script\.py:\d+ in training_step", told, re.DOTALL
    ), told


@pytest.mark.soak
@pytest.mark.parametrize("launcher", ["script", "torchrun"])
def test_a_group_that_has_failed_is_not_used_again(launcher: str, tmp_path: Path) -> None:
    ended = run_case(Case("exception", 0, "step", launcher), tmp_path, FAULT_AGAIN="1")
    told = f"code {ended.code} after {ended.seconds} s\n{ended.output}"
    assert ended.code == 1 and ended.seconds is not None and ended.seconds < SOON and ended.left == [], told
    assert "rank 0 caught ValueError" in ended.output, told
    assert re.search("those that are left are no group any more.*start it again", ended.output, re.DOTALL), told


@pytest.mark.soak
def test_an_error_while_a_checkpoint_is_loaded(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    whole = run_case(Case("none", 9, "none", "fork"), tmp_path / "first")
    assert whole.code == 0 and "epoch=0-step=6.ckpt" in whole.saved and whole.damaged == [], whole.output
    case = Case("exception", 1, "load", "fork")
    check(case, run_case(case, tmp_path / "second", FAULT_CKPT=f"{tmp_path}/first/saved/epoch=0-step=6.ckpt"))


@pytest.mark.parametrize("place", ["uneven", "uneven_log"])
def test_ranks_with_more_batches_or_more_keys_are_no_fault(place: str, tmp_path: Path) -> None:
    ended = run_case(Case("none", 9, place, "fork"), tmp_path)
    assert ended.code == 0 and ended.left == [] and ended.saved and ended.damaged == [], ended.output


def step_of(name: str) -> int:
    found = re.search(r"step=(\d+)", name)
    return int(found[1]) if found else 0
