"""A command line parses, saves and trains as under PyTorch Lightning: one script, with only the import changed.

Left out: the header with the version, the two flags that only Fulmen's Trainer has, and the name of the function that
marks hyper-parameters of a command line. Rows 72 to 76 of ``docs/differences.md`` are in ``test_differences_cli.py``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from .cli_script import SCRIPT
from .scenarios import quiet

pytest.importorskip("jsonargparse", reason="the command line is built on it")

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"]
RUN = [*QUIET, "--trainer.max_epochs=2", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"]
OURS_ALONE = re.compile(
    r"^ +(exact_accumulation: true|fast_data: true|on_failure: warn|drain_timeout: 60.0|x_axis: step)\n", re.MULTILINE
)


def script(package: str) -> Any:
    """The script under one of the packages, as the module `script`."""
    path = Path(f"{package}_script.py")
    path.write_text(SCRIPT.replace("PACKAGE", package))
    spec = importlib.util.spec_from_file_location("script", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["script"] = module
    spec.loader.exec_module(module)
    return module


def same_names(text: str) -> str:
    """A configuration in which what may differ between the packages does not."""
    text = re.sub(r"^# \w+==.*\n", "", text).replace("pytorch_lightning", "fulmen")
    return OURS_ALONE.sub("", text)


def under_both(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch, use: Callable[[Any], Any]
) -> tuple[Any, Any]:
    """What `use` finds with the script under Lightning, and under Fulmen, each in a folder of its own."""
    monkeypatch.setattr(sys, "argv", ["script.py"])
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    found = []
    for pl in (lightning, fulmen):
        folder = Path(pl.__name__)
        folder.mkdir()
        with quiet(), contextlib.chdir(folder) if sys.version_info >= (3, 11) else _inside(folder, monkeypatch):
            torch.manual_seed(0)
            try:
                found.append(use(script(pl.__name__)))
            finally:
                sys.modules.pop("script", None)
                monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
                monkeypatch.delenv("PL_SEED_WORKERS", raising=False)
    return found[0], found[1]


@contextlib.contextmanager
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    here = Path.cwd()
    monkeypatch.chdir(folder)
    yield
    monkeypatch.chdir(here)


def printed(words: list[str], make: Callable[[Any, list[str]], Any]) -> Callable[[Any], str]:
    def use(user: Any) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as end:
            make(user, words)
        assert end.value.code == 0
        return same_names(out.getvalue())

    return use


def _runs(words: list[str]) -> bool:
    """Whether a subcommand is among the words; a command line without is made in a quarter of the time."""
    return any(word in ("fit", "test") for word in words)


def with_classes(user: Any, words: list[str]) -> Any:
    return user.LightningCLI(user.Net, user.Data, args=words, run=_runs(words))


def chosen(user: Any, words: list[str]) -> Any:
    return user.LightningCLI(args=words, run=_runs(words))


CALLBACKS = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=x"]
PRINTED: dict[str, tuple[Any, list[str]]] = {
    "everything": (with_classes, ["fit", "--print_config"]),
    "another subcommand": (with_classes, ["test", "--print_config"]),
    "nothing but what was given": (with_classes, ["--data.samples=6", "--print_config=skip_default"]),
    "classes chosen": (
        chosen, ["--model=OfNoOtherScript", "--data=script.Data", "--model.width=3", "--print_config=skip_default"]
    ),
    "classes by path": (chosen, ["--model=script.Net", "--model.act=Tanh", "--print_config"]),
    "optimizer and scheduler": (
        with_classes,
        ["--optimizer=Adam", "--optimizer.lr=0.2", "--lr_scheduler=ReduceLROnPlateau",
         "--lr_scheduler.monitor=val_loss", "--print_config"],
    ),
    "two callbacks": (
        with_classes,
        [*CALLBACKS, "--trainer.callbacks+=LearningRateMonitor", "--trainer.callbacks.logging_interval=epoch",
         "--print_config=skip_default"],
    ),
    "callbacks as data": (
        with_classes,
        ['--trainer.callbacks=[{"class_path": "EarlyStopping", "init_args": {"monitor": "x"}}]',
         "--print_config=skip_default"],
    ),
    "loggers": (
        with_classes,
        ["--trainer.logger+=CSVLogger", "--trainer.logger.save_dir=a", "--trainer.logger+=CSVLogger",
         "--trainer.logger.save_dir=b", "--print_config=skip_default"],
    ),
    "flags of all types": (
        with_classes,
        ["--trainer.precision=bf16-mixed", "--trainer.devices=[0]", "--trainer.limit_train_batches=0.5",
         "--trainer.limit_val_batches=3", "--trainer.val_check_interval=00:00:10:00", "--trainer.max_time.hours=2",
         "--trainer.fast_dev_run=true", "--trainer.deterministic=warn", "--trainer.profiler=simple",
         "--trainer.default_root_dir=x", "--trainer.overfit_batches=2", "--trainer.gradient_clip_val=1",
         "--print_config"],
    ),
    "links": (lambda user, words: user.LinkedCLI(user.Net, user.Data, args=words, run=_runs(words)),
              ["--data.batch_size=4", "--print_config"]),
    "defaults": (lambda user, words: user.DefaultsCLI(user.Net, user.Data, args=words, run=_runs(words)),
                 ["--print_config"]),
    "two optimizers": (lambda user, words: user.TwoCLI(user.TwoOptimizers, user.Data, args=words, run=_runs(words)),
                       ["--first=SGD", "--first.lr=0.1", "--schedule.step_size=2", "--print_config=skip_default"]),
    "injected": (lambda user, words: user.LightningCLI(user.Injected, user.Data, args=words, run=_runs(words)),
                 ["--model.optimizer=SGD", "--model.optimizer.lr=0.5", "--print_config"]),
    "a forced callback": (lambda user, words: user.ForcedCLI(user.Net, user.Data, args=words, run=_runs(words)),
                          ["--early.patience=7", "--print_config=skip_default"]),
    "no subcommands": (lambda user, words: user.LightningCLI(user.Net, user.Data, args=words, run=_runs(words)),
                       ["--model.lr=2", "--print_config"]),
    "no optimizers": (
        lambda user, words: user.LightningCLI(user.Net, args=words, run=False, auto_configure_optimizers=False),
        ["--print_config"],
    ),
    "functions": (lambda user, words: user.LightningCLI(user.make_model, user.Data, args=words, run=_runs(words)),
                  ["--model.size=3", "--print_config=skip_default"]),
    "defaults of the Trainer": (
        lambda user, words: user.LightningCLI(user.Net, args=words, run=False, trainer_defaults={"max_epochs": 7}),
        ["--print_config"],
    ),
    "defaults of a subcommand": (
        lambda user, words: user.LightningCLI(
            user.Net, user.Data, args=words, parser_kwargs={"fit": {"default_config_files": ["defaults.yaml"]}}
        ),
        ["fit", "--print_config=skip_default"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_configurations(lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make, words = PRINTED[name]
    theirs, ours = under_both(lightning, fulmen, monkeypatch, printed(words, make))
    assert yaml.safe_load(ours) is not None
    assert ours == theirs


FILE = """
seed_everything: 3
trainer:
  max_epochs: 4
  callbacks:
    - class_path: pytorch_lightning.callbacks.EarlyStopping
      init_args:
        monitor: loss
    - class_path: pytorch_lightning.callbacks.LearningRateMonitor
model:
  width: 5
"""
SECOND = """
model:
  lr: 1.0e-2
  act:
    class_path: torch.nn.Tanh
data: data.yaml
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--config=one.yaml", "--print_config"],
        ["--config=one.yaml", "--config=two.yaml", "--model.width=9", "--print_config"],
        ["-c", "one.yaml", "--model=model.yaml", "--data", "data.yaml", "--print_config"],
        ["--config=all.yaml", "test", "--print_config"],
        ["--config={model: {width: 8}}", "--print_config=skip_default"],
    ],
)
def test_files(lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    def use(user: Any) -> str:
        Path("one.yaml").write_text(FILE)
        Path("two.yaml").write_text(SECOND)
        Path("data.yaml").write_text("samples: 6\n")
        Path("model.yaml").write_text("lr: 7\n")
        Path("all.yaml").write_text("fit:\n  model:\n    width: 3\ntest:\n  model:\n    width: 4\n")
        return printed(words, with_classes)(user)

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert ours == theirs


@pytest.mark.parametrize(
    ("options", "words", "variables"),
    [
        ({"run": False}, [], {"PL_TRAINER__MAX_EPOCHS": "3"}),
        ({"run": False, "parser_kwargs": {"default_env": True}}, [], {"PL_TRAINER__MAX_EPOCHS": "3"}),
        (
            {"parser_kwargs": {"default_env": True}},
            ["fit"],
            {"PL_FIT__MODEL__WIDTH": "3", "PL_FIT__DATA__SAMPLES": "5"},
        ),
        ({"run": False, "parser_kwargs": {"default_env": True}}, ["--model.width=8"], {"PL_MODEL__WIDTH": "3"}),
        ({"run": False, "parser_kwargs": {"default_env": True, "env_prefix": "MY"}}, [], {"MY_MODEL__WIDTH": "3"}),
    ],
)
def test_environment_variables(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch, options: Any, words: Any, variables: Any
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    use = printed(
        [*words, "--print_config"], lambda user, words: user.LightningCLI(user.Net, user.Data, args=words, **options)
    )
    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert ours == theirs


RUNS: dict[str, tuple[Any, list[str]]] = {
    "the module's own optimizer": (
        lambda user, words: user.LightningCLI(user.Ready, user.Data, args=words),
        ["--model.width=3", "--model.act=Tanh"],
    ),
    "an optimizer and a scheduler": (
        with_classes,
        ["--optimizer=Adam", "--optimizer.lr=0.2", "--lr_scheduler=StepLR", "--lr_scheduler.step_size=1"],
    ),
    "a scheduler that watches": (
        with_classes,
        ["--optimizer=SGD", "--optimizer.lr=0.2", "--lr_scheduler=ReduceLROnPlateau", "--lr_scheduler.monitor=val_loss",
         "--lr_scheduler.patience=0", "--lr_scheduler.threshold=10"],
    ),
    "classes chosen": (chosen, ["--model=script.Ready", "--data=script.Data", "--data.samples=6"]),
    "links": (lambda user, words: user.LinkedCLI(user.Ready, user.Data, args=words), ["--data.batch_size=4"]),
    "links of objects": (
        lambda user, words: user.MadeFirstCLI(user.Ready, user.Data, args=words), ["--data.samples=6"]
    ),
    "defaults": (lambda user, words: user.DefaultsCLI(user.Net, user.Data, args=words), []),
    "injected": (
        lambda user, words: user.LightningCLI(user.Injected, user.Data, args=words),
        ["--model.optimizer=SGD", "--model.optimizer.lr=0.5", "--model.scheduler=StepLR",
         "--model.scheduler.step_size=1"],
    ),
    "two optimizers": (
        lambda user, words: user.TwoCLI(user.TwoOptimizers, user.Data, args=words),
        ["--first=SGD", "--first.lr=0.1", "--second.lr=0.3", "--schedule.step_size=2"],
    ),
    "another configure_optimizers": (
        lambda user, words: user.PlateauCLI(user.Net, user.Data, args=words),
        ["--optimizer=SGD", "--optimizer.lr=0.2", "--lr_scheduler=ExponentialLR", "--lr_scheduler.gamma=0.5"],
    ),
    "callbacks and a seed": (
        lambda user, words: user.ForcedCLI(user.Ready, user.Data, args=words),
        ["--seed_everything=5", "--trainer.callbacks=LearningRateMonitor"],
    ),
}  # fmt: skip


def _plain(hparams: Any, cls: Any) -> dict[str, Any]:
    own = inspect.signature(cls.__init__).parameters
    return {name: value for name, value in hparams.items() if name in own or name == "_class_path"}


# Each takes some seconds; what these show is shown by others, in other words.
RARE_RUNS = {
    "a scheduler that watches",
    "links of objects",
    "defaults",
    "another configure_optimizers",
    "callbacks and a seed",
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.soak] * (name in RARE_RUNS)) for name in RUNS])
def test_runs(lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make, words = RUNS[name]

    def use(user: Any) -> Any:
        cli = make(user, ["fit", *RUN, *words])
        (path,) = Path("logs").rglob("*.ckpt")
        checkpoint = torch.load(path, weights_only=False)
        groups = [{k: v for k, v in g.items() if k != "params"} for o in cli.trainer.optimizers for g in o.param_groups]
        return {
            "weights": {key: value.tolist() for key, value in cli.model.state_dict().items()},
            "optimizers": (groups, [type(optimizer).__name__ for optimizer in cli.trainer.optimizers]),
            "config": same_names(next(Path("logs").rglob("config.yaml")).read_text()),
            # Lightning's leave out what the base class's `__init__` was called with; row 74
            "of the model": _plain(checkpoint.get("hyper_parameters", {}), type(cli.model)),
            "of the data": _plain(checkpoint.get("datamodule_hyper_parameters", {}), user.Data),
            "callbacks": [type(callback).__name__ for callback in cli.trainer.callbacks],
            "files": sorted(str(path) for path in Path("logs").rglob("*") if path.is_file()),
            "seed": cli.config["fit"]["seed_everything"],
        }

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert ours == theirs


def test_from_python(lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without subcommands, from dictionaries and namespaces, with functions as classes, and by hooks."""

    def use(user: Any) -> Any:
        flags = {"max_epochs": 1, "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        plain = user.LightningCLI(
            user.Ready, user.Data, run=False, args={"model": {"width": 3}, "trainer": flags}, save_config_callback=None
        )
        again = user.LightningCLI(user.Ready, user.Data, run=False, args=plain.config, seed_everything_default=False)
        made = user.LightningCLI(
            user.make_another, user.Data, trainer_class=user.make_trainer, run=False, args=["--trainer.max_epochs=4"]
        )
        added = user.LightningCLI(
            user.Ready, user.Data, run=False, args=["--trainer.callbacks=ModelSummary"],
            trainer_defaults={"callbacks": user.pl.callbacks.LearningRateMonitor(), "logger": False},
        )  # fmt: skip
        user.HooksCLI(user.Ready, user.Data, args=["scan", *QUIET, "--depth=5"], trainer_class=user.Scanner)
        user.HooksCLI(
            user.Ready, user.Data, trainer_class=user.Scanner,
            args={"subcommand": "fit", "fit": {"trainer": {**flags, "fast_dev_run": True}}},
        )  # fmt: skip
        return (
            plain.config.as_dict()["model"], plain.subcommand, sorted(plain.config.keys(branches=True))[:3],
            type(plain.trainer).__name__, plain.trainer.max_epochs, plain.config_init.model is plain.model,
            again.model.hparams.width, type(made.model).__name__, made.model.layer.out_features,
            made.trainer.max_epochs, [type(callback).__name__ for callback in added.trainer.callbacks[:3]],
            user.HooksCLI.heard, sorted(user.LightningCLI.subcommands()["fit"]),
        )  # fmt: skip

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert ours == theirs


@pytest.mark.parametrize(
    ("words", "default"),
    [([], True), ([], False), ([], 5), (["--seed_everything=false"], True), (["--seed_everything=3"], True),
     (["--seed_everything=true"], 4)],
)  # fmt: skip
def test_seeds(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch, words: list[str], default: Any
) -> None:
    def use(user: Any) -> Any:
        cli = user.LightningCLI(user.Net, run=False, args=words, seed_everything_default=default)
        return cli.config.seed_everything, torch.initial_seed() if cli.config.seed_everything is not False else None

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert ours == theirs


def test_a_checkpoint_brings_its_hyper_parameters(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(user: Any) -> Any:
        user.LightningCLI(user.Ready, user.Data, args=["fit", *RUN, "--model.width=7", "--model.act=Tanh"])
        (path,) = Path("logs").rglob("*.ckpt")
        tested = user.LightningCLI(user.Ready, user.Data, args=["test", *RUN, f"--ckpt_path={path}"])
        loaded = user.Ready.load_from_checkpoint(path)
        return (
            tested.model.layer.out_features, type(tested.model.act).__name__, tested.config.test.model.as_dict(),
            tested.datamodule.hparams.samples, loaded.layer.out_features, type(loaded.act).__name__,
            {key: float(value) for key, value in tested.trainer.callback_metrics.items()},
        )  # fmt: skip

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert ours == theirs


@pytest.mark.parametrize("fine", [True, False])
def test_a_configuration_is_not_overwritten(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch, fine: bool
) -> None:
    options = {"save_config_kwargs": {"overwrite": True, "config_filename": "all.yaml"}} if fine else {}

    def use(user: Any) -> Any:
        words = ["fit", *RUN, "--trainer.logger.version=0"]
        user.LightningCLI(user.Ready, user.Data, args=words, **options)
        try:
            user.LightningCLI(user.Ready, user.Data, args=[*words, "--model.width=2"], **options)
        except RuntimeError:
            return "refused"
        return yaml.safe_load(Path("logs/lightning_logs/version_0/all.yaml").read_text())["model"]

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert ours == theirs == ({"width": 2, "lr": 0.1, "act": None} if fine else "refused")


def test_what_is_refused(lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    mistakes = [["fit", "--model.widht=3"], ["fit", "--model.width=x"], ["fiit"], [], ["fit", "--config=no.yaml"]]

    def use(user: Any) -> Any:
        ends = []
        for words in mistakes:
            with contextlib.redirect_stderr(io.StringIO()), pytest.raises(SystemExit) as end:
                user.LightningCLI(user.Net, user.Data, args=words)
            ends.append(end.value.code)
        with pytest.raises(Exception, match=r"AUTOMATIC|without being asked") as error:
            parser_of_two(user)
        return ends, type(error.value).__name__

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert ours == theirs


def parser_of_two(user: Any) -> None:
    class TwoAutomatic(user.LightningCLI):  # type: ignore[misc, name-defined]
        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.add_optimizer_args(torch.optim.Adam, "a")
            parser.add_optimizer_args(torch.optim.Adam, "b")

    TwoAutomatic(user.Net, user.Data, args=["fit", *QUIET])
