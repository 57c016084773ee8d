"""The callbacks that everybody uses have the effects that Lightning's have."""

from __future__ import annotations

import inspect
import logging
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import StepLR

from .callback_scripts import QUIET, batches, memory_logger, model, part
from .scenarios import quiet

MOMENTUM: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.AdamW(p, 0.1, betas=(0.8, 0.9), weight_decay=0.02),
    "plain": lambda p: torch.optim.Adagrad(p, 0.1),
    "groups": lambda p: torch.optim.SGD(
        [{"params": p[:1], "name": "weights"}, {"params": p[1:], "momentum": 0.5}], 0.2
    ),
}


@pytest.mark.parametrize("interval", [None, "step", "epoch"])
@pytest.mark.parametrize("kind", MOMENTUM)
@pytest.mark.parametrize("scheduler", [None, "step", "epoch", "named"])
def test_learning_rate_monitor(
    lightning: ModuleType, fulmen: ModuleType, scheduler: str | None, kind: str, interval: str | None
) -> None:
    def script(pl: ModuleType) -> Any:
        def configure_optimizers(self: Any) -> Any:
            optimizer = MOMENTUM[kind](list(self.parameters()))
            if scheduler is None:
                return optimizer
            config = {"scheduler": StepLR(optimizer, 1, 0.5), "interval": "step" if scheduler == "step" else "epoch"}
            if scheduler == "named":
                config["name"] = "rate"
            return {"optimizer": optimizer, "lr_scheduler": config}

        logger = memory_logger(pl)
        monitor = pl.callbacks.LearningRateMonitor(interval, log_momentum=True, log_weight_decay=kind != "plain")
        trainer = pl.Trainer(max_epochs=3, logger=logger, callbacks=[monitor], log_every_n_steps=2, **QUIET)
        trainer.fit(model(pl, configure_optimizers=configure_optimizers), batches(3))
        seen = {key: float(value) for key, value in trainer.callback_metrics.items()}
        return logger.rows, monitor.lrs, monitor.last_momentum_values, monitor.last_weight_decay_values, seen

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs
    assert ours[0]


COURSES: dict[str, Any] = {
    "gets worse": [3.0, 2.0, 2.5, 2.6, 2.7, 2.8, 2.9, 3.0],
    "gets better": [3.0, 2.0, 1.5, 1.0, 0.5, 0.2, 0.1, 0.0],
    "hardly": [3.0, 2.95, 2.9, 2.85, 2.8, 2.7, 2.6, 2.5],
    "not finite": [3.0, 2.0, float("nan"), 1.0, 1.0, 1.0, 1.0, 1.0],
}
STOPS: dict[str, dict[str, Any]] = {
    "patience": {"patience": 2},
    "at once": {"patience": 0},
    "at the start of an epoch": {"patience": 2, "check_on_train_epoch_end": True},
    "delta": {"min_delta": 0.2, "patience": 2},
    "max": {"mode": "max", "min_delta": 0.1},
    "threshold": {"stopping_threshold": 1.2, "patience": 9},
    "divergence": {"divergence_threshold": 2.65, "patience": 9},
    "finite or not": {"check_finite": False, "patience": 3},
    "missing": {"monitor": "other", "strict": False},
}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("course", COURSES)
def test_early_stopping(lightning: ModuleType, fulmen: ModuleType, course: str, stop: str) -> None:
    def script(pl: ModuleType) -> Any:
        values = iter(COURSES[course])

        def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
            self.log("value", next(values))

        options = {"monitor": "value", "verbose": True, **STOPS[stop]}
        callback = pl.callbacks.EarlyStopping(**options)
        flags = {**QUIET, "num_sanity_val_steps": 0}
        trainer = pl.Trainer(max_epochs=8, logger=False, callbacks=[callback], **flags)
        trainer.fit(model(pl, validation_step=validation_step), batches(2), batches(1))
        state = {name: repr(value) for name, value in callback.state_dict().items()}
        message = callback.stopping_reason_message
        if callback.stopping_reason.name == "DIVERGENCE_THRESHOLD":  # Lightning's text has the sign of the other side
            assert message.index("value") < message.index("2.65")
            message = message.replace(" < ", " > ")
            state["stopping_reason_message"] = repr(message)
        reason = (callback.stopping_reason.name, callback.stopping_reason.value, message)
        return state, reason, callback.state_key, trainer.current_epoch, trainer.should_stop, next(values, None)

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours[1:] == theirs[1:]
    assert {name: ours[0].get(name) for name in theirs[0]} == theirs[0]


def test_early_stopping_says_the_same(
    lightning: ModuleType, fulmen: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    texts: list[list[str]] = []
    for pl in (lightning, fulmen):
        caplog.clear()
        values = iter(COURSES["gets worse"])

        def validation_step(self: Any, batch: Any, batch_idx: int, values: Any = values) -> None:
            self.log("value", next(values))

        flags = {**QUIET, "num_sanity_val_steps": 0}
        stop = pl.callbacks.EarlyStopping("value", patience=2, verbose=True, log_rank_zero_only=True)
        with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.INFO):
            patch.setattr("warnings.warn", lambda *_, **__: None)
            trainer = pl.Trainer(max_epochs=8, logger=False, callbacks=[stop], **flags)
            trainer.fit(model(pl, validation_step=validation_step), batches(2), batches(1))
        texts.append([text for text in caplog.messages if "etric" in text and "Tip" not in text])
    assert texts[1] == texts[0]
    assert len(texts[1]) == 3


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("duration", [None, "00:00:00:00", {"hours": 1}, timedelta(days=1)], ids=str)
def test_timer(lightning: ModuleType, fulmen: ModuleType, duration: Any, interval: str) -> None:
    def script(pl: ModuleType) -> Any:
        timer = pl.callbacks.Timer(duration, interval=interval)
        trainer = pl.Trainer(max_epochs=2, logger=False, callbacks=[timer], **QUIET)
        module = model(pl)
        trainer.fit(module, batches(3), batches(1))
        trainer.test(module, batches(1), verbose=False)
        stages = ("train", "validate", "test", "predict", "sanity_check")
        ran = [(timer.start_time(stage) is None, timer.end_time(stage) is None) for stage in stages]
        left = timer.time_remaining()
        return ran, trainer.global_step, trainer.current_epoch, list(timer.state_dict()), left is None or left > 0

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs


@pytest.mark.parametrize("schedule", [{0: 1}, {0: 2, 2: 3}, {1: 2}, {0: 4, 1: 1, 3: 2}], ids=str)
def test_gradient_accumulation_scheduler(lightning: ModuleType, fulmen: ModuleType, schedule: dict[int, int]) -> None:
    def script(pl: ModuleType) -> Any:
        steps: list[tuple[int, int, int]] = []

        class Watch(pl.Callback):  # type: ignore[misc, name-defined]
            def on_train_batch_end(
                self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                steps.append((batch_idx, trainer.global_step, trainer.accumulate_grad_batches))

        callback = pl.callbacks.GradientAccumulationScheduler(schedule)
        trainer = pl.Trainer(max_epochs=4, logger=False, callbacks=[callback, Watch()], **QUIET)
        trainer.fit(model(pl), batches(6))
        factors = [callback.get_accumulate_grad_batches(epoch) for epoch in range(6)]
        return steps, factors, callback.going_to_accumulate_grad_batches(), callback.scheduling, callback.epochs

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs


def _net(pl: ModuleType, example: bool) -> Any:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten())
    members: dict[str, Any] = {"forward": lambda self, x: self.head(self.net(x))}
    if example:
        members["example_input_array"] = torch.ones(2, 1, 8, 8)
    module = model(pl, **members)
    module.net, module.head = net, torch.nn.Linear(108, 10)
    module.head.bias.requires_grad_(False)
    module.head.eval()
    return module


@pytest.mark.parametrize("depth", [0, 1, 2, -1])
@pytest.mark.parametrize("example", [False, True])
@pytest.mark.parametrize("kind", ["ModelSummary", "RichModelSummary"])
def test_summaries(lightning: ModuleType, fulmen: ModuleType, kind: str, example: bool, depth: int) -> None:
    """What is shown is the same; how the tables look, other tests tell."""

    def script(pl: ModuleType) -> Any:
        shown: list[Any] = []

        class Summary(getattr(pl.callbacks, kind)):  # type: ignore[misc]
            @staticmethod
            def summarize(
                summary_data: Any, total_parameters: int, trainable_parameters: int, model_size: float,
                total_training_modes: Any, total_flops: int, **summarize_kwargs: Any,
            ) -> None:  # fmt: skip
                data = [(title, list(cells)) for title, cells in summary_data]
                totals = (total_parameters, trainable_parameters, model_size, dict(total_training_modes), total_flops)
                shown.append((data, totals, summarize_kwargs))

        flags = {**QUIET, "enable_model_summary": True}
        trainer = pl.Trainer(max_epochs=1, logger=False, callbacks=[Summary(depth)], limit_train_batches=0, **flags)
        trainer.fit(_net(pl, example), batches(1))
        return shown

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs
    assert bool(ours) == bool(depth)


def test_lambda_callback(lightning: ModuleType, fulmen: ModuleType) -> None:
    def script(pl: ModuleType) -> Any:
        heard: list[tuple[str, int]] = []
        hooks = list(inspect.signature(pl.callbacks.LambdaCallback).parameters)

        def listener(name: str) -> Any:
            if name.endswith(("_batch_start", "_batch_end")) and "train" not in name:
                # Fulmen says which loader it is also where there is one, to those who can take it
                if name.endswith("start"):
                    return lambda trainer, module, batch, batch_idx: heard.append((name, batch_idx))
                return lambda trainer, module, outputs, batch, batch_idx: heard.append((name, batch_idx))
            return lambda *args, **kwargs: heard.append((name, len(args) + len(kwargs)))

        callback = pl.callbacks.LambdaCallback(**{name: listener(name) for name in hooks})
        trainer = pl.Trainer(max_epochs=1, logger=False, callbacks=[callback], **QUIET)
        module = model(pl)
        trainer.fit(module, batches(2), batches(1))
        trainer.test(module, batches(1), verbose=False)
        trainer.predict(module, batches(1))
        return hooks, heard

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs


@pytest.mark.parametrize(
    "flags", [{}, {"max_steps": 5}, {"check_val_every_n_epoch": 2}, {"limit_val_batches": 1}], ids=str
)
def test_a_progress_bar_of_ones_own(lightning: ModuleType, fulmen: ModuleType, flags: dict[str, Any]) -> None:
    """Totals, descriptions, loaders and values, as a subclass of `ProgressBar` reads them at each event."""

    def script(pl: ModuleType) -> list[Any]:
        seen: list[Any] = []

        class Bar(part(pl, "callbacks.progress").ProgressBar):  # type: ignore[misc]
            def _note(self, event: str, *more: Any) -> None:
                values = {name: round(float(value), 6) for name, value in self.get_metrics(self.trainer, None).items()}
                seen.append((event, self.total_train_batches, self.total_val_batches, values, *more))

            def disable(self) -> None: ...

            def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
                self._note("epoch")

            def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
                self._note("batch")

            def on_validation_batch_start(
                self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
            ) -> None:
                changed = self.has_dataloader_changed(dataloader_idx)
                kind = "sanity" if trainer.sanity_checking else "val"
                seen.append((kind, batch_idx, changed, self.total_val_batches_current_dataloader))

            def on_validation_end(self, *_: Any) -> None:
                self.reset_dataloader_idx_tracker()

            def on_test_batch_start(
                self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, idx: int = 0
            ) -> None:
                self.has_dataloader_changed(idx)
                seen.append(("test", self.total_test_batches_current_dataloader))

            def on_predict_batch_start(
                self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, idx: int = 0
            ) -> None:
                self.has_dataloader_changed(idx)
                seen.append(("predict", self.total_predict_batches_current_dataloader))

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            self.log("own", float(self.trainer.global_step), prog_bar=True)
            return self.layer(batch).mean()

        bar, module = Bar(), model(pl, training_step=training_step)
        quiet_flags = {**QUIET, "enable_progress_bar": True}
        trainer = pl.Trainer(max_epochs=2, logger=False, callbacks=[bar], **quiet_flags, **flags)
        trainer.fit(module, batches(3), [batches(3), batches(2)])
        trainer.test(module, [batches(1), batches(2)], verbose=False)
        trainer.predict(module, batches(2))
        names = ("sanity_check", "train", "validation", "test", "predict")
        return [*seen, *(getattr(bar, f"{name}_description") for name in names)]

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    if "max_steps" in flags:  # Lightning counts batches that will never come
        theirs, ours = ([one for one in said if one[0] not in ("epoch", "batch")] for said in (theirs, ours))
    assert ours == theirs


def test_reasons_to_stop_are_the_same(lightning: ModuleType, fulmen: ModuleType) -> None:
    reasons = [
        {one.name: one.value for one in part(pl, "callbacks.early_stopping").EarlyStoppingReason}
        for pl in (lightning, fulmen)
    ]
    assert reasons[0] == reasons[1]
    assert len(reasons[1]) == 5
