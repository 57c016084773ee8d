"""What a run's state is: put together into one dictionary, and taken apart again.

The keys are those that people know from ``.ckpt`` files. What a run needs beyond them lies under ``"fulmen"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.checkpoint.lightning_layout import loops_of, progress_of
from fulmen.checkpoint.old_states import catch_up, precision_state, recount, states_by_callback
from fulmen.checkpoint.optimizer_names import dump_names, in_order
from fulmen.utilities.codec import encode_checkpoint
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun, MisconfiguredValue
from fulmen.utilities.generations import stand_in
from fulmen.utilities.rank_zero import rank_zero_warn
from fulmen.utilities.states import TrainerFn, TrainerStatus

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

FORMAT = 2


def dump(trainer: Trainer, weights_only: bool = False) -> dict[str, Any]:
    """The state of a run. Of several processes, all have to call it.

    Args:
        trainer: The Trainer.
        weights_only: Leave out what only going on with training needs.

    Returns:
        The checkpoint.

    Raises:
        MisconfigurationException: If it is a run of several processes that has failed.
    """
    _check_whole(trainer)
    module, strategy = trainer.lightning_module, trainer.strategy
    trainer.fit_loop.share_buffers()
    checkpoint = dump_data(trainer, strategy.lightning_module_state_dict(), weights_only)
    if not weights_only:
        strategy.precision_plugin.on_save_checkpoint(checkpoint)
    for callback in trainer.callbacks:
        if not weights_only:
            stand_in(callback, "on_save_checkpoint")(trainer, module, checkpoint)
        elif (replace := getattr(callback, "replace_weights", None)) is not None:
            replace(trainer, module, checkpoint)
    module.on_save_checkpoint(checkpoint)
    return encode_checkpoint(checkpoint)


def dump_data(trainer: Trainer, weights: dict[str, Any], weights_only: bool = False) -> dict[str, Any]:
    """The state of a run without what hooks make of it.

    Args:
        trainer: The Trainer.
        weights: The weights.
        weights_only: Leave out what only going on with training needs.
    """
    from fulmen.core.saving import dump_hparams  # only those who save pay for it

    checkpoint: dict[str, Any] = {
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "pytorch-lightning_version": "2.6.6",  # the layout of the keys, for programs that ask
        "fulmen": {"format": FORMAT},
        "state_dict": weights,
    }
    if not weights_only:
        training = dict(trainer._left or dump_training(trainer))
        checkpoint["fulmen"].update(training.pop("fulmen"))
        checkpoint["loops"] = training.pop("loops")
        checkpoint["callbacks"] = {
            callback.state_key: state for callback in trainer.callbacks if (state := callback.state_dict())
        }
        checkpoint.update(training)
    datamodule = trainer.datamodule
    for owner in (trainer.lightning_module, datamodule):
        if owner is not None:
            checkpoint.update(dump_hparams(owner))
    if datamodule is not None and (state := datamodule.state_dict()):
        checkpoint[type(datamodule).__qualname__] = state
    return checkpoint


def dump_training(trainer: Trainer) -> dict[str, Any]:
    """The part of a checkpoint that only the processes know which have trained; all have to call it."""
    strategy, course = trainer.strategy, trainer.fit_loop.state_dict()
    ours = {"course": course, "optimizers": [type(optimizer).__name__ for optimizer in trainer.optimizers]}
    ours.update(dump_names(trainer))
    if state := strategy.state_dict():
        ours["strategy"] = state
    training: dict[str, Any] = {"fulmen": ours, "loops": loops_of(course["progress"])}
    training["optimizer_states"] = [strategy.optimizer_state(optimizer) for optimizer in trainer.optimizers]
    training["lr_schedulers"] = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    precision = strategy.precision_plugin
    if state := precision.state_dict():
        training[type(precision).__qualname__] = state
    return training


def _check_whole(trainer: Trainer) -> None:
    if trainer.state.status == TrainerStatus.INTERRUPTED and trainer.strategy.peers is not None:
        raise MisconfigurationException(
            "Only a group of processes that is whole saves, and this one has failed.",
            fix='Go on from the newest checkpoint, `trainer.fit(model, ckpt_path="last")`; save more often with '
            "`ModelCheckpoint(every_n_train_steps=...)`.",
        )


def restore_model(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Gives the weights, and the states of data module, callbacks and precision, back to their owners."""
    module = trainer.lightning_module
    module.on_load_checkpoint(checkpoint)
    trainer.strategy.precision_plugin.convert_module(module)  # before weights come: double ones would lose digits
    for callback in trainer.callbacks:
        if (prepare := getattr(callback, "before_weights", None)) is not None:
            prepare(trainer, module, checkpoint)
    try:
        trainer.strategy.load_model_state_dict(checkpoint, strict=module.strict_loading)
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise MisconfiguredRun(
            f"The weights in the checkpoint do not fit `{type(module).__name__}`.",
            got=str(error),
            fix="Build the model as it was when the checkpoint was written. For keys that are missing or too many on "
            "purpose, set `self.strict_loading = False` in `__init__`.",
        ) from None
    datamodule = trainer.datamodule
    if datamodule is not None and type(datamodule).__qualname__ in checkpoint:
        datamodule.load_state_dict(checkpoint[type(datamodule).__qualname__])
    if "callbacks" in checkpoint:  # it is not in a file of weights alone
        restore_callbacks(trainer, checkpoint)
    precision = trainer.strategy.precision_plugin
    precision.on_load_checkpoint(checkpoint)
    state = precision_state(type(precision).__qualname__, checkpoint)
    if state is not None:
        precision.load_state_dict(state)


def restore_callbacks(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Gives callbacks their states back, and says whose are left over."""
    for callback in trainer.callbacks:
        stand_in(callback, "on_load_checkpoint")(trainer, trainer.lightning_module, checkpoint)
    states, missing = states_by_callback(trainer.callbacks, checkpoint["callbacks"])
    if missing and trainer.state.fn == TrainerFn.FITTING:
        rank_zero_warn(
            f"The checkpoint holds the states of callbacks that this Trainer does not have: {missing}. Add them to "
            "`Trainer(callbacks=...)` to go on with their states."
        )
    for index, callback in enumerate(trainer.callbacks):
        if index in states:
            callback.load_state_dict(states[index])


def restore_training(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Gives optimizers, schedulers and counts back to their owners.

    Raises:
        MisconfigurationException: If the file holds weights alone, other optimizers, or more epochs than are asked for.
    """
    if "optimizer_states" not in checkpoint:
        raise MisconfigurationException(
            "Training can only go on from a checkpoint that holds the state of training, and this one holds weights "
            "alone.",
            fix="Load it with `MyModule.load_from_checkpoint(path)` and fit from there, or save with "
            "`save_weights_only=False`.",
        )
    _restore_progress(trainer, checkpoint)
    states, optimizers = checkpoint["optimizer_states"], trainer.optimizers
    schedulers = checkpoint.get("lr_schedulers", [])
    if len(states) != len(optimizers) or len(schedulers) != len(trainer.lr_scheduler_configs):
        raise MisconfigurationException(
            "A run goes on with the optimizers and schedulers that it was saved with.",
            got=f"{len(states)} optimizers and {len(schedulers)} schedulers in the file, {len(optimizers)} and "
            f"{len(trainer.lr_scheduler_configs)} from `configure_optimizers`",
            fix="Return the same ones, or start anew from the weights with `load_from_checkpoint`.",
        )
    checkpoint = in_order(trainer, checkpoint)
    _check_kinds(checkpoint, optimizers)
    try:
        trainer.strategy.load_optimizer_state_dict(checkpoint)
    except ValueError as error:
        raise MisconfiguredValue(
            "A run goes on with the parameter groups that it was saved with.",
            got=str(error),
            fix="Return optimizers with the same groups of parameters, or start anew from the weights with "
            "`load_from_checkpoint`.",
        ) from None
    for config, state in zip(trainer.lr_scheduler_configs, checkpoint.get("lr_schedulers", []), strict=True):
        config.scheduler.load_state_dict(state)
    trainer.strategy.load_state_dict(checkpoint.get("fulmen", {}).get("strategy", {}))
    catch_up(trainer, checkpoint)


def _check_kinds(checkpoint: dict[str, Any], optimizers: list[Any]) -> None:
    """Complains of what another kind of optimizer remembered."""
    kinds, now = checkpoint.get("fulmen", {}).get("optimizers"), [type(one).__name__ for one in optimizers]
    if kinds is None or kinds == now:
        return
    what = f"what {', '.join(kinds)} remembered, and {', '.join(now)} is to go on with it"
    advice = (
        "Return the same optimizers from `configure_optimizers`, or start anew from the weights with "
        "`load_from_checkpoint`."
    )
    for optimizer, state in zip(optimizers, checkpoint["optimizer_states"], strict=True):
        known = state["param_groups"][0].keys() if state["param_groups"] else ()
        lacking = sorted(set(optimizer.param_groups[0]) - set(known))
        if lacking:
            raise MisconfiguredValue(
                "A run goes on with optimizers of the kind that it was saved with.",
                got=f"a checkpoint with {what}; it lacks {', '.join(lacking)}",
                fix=advice,
            )
    rank_zero_warn(f"The checkpoint holds {what}. What to do: {advice}")


def _restore_progress(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    progress, fit = trainer.progress, trainer.fit_loop
    course = checkpoint.get("fulmen", {}).get("course")
    fit.resumed = course
    if course is not None:
        progress.load_state_dict(course["progress"])
    else:
        counts = progress_of(checkpoint)
        recount(checkpoint, counts, named=bool(getattr(trainer.strategy, "_optimizer_names", ())))
        progress.load_state_dict(counts)
        # a file of another program says how many batches of its epoch were used, and no more
        progress.phase = "ready" if progress.batch and not progress.epoch_done else "between"
    fit.epoch_loop.is_last_batch = progress.epoch_done
    limit = trainer.max_epochs
    if limit is not None and limit != -1 and progress.epoch > limit:
        raise MisconfigurationException(
            "A run cannot end before the point from which it goes on.",
            got=f"a checkpoint with current_epoch={progress.epoch} and Trainer(max_epochs={limit})",
            fix=f"Set `max_epochs` to more than {progress.epoch}.",
        )
