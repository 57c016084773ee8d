"""What Lightning 1.x's ``LightningModule`` has beyond today's."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.hook_words import MODULE, add_hooks
from fulmen.compat.v1.shown import MODULE as SHOWN
from fulmen.compat.v1.super_words import DATA, MODEL
from fulmen.core.logging import LogOptions
from fulmen.core.optimization import OptimizationMixin, require_manual
from fulmen.utilities.compile import from_compiled, to_uncompiled
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.rank_zero import rank_zero_info, warn_once
from fulmen.utilities.tree import apply_to_collection

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.utilities.model_summary.model_summary import ModelSummary

# This is imported while `LightningModule` is being made, so what needs it is imported where it is used.
_backward = OptimizationMixin.backward
_clip = OptimizationMixin.configure_gradient_clipping
_toggle, _untoggle = OptimizationMixin.toggle_optimizer, OptimizationMixin.untoggle_optimizer


_MISSING = object()


class Word:
    """A name that gives way to whatever a module has of its own under it, a layer too.

    Args:
        value: What the name stands for: a function, which becomes a method.
        shown: Whether the name stands for what the function returns.
        bound: Whether the function takes the module.
    """

    def __init__(self, value: Callable[..., Any], shown: bool = False, bound: bool = True) -> None:
        self.value, self.shown, self.bound = value, shown, bound
        self.__doc__ = value.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self if self.shown else self.value
        if sys._getframe(1).f_globals.get("__name__", "").startswith(("torch.nn.modules", "torch.jit")):
            raise AttributeError(self.name)  # it asks whether the name is taken, or looks at all that there is
        for place in ("_modules", "_parameters", "_buffers"):
            if self.name in instance.__dict__.get(place, ()):
                return instance.__dict__[place][self.name]
        if self.shown:
            return self.value(instance)
        return self.value.__get__(instance, owner) if self.bound else self.value


def _summarize(module: LightningModule, mode: str | None = "top", max_depth: int | None = None) -> ModelSummary | None:
    """Shows a summary of the model, and returns it.

    Args:
        module: The model.
        mode: ``"top"`` for the model's own layers, ``"full"`` for all of them, None for none.
        max_depth: How deep to go, in place of `mode`.
    """
    from fulmen.utilities.model_summary.model_summary import ModelSummary

    hint("`summarize`", "`ModelSummary(model, max_depth=1)` of `fulmen.utilities.model_summary`.")
    depths = {"top": 1, "full": -1, None: 0}
    if max_depth is None and mode not in depths:
        raise MisconfigurationException(
            '`mode` is one of "top", "full" and None.', got=mode, fix="`model.summarize(max_depth=2)`."
        )
    if max_depth is None and mode is None:
        return None
    summary = ModelSummary(module, max_depth=depths[mode] if max_depth is None else max_depth)
    rank_zero_info("\n" + str(summary))
    return summary


def _model_size(module: LightningModule) -> float:
    """The size of the weights as a file, in millions of bytes."""
    hint("`model_size`", "`ModelSummary(model).model_size`.")
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    return buffer.tell() / 1e6


def _progress_bar_dict(module: LightningModule) -> dict[str, Any]:
    """What the bar shows of its own: the version of the run. Override it to show more."""
    from fulmen.callbacks.progress.progress_bar import get_standard_metrics

    return dict(get_standard_metrics(module.trainer)) if module._trainer is not None else {}


def _log_grad_norm(module: LightningModule, grad_norm_dict: dict[str, float]) -> None:
    """Logs the norms that ``track_grad_norm`` asks for. Override it to log them in another way.

    Args:
        module: The model.
        grad_norm_dict: The norms by name.
    """
    module.log_dict(grad_norm_dict, on_step=True, on_epoch=True, prog_bar=False, logger=True)


def _tbptt_split_batch(module: LightningModule, batch: Any, split_size: int) -> list[Any]:
    """Splits a batch along time. Override it for batches of another form.

    Args:
        module: The model.
        batch: A sequence of tensors, or of sequences, of shape (batch, time, ...).
        split_size: How many time steps go into a split.

    Returns:
        The splits.
    """
    from fulmen.compat.v1.splits import split_batch

    return split_batch(batch, split_size)


def _add_to_queue(module: LightningModule, queue: Any) -> None:
    """Puts the metrics into a queue, for another process.

    Args:
        module: The model.
        queue: The queue.
    """
    queue.put(apply_to_collection(dict(module.trainer.callback_metrics.items()), Tensor, lambda one: one.cpu().numpy()))


def _get_from_queue(module: LightningModule, queue: Any) -> None:
    """Takes the metrics that :meth:`add_to_queue` of another process put there.

    Args:
        module: The model.
        queue: The queue.
    """
    for name, value in queue.get().items():
        module.trainer.callback_metrics[name] = torch.as_tensor(value)


def _manual_optimizer_step(
    module: LightningModule, optimizer: Any, *args: Any, optimizer_closure: Any = None, **kwargs: Any
) -> None:
    """Steps an optimizer under manual optimization, and clears its gradients.

    Args:
        module: The model.
        optimizer: One of its optimizers.
        *args: Without effect.
        optimizer_closure: Computes the loss and its gradients.
        **kwargs: Without effect: ``force_optimizer_step``, ``make_optimizer_step``.
    """
    hint("`self.manual_optimizer_step(optimizer)`", "`optimizer.step()` and `optimizer.zero_grad()`.")
    found: Any = module.optimizers()
    several = found if isinstance(found, list) else [found]
    stepped = next((one for one in several if getattr(one, "optimizer", None) is optimizer), optimizer)
    if optimizer_closure is None:
        stepped.step()
    else:
        stepped.step(closure=optimizer_closure)
    stepped.zero_grad()


def _datamodule(module: LightningModule) -> Any:
    """The data module of the run."""
    found = module._trainer.datamodule if module._trainer is not None else None
    if found is None:
        raise AttributeError("datamodule")  # whoever asks whether there is one hears that there is none
    hint("`self.datamodule`", "`self.trainer.datamodule`.")
    return found


def _use_amp(module: LightningModule) -> bool:
    """Whether it runs in 16 bits."""
    hint("`self.use_amp`", "`self.trainer.precision`.")
    return module._trainer is not None and str(module._trainer.precision).startswith("16")


@add_hooks(MODULE)
class WORDS:
    """Names that today's class does not have."""

    datamodule = Word(_datamodule, shown=True)
    use_amp = Word(_use_amp, shown=True)

    truncated_bptt_steps = Word(lambda self: 0, shown=True)
    loaded_optimizer_states_dict = Word(
        lambda self: self.__dict__.setdefault("loaded_optimizer_states_dict", {}), shown=True
    )
    model_size = Word(_model_size, shown=True)
    summarize = Word(_summarize)
    get_progress_bar_dict = Word(_progress_bar_dict)
    log_grad_norm = Word(_log_grad_norm)
    tbptt_split_batch = Word(_tbptt_split_batch)
    add_to_queue = Word(_add_to_queue)
    get_from_queue = Word(_get_from_queue)
    manual_optimizer_step = Word(_manual_optimizer_step)
    from_compiled = Word(from_compiled, bound=False)
    to_uncompiled = Word(to_uncompiled, bound=False)


class SIGNATURES(DATA, MODEL, SHOWN):
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""

    def log(
        self: Any,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool | None = False,
        *,
        tbptt_reduce_fx: Any = None,
        tbptt_pad_token: Any = None,
        sync_dist_op: Any = None,
    ) -> None:
        """Logs a scalar under a name; see ``LightningModule.log`` of today.

        Args:
            name: The key.
            value: A number, a tensor with one element, or a TorchMetrics metric.
            prog_bar: Show it in the progress bar.
            logger: Send it to the loggers.
            on_step: Log the value of each step.
            on_epoch: Log the value reduced over the epoch.
            reduce_fx: How steps become the epoch's value; ``"default"`` is ``"mean"``.
            enable_graph: Keep the autograd graph of the value.
            sync_dist: Reduce over processes.
            sync_dist_group: The process group to reduce over.
            add_dataloader_idx: With several evaluation loaders, append ``/dataloader_idx_N`` to the key.
            batch_size: The weight of this batch in the mean.
            metric_attribute: The name of the module's attribute that holds the metric.
            rank_zero_only: Log on rank 0 alone.
            tbptt_reduce_fx: Without effect: the splits of a batch are steps like others.
            tbptt_pad_token: Without effect.
            sync_dist_op: Without effect: `reduce_fx` says how processes are reduced.
        """
        book = self._logbook
        if book is None:
            warn_once(
                "`self.log` was called on a module that no Trainer runs, so the value goes nowhere. Call it from a "
                "hook of a module that `Trainer.fit`, `validate` or `test` runs."
            )
            return
        if tbptt_reduce_fx is not None or tbptt_pad_token is not None or sync_dist_op is not None:
            _hint_log()
        asked = (
            prog_bar, logger, on_step, on_epoch, "mean" if reduce_fx == "default" else reduce_fx, enable_graph,
            sync_dist, sync_dist_group, add_dataloader_idx, metric_attribute, rank_zero_only or False,
        )  # fmt: skip
        try:
            entry = book.entries.get(name)
        except TypeError:  # a key that is no string, as `admit` will say
            entry = None
        if entry is None or entry.asked != asked:
            entry = book.admit(name, value, LogOptions(*asked))
        entry.take(value, batch_size)

    def log_dict(
        self: Any,
        dictionary: Mapping[str, Any],
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool | None = False,
        *,
        tbptt_reduce_fx: Any = None,
        tbptt_pad_token: Any = None,
        sync_dist_op: Any = None,
    ) -> None:
        """Logs several scalars with the same options; see :meth:`log`.

        Args:
            dictionary: The values by key.
            prog_bar: See :meth:`log`, also for the arguments that follow.
            logger: See :meth:`log`.
            on_step: See :meth:`log`.
            on_epoch: See :meth:`log`.
            reduce_fx: See :meth:`log`.
            enable_graph: See :meth:`log`.
            sync_dist: See :meth:`log`.
            sync_dist_group: See :meth:`log`.
            add_dataloader_idx: See :meth:`log`.
            batch_size: See :meth:`log`.
            rank_zero_only: See :meth:`log`.
            tbptt_reduce_fx: Without effect.
            tbptt_pad_token: Without effect.
            sync_dist_op: Without effect.
        """
        if not isinstance(dictionary, Mapping) and not hasattr(dictionary, "items"):
            raise MisconfigurationException(
                "`self.log_dict` takes a mapping of names to values.",
                got=f"{type(dictionary).__name__}",
                fix='Write `self.log_dict({"loss": loss, "acc": acc})`, or `self.log("loss", loss)` for one value.',
            )
        if tbptt_reduce_fx is not None or tbptt_pad_token is not None or sync_dist_op is not None:
            _hint_log()
        collection = any(base.__name__ == "MetricCollection" for base in type(dictionary).__mro__)
        kwargs: dict[str, Any] = {"keep_base": False} if collection else {}
        for name, value in dictionary.items(**kwargs):
            self.log(
                name, value, prog_bar=prog_bar, logger=logger, on_step=on_step, on_epoch=on_epoch,
                reduce_fx="mean" if reduce_fx == "default" else reduce_fx, enable_graph=enable_graph,
                sync_dist=sync_dist, sync_dist_group=sync_dist_group, add_dataloader_idx=add_dataloader_idx,
                batch_size=batch_size, rank_zero_only=rank_zero_only or False,
            )  # fmt: skip

    def optimizer_step(
        self: Any,
        epoch: int | None = None,
        batch_idx: int | None = None,
        optimizer: Any = None,
        optimizer_idx: Any = 0,
        optimizer_closure: Callable[[], Any] | None = None,
        on_tpu: bool = False,
        using_native_amp: bool = False,
        using_lbfgs: bool = False,
        *,
        second_order_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Steps the optimizer.

        Args:
            epoch: The running epoch.
            batch_idx: The running batch.
            optimizer: The optimizer.
            optimizer_idx: Its number; or the closure, in its place of today.
            optimizer_closure: Computes the loss and its gradients.
            on_tpu: Without effect.
            using_native_amp: Without effect.
            using_lbfgs: Without effect.
            second_order_closure: The closure, as it was called up to 1.0.
        """
        closure = optimizer_closure or second_order_closure or (optimizer_idx if callable(optimizer_idx) else None)
        optimizer.step(closure=closure)

    def optimizer_zero_grad(self: Any, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int = 0) -> None:
        """Clears gradients at the start of each accumulation window.

        Args:
            epoch: The running epoch.
            batch_idx: The running batch.
            optimizer: The optimizer.
            optimizer_idx: Its number.
        """
        optimizer.zero_grad()

    def lr_scheduler_step(self: Any, scheduler: Any, *args: Any, metric: Any = _MISSING, **kwargs: Any) -> None:
        """Steps a scheduler: ``lr_scheduler_step(scheduler, metric)``, or with the optimizer's number before `metric`.

        Args:
            scheduler: The scheduler.
            *args: The optimizer's number, and the metric.
            metric: The monitored value, or None.
            **kwargs: ``optimizer_idx``.
        """
        unknown = kwargs.keys() - {"optimizer_idx"}
        if unknown or len(args) > 2:
            raise MisconfiguredType(
                "`lr_scheduler_step` takes a scheduler and a metric.",
                got=f"{sorted(unknown) or [scheduler, *args]}",
                fix="`super().lr_scheduler_step(scheduler, metric)`.",
            )
        if metric is _MISSING:
            metric = args[-1] if args else None
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)

    def backward(self: Any, loss: Tensor, *args: Any, optimizer_idx: Any = None, **kwargs: Any) -> None:
        """Runs backward on a loss: ``backward(loss)``, or with the optimizer and its number after it.

        Args:
            loss: The loss.
            *args: The optimizer and its number, and what is for ``loss.backward``.
            optimizer_idx: The number.
            **kwargs: ``optimizer``, and what is for ``loss.backward``.
        """
        kwargs.pop("optimizer", None)
        if args and (args[0] is None or isinstance(args[0], Optimizer)):
            args = args[2:] if len(args) > 1 and (args[1] is None or isinstance(args[1], int)) else args[1:]
        _backward(self, loss, *args, **kwargs)

    def manual_backward(self: Any, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Runs backward from ``training_step`` under manual optimization.

        Args:
            loss: A scalar with a graph.
            *args: For ``loss.backward``; an optimizer is passed over.
            **kwargs: For ``loss.backward``; `optimizer` is passed over.

        Raises:
            MisconfigurationException: Under automatic optimization.
        """
        require_manual(self, "manual_backward")
        given = kwargs.pop("optimizer", None)
        if args and isinstance(args[0], Optimizer):
            given, *rest = args
            args = tuple(rest[1:] if rest and isinstance(rest[0], int) else rest)
        if given is not None:
            hint("`manual_backward(loss, optimizer)`", "`self.manual_backward(loss)`.")
        self.trainer.fit_loop.optimization.backward(loss, None, *args, **kwargs)

    def configure_gradient_clipping(
        self: Any,
        optimizer: Any,
        optimizer_idx: Any = None,
        gradient_clip_val: Any = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips gradients before the optimizer steps.

        Args:
            optimizer: The optimizer about to step.
            optimizer_idx: Its number; or the limit, in its place of today.
            gradient_clip_val: The limit; or the algorithm, in its place of today.
            gradient_clip_algorithm: The algorithm.
        """
        if isinstance(gradient_clip_val, str) or (
            gradient_clip_val is None and optimizer_idx is not None and type(optimizer_idx) is not int
        ):
            gradient_clip_val, gradient_clip_algorithm = optimizer_idx, gradient_clip_val or gradient_clip_algorithm
        _clip(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def toggle_optimizer(self: Any, optimizer: Any, optimizer_idx: int | None = None) -> None:
        """Lets only one optimizer's parameters collect gradients.

        Args:
            optimizer: The one to leave on.
            optimizer_idx: Its number.
        """
        _toggle(self, optimizer)

    def untoggle_optimizer(self: Any, optimizer: Any = None, optimizer_idx: int | None = None) -> None:
        """Undoes :meth:`toggle_optimizer`.

        Args:
            optimizer: The one that was left on, or its number.
            optimizer_idx: Its number.
        """
        index = optimizer if isinstance(optimizer, int) else optimizer_idx
        _untoggle(self, optimizer if index is None else self.trainer.optimizers[index])


def _hint_log() -> None:
    hint(
        "`self.log` with `tbptt_reduce_fx`, `tbptt_pad_token` or `sync_dist_op`",
        "leave them out; `reduce_fx` says how steps and processes are reduced.",
    )
