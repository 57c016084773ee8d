"""Where a training run is, in a checkpoint and back: what the next step depends on besides weights and optimizers.

With several processes it is where each of them is; see :mod:`fulmen.loops.by_rank`.

Everything that a resumed run has still to do follows from ``progress.phase``; see :class:`~fulmen.loops.progress`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.data.feed import skipping
from fulmen.data.loader_state import dump_loaders, load_loaders
from fulmen.loops.by_rank import gather_course
from fulmen.loops.metric_state import metric_states, put_merged_states, put_metric_states
from fulmen.loops.result_state import dump_results, load_results
from fulmen.utilities.rank_zero import rank_zero_warn
from fulmen.utilities.seed import branch_rng, collect_rng_state, set_rng_state
from fulmen.utilities.states import TrainerStatus

if TYPE_CHECKING:
    from fulmen.loops.fit import FitLoop

UNDER_WAY = ("step", "batch", "validation", "validated", "ready")


def dump_course(fit: FitLoop) -> dict[str, Any]:
    """Where a run is.

    At the end of a step all of it is exact. In the middle of one, where an exception may have come, it is the place at
    which the step's accumulation window began, so that no batch is left out; what has changed since then (buffers,
    random state, means of the epoch) cannot be taken back.

    Args:
        fit: The loop.

    Returns:
        Tensors and plain values.
    """
    trainer, progress = fit.trainer, fit.progress
    on_device = trainer.strategy.root_device.type != "cpu"
    state: dict[str, Any] = {
        "progress": progress.state_dict(),
        "exact": progress.phase != "step" and trainer.state.status != TrainerStatus.INTERRUPTED,
        "rng": [collect_rng_state(include_cuda=on_device)],  # by rank, once they are brought together
        "should_stop": trainer.should_stop,
        "metrics": trainer.metrics.state_dict(),
        "torchmetrics": metric_states(trainer.lightning_module),
        "train_loaders": dump_loaders([fit.data.loader], fit.inherited) if fit.data.loader is not None else [],
        "val_loaders": dump_loaders(fit.validation.data.loaders, fit.validation.inherited),
        "loaded_at": [fit.data.loaded_at, fit.validation.data.loaded_at],
        "val_seen": {str(index): count for index, count in fit.validation.seen.items()},
        "optimization": fit.optimization.state_dict() if hasattr(fit, "optimization") else {},
    }
    if progress.phase in UNDER_WAY:
        state.update(_in_an_epoch(fit, state["exact"]))
    elif progress.phase == "end":
        state["results"] = dump_results(fit.results)
    if fit.place_of_cut is not None:  # limits ended an epoch before its last batch: with others it goes on
        state.update(fit.place_of_cut, results_at_end=state.get("results"))
    return gather_course(trainer.strategy, state)


def place_in_epoch(fit: FitLoop) -> dict[str, Any]:
    """The part of a run's place that lies in its epoch: counts, loader, what was logged, gradients."""
    return {
        "progress": fit.progress.state_dict(),
        "feed": fit.feed.state_dict(fit.progress.batch),
        "results": dump_results(fit.results),
    }


def _in_an_epoch(fit: FitLoop, exact: bool) -> dict[str, Any]:
    place, progress = place_in_epoch(fit), fit.progress
    if progress.phase == "step":
        done = fit.optimization.batches_in_window(progress.batch)
        batch = progress.batch - done
        place["progress"].update(batch=batch, batches=progress.batches - done, phase="ready", epoch_done=False)
        place["feed"] = fit.feed.state_dict(batch)
        place["optimization"] = fit.optimization.state_dict(failed=True)
    elif progress.phase == "validation" and exact:
        place["validation"] = fit.validation.state_dict()
    elif progress.phase == "validated":
        assert fit.validation.results is not None
        place["validated"] = dump_results(fit.validation.results)
    elif progress.phase == "validation":
        place["progress"]["phase"] = "batch"  # it runs again from its start
    return place


def load_values(fit: FitLoop, state: dict[str, Any]) -> None:
    """Takes back what was logged.

    Args:
        fit: The loop.
        state: What :func:`dump_course` gave.
    """
    fit.results.reset()
    if "results" in state:
        load_results(fit.results, state["results"])
    fit.trainer.metrics.load_state_dict(state["metrics"])
    put_metric_states(fit.trainer.lightning_module, state["torchmetrics"])
    if "torchmetrics_by_rank" in state:
        put_merged_states(fit.trainer.lightning_module, state["torchmetrics_by_rank"])
    if "validated" in state and fit.validation.results is not None:
        load_results(fit.validation.results, state["validated"])
        fit.validation.results.reset()  # and so the metrics that were logged there
    fit.validation.seen = {int(index): count for index, count in state["val_seen"].items()}


def load_course(fit: FitLoop, state: dict[str, Any]) -> None:
    """Takes back what loaders remember and all random states, when training is about to go on.

    Args:
        fit: The loop.
        state: What :func:`dump_course` gave.
    """
    trainer = fit.trainer
    if not state["exact"]:
        stepped = state["optimization"].get("stepped", [])
        weights = f"the weights of the optimizers that had stepped in its last batch ({', '.join(stepped)}), "
        rank_zero_warn(
            "The checkpoint was made in the middle of a step, or after a failure. Training goes on with the first "
            "batch of the accumulation window that was under way, so that none is left out; not as they were at that "
            f"point are {weights if stepped else ''}buffers, random states, means of the running epoch and what "
            "callbacks keep."
        )
    fit.data.loaded_at, fit.validation.data.loaded_at = state["loaded_at"]
    fit.inherited = load_loaders([fit.data.loader], state["train_loaders"])
    fit.validation.inherited = load_loaders(fit.validation.data.loaders, state["val_loaders"])
    if fit.progress.phase == "between":
        fit.optimization.load_state_dict(state["optimization"])
    known, rank = state["rng"], trainer.global_rank
    if rank < len(known):
        set_rng_state(known[rank])
    else:  # a process that the earlier run had not
        set_rng_state(known[0])
        branch_rng(rank)


def stopped_for_good(fit: FitLoop) -> bool:
    """Whether a request to stop that a checkpoint holds still stands: early stopping asks for it once and for all."""
    epochs = (fit.progress.epoch, fit.progress.epoch - 1)
    return any(
        callback.wait_count >= callback.patience
        or ((callback.stopped_epoch or callback.stopping_reason.value) and callback.stopped_epoch in epochs)
        for callback in fit.trainer.early_stopping_callbacks
    )


def foreign_course(fit: FitLoop) -> dict[str, Any]:
    """The place in a running epoch of a checkpoint that says no more of it than how many batches were used."""
    return {"exact": True, "feed": skipping(fit.progress.batch, fit.data.loader)}
