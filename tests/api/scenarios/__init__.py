"""Real uses of everything in the list: functions that take a folder of their own. Add yours to :data:`ALL`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import command, machine, models, runs, services, tools, training

ALL: list[Callable[[Path], None]] = [
    runs.fit_with_callbacks,
    runs.resume_and_evaluate,
    runs.rich_output,
    runs.manual_optimization,
    runs.profiled,
    runs.served,
    runs.interrupted_by_an_error,
    models.boring,
    models.words,
    models.digits,
    models.exported,
    models.hyper_parameters,
    models.summaries,
    machine.devices,
    machine.environments,
    machine.precisions,
    machine.strategies,
    machine.several_processes,
    machine.checkpoints,
    tools.loaders_and_batches,
    tools.numbers,
    tools.loggers,
    tools.messages,
    tools.old_checkpoints,
    tools.parsing_arguments,
    tools.shared_and_compiled,
    training.finetuned,
    training.averaged,
    training.pruned,
    training.watched,
    training.settings_found,
    training.measured,
    command.command_line,
    services.neptune,
]
"""Each is run once, in this order."""

ELSEWHERE = (("comet",), ("mlflow", "wandb"))
"""Scenarios of ``services.py`` that are run in processes of their own."""
