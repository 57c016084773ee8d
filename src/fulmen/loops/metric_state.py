"""What TorchMetrics metrics have counted so far. Most of them leave it out of ``state_dict``."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from fulmen.loops.entries import is_metric
from fulmen.loops.metric_merge import merged
from fulmen.utilities.rank_zero import rank_zero_warn

_BESIDE = ("_update_count", "_computed", "_forward_cache", "_num_vals_seen")


def metric_states(module: nn.Module) -> dict[str, dict[str, Any]]:
    """Copies of what the metrics among a module's children hold.

    Args:
        module: The module.

    Returns:
        By the metric's path in the module: its attributes by name.
    """
    for child in module.modules():
        if _is_collection(child):
            child.items()  # type: ignore[operator]  # metrics that share their counts get their part of them
    return {path: _state_of(child) for path, child in module.named_modules() if is_metric(child)}


def put_metric_states(module: nn.Module, states: dict[str, dict[str, Any]]) -> None:
    """Gives metrics what :func:`metric_states` found; those that are not there any more are passed over."""
    for path, child in module.named_modules():
        if path in states and is_metric(child):
            state = states[path]
            if hasattr(child, "load_counts"):
                child.load_counts(state.get("parts", {}))  # may make children, which come next
            child.__dict__.update(_copied({name: value for name, value in state.items() if name != "parts"}))


def put_merged_states(module: nn.Module, ranks: list[dict[str, dict[str, Any]]]) -> None:
    """Gives metrics what those of several processes had counted together.

    Args:
        module: The module.
        ranks: What :func:`metric_states` found, by rank.
    """
    for path, child in module.named_modules():
        states = [one[path] for one in ranks if path in one]
        if states and is_metric(child):
            put_metric_states(child, {"": _merged(path, child, states)})


def _merged(path: str, metric: Any, states: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of several processes in one."""
    # who has seen nothing has nothing to say: its states may have another shape
    states = [one for one in states if one.get("_update_count", 1)] or states[:1]
    if len(states) == 1:
        return states[0]
    active = [{"updates": one.get("_update_count", 1), "states": one} for one in states]
    # A metric computes with such states side by side, and does not go on counting with them.
    apart = [
        name
        for name, reduction in metric._reductions.items()
        if reduction is None and isinstance(metric._defaults[name], Tensor)
    ]
    if apart:
        rank_zero_warn(
            f"`{path}` ({type(metric).__name__}) has counts that cannot be added up ({', '.join(apart)}). Of what "
            f"{len(states)} processes had counted in the running epoch it keeps the first one's. What to do where its "
            "value matters: go on with as many processes as before, or from the end of an epoch."
        )
    kept = {name: states[0][name] for name in apart}
    total = sum(one["updates"] for one in active)
    return {**states[0], **merged(metric, active), **kept, "_update_count": total, "_computed": None}


def path_of(module: nn.Module, metric: Any) -> str | None:
    """The path of a metric in a module; None if it is no child of it."""
    return next((path for path, child in module.named_modules() if child is metric), None)


def _is_collection(child: object) -> bool:
    return any(
        base.__name__ == "MetricCollection" and base.__module__.startswith("torchmetrics")
        for base in type(child).__mro__
    )


def _state_of(metric: Any) -> dict[str, Any]:
    beside = [name for name, value in vars(metric).items() if isinstance(value, Tensor)]  # as wrappers keep extremes
    names = (*metric._defaults, *_BESIDE, *beside)
    state = {name: _copied(metric.__dict__[name]) for name in names if name in metric.__dict__}
    if hasattr(metric, "dump_counts"):  # a metric that makes parts of itself when it is first used
        state["parts"] = metric.dump_counts()
    return state


def _copied(value: Any) -> Any:
    """A copy without the graph that a metric of an undetached loss carries."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(_copied(item) for item in value)
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return copy.deepcopy(value)
