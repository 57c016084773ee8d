"""What code around Fulmen finds inside a Trainer under the names it knows: views, made for who asks.

A library that derives from `Trainer` may replace one of the methods that a run consists of, from ``_fit_impl`` to
``_teardown``. Only then does a run go by them (``execute.is_run_in_parts``).
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.states import TrainerFn, TrainerState

if TYPE_CHECKING:
    from fulmen.loops.evaluate import EvaluationLoop
    from fulmen.trainer.connectors.accelerator_connector import _AcceleratorConnector
    from fulmen.trainer.connectors.callback_connector import _CallbackConnector
    from fulmen.trainer.connectors.checkpoint_connector import _CheckpointConnector
    from fulmen.trainer.connectors.data_connector import _DataConnector
    from fulmen.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
    from fulmen.trainer.connectors.logger_connector.result import _ResultCollection
    from fulmen.trainer.connectors.signal_connector import _SignalConnector
    from fulmen.trainer.execute import Job
    from fulmen.trainer.trainer import Trainer


class _UntilSet:
    """Shows another attribute until somebody sets this one; what is set is what is there then."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else getattr(instance, self.name)


class InsideViews:
    """Parts of a Trainer, and of a run, that libraries reach for."""

    state: TrainerState
    detect_anomaly: bool
    _job: Job | None = None

    @cached_property
    def _accelerator_connector(self) -> _AcceleratorConnector:
        from fulmen.trainer.connectors.accelerator_connector import _AcceleratorConnector

        return _AcceleratorConnector.of(self._trainer)

    @cached_property
    def _checkpoint_connector(self) -> _CheckpointConnector:
        from fulmen.trainer.connectors.checkpoint_connector import _CheckpointConnector

        return _CheckpointConnector(self._trainer)

    @cached_property
    def _data_connector(self) -> _DataConnector:
        from fulmen.trainer.connectors.data_connector import _DataConnector

        return _DataConnector(self._trainer)

    @cached_property
    def _callback_connector(self) -> _CallbackConnector:
        from fulmen.trainer.connectors.callback_connector import _CallbackConnector

        return _CallbackConnector(self._trainer)

    @cached_property
    def _logger_connector(self) -> _LoggerConnector:
        from fulmen.trainer.connectors.logger_connector.logger_connector import _LoggerConnector

        return _LoggerConnector(self._trainer)

    @cached_property
    def _signal_connector(self) -> _SignalConnector:
        from fulmen.trainer.connectors.signal_connector import _SignalConnector

        return _SignalConnector(self._trainer)

    @property
    def _trainer(self) -> Trainer:
        return self  # type: ignore[return-value]

    @property
    def _detect_anomaly(self) -> bool:
        return self.detect_anomaly

    @_detect_anomaly.setter
    def _detect_anomaly(self, value: bool) -> None:
        self.detect_anomaly = value

    _model = _UntilSet("lightning_module")  # libraries keep things of their own there

    @property
    def _active_loop(self) -> Any:
        """The loop that runs; None between runs."""
        trainer = self._trainer
        if trainer.training:
            return trainer.fit_loop
        if trainer.evaluating:
            return self._evaluation_loop
        return trainer.predict_loop if trainer.predicting else None

    @property
    def _evaluation_loop(self) -> EvaluationLoop:
        """The loop that validates or tests."""
        trainer, fn = self._trainer, self.state.fn
        if fn == TrainerFn.FITTING:
            return trainer.fit_loop.validation
        if fn in (TrainerFn.VALIDATING, TrainerFn.TESTING):
            return trainer.validate_loop if fn == TrainerFn.VALIDATING else trainer.test_loop
        raise MisconfiguredRun(
            "Only `fit`, `validate` and `test` have a loop that evaluates.",
            got=f"`trainer._evaluation_loop` while the Trainer runs {'nothing' if fn is None else f'`{fn}`'}",
            fix="Take `trainer.validate_loop` or `trainer.test_loop`.",
        )

    @property
    def _results(self) -> _ResultCollection | None:
        """What was logged in the pass that runs; None between runs."""
        from fulmen.trainer.connectors.logger_connector.result import _ResultCollection

        results = getattr(self._active_loop, "_results", None)
        return None if results is None else _ResultCollection(results)

    # The parts of a run, in the order in which each calls the next.

    def _fit_impl(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        ckpt_path: Any = None,
        weights_only: bool | None = None,
    ) -> None:
        loaders = {"train_dataloaders": train_dataloaders, "val_dataloaders": val_dataloaders}
        self._begin(TrainerFn.FITTING, model, datamodule, loaders, ckpt_path, weights_only)

    def _validate_impl(
        self,
        model: Any = None,
        dataloaders: Any = None,
        ckpt_path: Any = None,
        verbose: bool = True,
        datamodule: Any = None,
        weights_only: bool | None = None,
    ) -> Any:
        loaders = {"dataloaders": dataloaders}
        return self._begin(TrainerFn.VALIDATING, model, datamodule, loaders, ckpt_path, weights_only)

    def _test_impl(
        self,
        model: Any = None,
        dataloaders: Any = None,
        ckpt_path: Any = None,
        verbose: bool = True,
        datamodule: Any = None,
        weights_only: bool | None = None,
    ) -> Any:
        loaders = {"dataloaders": dataloaders}
        return self._begin(TrainerFn.TESTING, model, datamodule, loaders, ckpt_path, weights_only)

    def _predict_impl(
        self,
        model: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        return_predictions: bool | None = None,
        ckpt_path: Any = None,
        weights_only: bool | None = None,
    ) -> Any:
        self._trainer.predict_loop.return_predictions = return_predictions is not False
        loaders = {"dataloaders": dataloaders}
        return self._begin(TrainerFn.PREDICTING, model, datamodule, loaders, ckpt_path, weights_only)

    def _begin(self, *job: Any) -> Any:
        from fulmen.trainer.execute import Job, backends, take_note

        self._job = made = Job(*job)
        take_note(self._trainer, made.fn)
        with backends(self._trainer):
            return self._run(made.model, ckpt_path=made.ckpt_path, weights_only=made.weights_only)

    def _run(self, model: Any, ckpt_path: Any = None, weights_only: bool | None = None) -> Any:
        from fulmen.trainer.execute import begin, end

        assert self._job is not None
        job = dataclasses.replace(self._job, model=model, ckpt_path=ckpt_path, weights_only=weights_only)
        self._job = None
        begin(self._trainer, job)
        result = self._run_stage()
        self._teardown()
        end(self._trainer, job.fn)
        return result

    def _run_stage(self) -> Any:
        trainer = self._trainer
        if self.state.fn != TrainerFn.FITTING:
            return trainer.loop_of(self.state.fn).run()  # type: ignore[arg-type]
        trainer.signals.listen(trainer)
        self._run_sanity_check()
        trainer.fit_loop.run()
        trainer.signals.close(trainer)
        return None

    def _run_sanity_check(self) -> None:
        from fulmen.loops.sanity import sanity_check

        sanity_check(self._trainer.fit_loop)

    def _teardown(self) -> None:
        """Called when the loop has ended; what is to be taken down is, whoever replaces this."""
