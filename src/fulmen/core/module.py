"""``LightningModule``: the model, its steps and its optimizers, in one class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from fulmen.core.device_dtype import DeviceDtypeMixin
from fulmen.core.hooks import CheckpointHooks, DataHooks, ModelHooks
from fulmen.core.hparams import HyperparametersMixin
from fulmen.core.logging import LoggingMixin
from fulmen.core.optimization import OptimizationMixin
from fulmen.core.run_state import RunStateMixin
from fulmen.utilities.class_only import class_only
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.generations import stand_in, taught
from fulmen.utilities.tree import apply_to_collection

if TYPE_CHECKING:
    from fulmen.callbacks.callback import Callback
    from fulmen.core.logging import LogBook
    from fulmen.trainer.trainer import Trainer


@taught
class LightningModule(
    RunStateMixin,
    DeviceDtypeMixin,
    HyperparametersMixin,
    LoggingMixin,
    OptimizationMixin,
    ModelHooks,
    DataHooks,
    CheckpointHooks,
    nn.Module,
):
    """The model and what belongs to it: write layers in ``__init__``, a ``training_step`` and the optimizer.

    Example:
        >>> import torch
        >>> from fulmen import LightningModule
        >>> class Regression(LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(2, 1)
        ...     def training_step(self, batch, batch_idx):
        ...         x, y = batch
        ...         loss = torch.nn.functional.mse_loss(self.layer(x), y)
        ...         self.log("train_loss", loss, prog_bar=True)
        ...         return loss
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.1)
        >>> Regression().global_step
        0
    """

    CHECKPOINT_HYPER_PARAMS_KEY = "hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "hparams_type"

    # TorchScript would try to compile properties that belong to a run
    __jit_unused_properties__: ClassVar[list[str]] = [
        "automatic_optimization", "current_epoch", "device_mesh", "example_input_array", "fabric", "global_rank",
        "global_step", "hparams", "hparams_initial", "local_rank", "logger", "loggers", "on_gpu", "strict_loading",
        "trainer",
    ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trainer: Trainer | None = None
        self._fabric: Any = None
        self._logbook: LogBook | None = None
        self._automatic_optimization = True
        self._strict_loading: bool | None = None
        self._example_input_array: Any = None
        self._toggled = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What ``self(...)`` computes; as in any ``torch.nn.Module``."""
        return super().forward(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the loss of one batch.

        Called as ``training_step(batch, batch_idx)``.

        Returns:
            The loss; or a dict with ``"loss"`` and whatever else callbacks should see in ``on_train_batch_end``
            (``"loss_weight"``, the number of samples or tokens behind the loss, weighs it in an accumulation window);
            or None to skip the batch. Where `configure_optimizers` names its optimizers: a dict of losses by these
            names, computed in one forward; or a generator that yields ``name, loss``, one after the other, each being
            learned from before the generator goes on. Each loss trains the parameters of its optimizer only.
        """
        raise MisconfigurationException(
            f"`{type(self).__name__}` has no `training_step`.",
            fix="Write `def training_step(self, batch, batch_idx): ...` and return the loss.",
        )

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Works on one validation batch.

        Called as ``validation_step(batch, batch_idx)``, with ``dataloader_idx`` as the third argument where there
        are several loaders. What it returns is handed to ``on_validation_batch_end``.
        """

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Works on one test batch; see :meth:`validation_step`."""

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Works on one batch of prediction; by default it returns ``self(batch)``."""
        batch = kwargs.get("batch", args[0] if args else None)
        return self(batch)

    def configure_callbacks(self) -> Sequence[Callback] | Callback:
        """Callbacks that this model brings along. One of the Trainer's of the same type gives way to it."""
        return []

    @property
    def automatic_optimization(self) -> bool:
        """Whether the Trainer calls backward and steps the optimizer. Set it to False to do it in `training_step`."""
        return self._automatic_optimization

    @automatic_optimization.setter
    def automatic_optimization(self, automatic_optimization: bool) -> None:
        self._automatic_optimization = automatic_optimization

    @property
    def strict_loading(self) -> bool:
        """Whether loading weights insists on every key. True unless set."""
        return True if self._strict_loading is None else self._strict_loading

    @strict_loading.setter
    def strict_loading(self, strict_loading: bool) -> None:
        self._strict_loading = strict_loading

    @property
    def example_input_array(self) -> Any:
        """An input of ``forward``, as a tensor, tuple or dict: for summaries, graphs and exports."""
        return self._example_input_array

    @example_input_array.setter
    def example_input_array(self, example: Any) -> None:
        self._example_input_array = example

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Prints on rank 0 alone, above a progress bar where there is one.

        Args:
            *args: As for ``print``.
            **kwargs: As for ``print``.
        """
        if self._trainer is not None:
            self._trainer.print(*args, **kwargs)
        else:
            print(*args, **kwargs)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Collects tensors of all processes.

        Args:
            data: A tensor, a number, or a nest of them, of the same shape on every process.
            group: The process group; None for all.
            sync_grads: Whether gradients flow back through it.

        Returns:
            The same nest, each leaf of shape ``(world_size, ...)``; with one process the leaf as it is.
        """
        strategy = self.trainer.strategy

        def gather(leaf: Any) -> Any:
            tensor = leaf if isinstance(leaf, Tensor) else torch.tensor(leaf, device=self.device)
            return strategy.all_gather(tensor, group=group, sync_grads=sync_grads)

        return apply_to_collection(data, (Tensor, int, float, bool), gather)

    def freeze(self) -> None:
        """Turns all gradients off and evaluation mode on, for inference."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        self.eval()

    def unfreeze(self) -> None:
        """Turns all gradients and training mode on."""
        for parameter in self.parameters():
            parameter.requires_grad = True
        self.train()

    @class_only
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Makes a model of a checkpoint: its hyper-parameters go to ``__init__``, its weights into the layers.

        Args:
            checkpoint_path: A path or an open file.
            map_location: Where the weights go; see ``torch.load``.
            hparams_file: A YAML or CSV file with hyper-parameters, for a checkpoint that holds none.
            strict: Whether every key must match; None takes the module's ``strict_loading``.
            weights_only: None and True read tensors and plain data alone; False may run code: for files you trust.
            **kwargs: Arguments of ``__init__`` that the checkpoint does not hold, or that replace its own.

        Returns:
            The model.
        """
        from fulmen.core import saving  # only those who load pay for it

        return saving.load_from_checkpoint(
            cls, checkpoint_path, map_location=map_location, hparams_file=hparams_file, strict=strict,
            weights_only=weights_only, **kwargs,
        )  # fmt: skip

    def to_onnx(self, file_path: Any = None, input_sample: Any = None, **kwargs: Any) -> Any:
        """Writes the model as ONNX.

        Args:
            file_path: A path or an open binary file.
            input_sample: An input of ``forward``; None takes ``example_input_array``.
            **kwargs: For ``torch.onnx.export``.

        Returns:
            What ``torch.onnx.export`` returns.
        """
        from fulmen.core import export

        return export.to_onnx(self, file_path, input_sample, **kwargs)

    def to_torchscript(
        self, file_path: Any = None, method: str | None = "script", example_inputs: Any = None, **kwargs: Any
    ) -> Any:
        """Makes TorchScript of the model.

        Args:
            file_path: Where to save it, if anywhere.
            method: ``"script"`` or ``"trace"``.
            example_inputs: For tracing; None takes ``example_input_array``.
            **kwargs: For ``torch.jit.script`` or ``torch.jit.trace``.

        Returns:
            The scripted model.
        """
        from fulmen.core import export

        return export.to_torchscript(self, file_path, method, example_inputs, **kwargs)

    def to_tensorrt(
        self,
        file_path: str | IO[bytes] | None = None,
        input_sample: Any = None,
        ir: str = "default",
        output_format: str = "exported_program",
        retrace: bool = False,
        default_device: str | torch.device = "cuda",
        **compile_kwargs: Any,
    ) -> Any:
        """Compiles the model with ``torch_tensorrt``.

        Args:
            file_path: Where to save it, if anywhere.
            input_sample: An input of ``forward``; None takes ``example_input_array``.
            ir: The intermediate representation; see ``torch_tensorrt.compile``.
            output_format: See ``torch_tensorrt.save``.
            retrace: See ``torch_tensorrt.save``.
            default_device: The device to compile for, where the model lies on the CPU.
            **compile_kwargs: For ``torch_tensorrt.compile``.

        Returns:
            The compiled model.
        """
        from fulmen.core import export

        return export.to_tensorrt(
            self, file_path, input_sample, ir=ir, output_format=output_format, retrace=retrace,
            default_device=default_device, **compile_kwargs,
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_trainer": None, "_logbook": None, "_stand_ins": {}, "_optimization_kind": None}


def overridden(instance: object, name: str, *bases: type) -> Callable[..., Any] | None:
    """A method where the user wrote it, else None.

    Args:
        instance: Whose method.
        name: Its name.
        *bases: The classes whose own versions do not count.

    Returns:
        The bound method, or what stands in for it; None where it is missing or a base's.
    """
    try:
        method = stand_in(instance, name)
    except AttributeError:
        return None
    function = getattr(method, "__func__", method)
    if any(function is getattr(base, name, None) for base in bases):
        return None
    return method  # type: ignore[no-any-return]
