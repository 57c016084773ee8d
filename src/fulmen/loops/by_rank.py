"""The course of a run of several processes in one checkpoint, and what each process of a later run takes of it.

With as many processes as before each takes its own part, and goes on bit by bit. With another number the parts are
brought together: no sample of the epoch is left out or read twice, and its values stay what they are.
"""

from __future__ import annotations

from typing import Any

import torch

from fulmen.loops.result_state import emptied, merge_results
from fulmen.strategies.strategy import Strategy
from fulmen.utilities.tree import move_data_to_device

# What is not the same on all processes.
_OWN = (
    "metrics", "torchmetrics", "train_loaders", "val_loaders", "val_seen", "optimization", "feed", "results",
    "results_at_end", "validation", "validated",
)  # fmt: skip


def gather_course(strategy: Strategy, state: dict[str, Any]) -> dict[str, Any]:
    """Brings together where all processes are. Each of them has to call it.

    Args:
        strategy: How they talk.
        state: Where this one is.

    Returns:
        The state of rank 0, with the random states by rank, and under ``"ranks"`` what else the others have of their
        own.
    """
    if strategy.world_size == 1:
        return state
    own = {name: state[name] for name in (*_OWN, "rng") if name in state}
    if strategy.global_rank and own.get("feed"):
        own["feed"] = {name: value for name, value in own["feed"].items() if name != "lists"}  # the same everywhere
    found = strategy.all_gather_object(move_data_to_device(own, torch.device("cpu")))
    return {
        **state,
        **{name: value for name, value in found[0].items() if name != "rng"},
        "rng": [one["rng"][0] for one in found],
        "ranks": [{name: value for name, value in one.items() if name != "rng"} for one in found[1:]],
    }


def own_course(course: dict[str, Any], rank: int, world: int) -> dict[str, Any]:
    """What one process takes of a checkpoint.

    Args:
        course: What :func:`gather_course` gave, or a run of one process.
        rank: Its number.
        world: How many processes there are now.

    Returns:
        Its course; under ``"feeds"`` the places of all in the epoch, where they are several and as many as before.
    """
    others = course.get("ranks", [])
    if len(others) + 1 != world:
        return _dealt_anew(course, [course, *others], rank, world)
    if world == 1:
        return course
    own = {**course, **(others[rank - 1] if rank else {})}
    if own.get("feed"):
        own["feeds"] = [one["feed"] for one in (course, *others)]
        if "lists" in course["feed"]:
            own["feed"] = {**own["feed"], "lists": course["feed"]["lists"]}
    return own


def _dealt_anew(course: dict[str, Any], every: list[dict[str, Any]], rank: int, world: int) -> dict[str, Any]:
    """Rank 0 takes over what all had gathered, and the others begin with nothing."""
    new = {name: value for name, value in course.items() if name != "ranks"}
    if "feed" in course:
        new["feed"] = {"by_rank": [one["feed"] for one in every], "consumed": course["feed"]["consumed"]}
    for name in ("results", "results_at_end", "validated"):
        if course.get(name) is not None:
            merged = merge_results([one[name] for one in every])
            new[name] = merged if rank == 0 else emptied(merged)
    # a validation that was under way begins again; what it had counted is forgotten
    under_way = new.pop("validation", None)
    if under_way is not None:
        new["validated"] = under_way["results"]
    new["torchmetrics"] = {}
    if rank == 0:
        new["torchmetrics_by_rank"] = [one["torchmetrics"] for one in every]
    in_epoch = "feed" in course
    for name in ("train_loaders", "val_loaders"):
        new[name] = [_of_any_rank(state, in_epoch and name == "train_loaders") for state in course[name]]
    new["optimization"] = merge_windows([one["optimization"] for one in every], world)
    return new


def _of_any_rank(loader: dict[str, Any], in_epoch: bool) -> dict[str, Any]:
    """What a loader remembers, without workers and places that were those of one process."""
    return {**loader, "workers": None, "parts": [] if in_epoch else loader["parts"]}


def merge_windows(states: list[dict[str, Any]], world: int) -> dict[str, Any]:
    """Brings open accumulation windows together, so that their gradient stays the mean over all of their batches.

    Gradients and weights are those of all processes, dealt out evenly: the mean over the processes of now brings them
    back. Where nothing is weighed, gradients are the mean over the processes.

    Args:
        states: By rank.
        world: How many processes there are now.
    """
    first = states[0]
    if "gradients" not in first:
        return first
    windows = [[one["window"]] if "window" in one else [*one.get("windows", {}).values()] for one in states]
    weighed = any(window["sum"] for each in windows for window in each)
    units = [_unit(one, first) for one in states]
    share = 1 / (world if weighed else len(states))
    gradients: dict[str, Any] = {}
    for one, unit in zip(states, units, strict=True):
        for name, gradient in one["gradients"].items():
            part = gradient * (unit * share)
            gradients[name] = gradients[name] + part if name in gradients else part
    merged = {**{name: value for name, value in first.items() if name != "absent"}, "gradients": gradients}
    if "window" in first:
        merged["window"] = _merged_window([_of_losses(one) for one in states], world)
    elif "windows" in first:
        names = dict.fromkeys(name for one in states for name in one["windows"])
        merged["windows"] = {
            name: _merged_window([one["windows"][name] for one in states if name in one["windows"]], world)
            for name in names
        }
    return merged


def _unit(state: dict[str, Any], first: dict[str, Any]) -> float:
    """Gradients are relative to the weight of the window's first batch: that of one process in those of rank 0."""
    if "window" not in state or not state["window"]["first"] or not first["window"]["first"]:
        return 1.0
    return float(state["window"]["first"]) / float(first["window"]["first"])


def _of_losses(state: dict[str, Any]) -> dict[str, Any]:
    """A window without what batches that were skipped count in it."""
    window: dict[str, Any] = state["window"]
    return {**window, "sum": window["sum"] - sum(state.get("absent", {}).values())}


def _merged_window(windows: list[dict[str, Any]], world: int) -> dict[str, Any]:
    known = next((window for window in windows if window["first"]), windows[0])
    return {**known, "sum": sum(window["sum"] for window in windows) / world}
