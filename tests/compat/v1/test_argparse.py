"""Command lines made of the Trainer's and a data module's arguments, as 1.x read them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

import pytest

from fulmen import LightningDataModule, Trainer
from fulmen.compat.v1.argparse import reader
from fulmen.compat.v1.flag_tables import DEFAULTS
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")


def parse(line: str) -> Namespace:
    return Trainer.add_argparse_args(ArgumentParser()).parse_args(line.split())


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--limit_train_batches 0.1", "limit_train_batches", 0.1),
        ("--limit_train_batches 10", "limit_train_batches", 10),
        ("--fast_dev_run", "fast_dev_run", True),
        ("--fast_dev_run 3", "fast_dev_run", 3),
        ("--fast_dev_run false", "fast_dev_run", False),
        ("--auto_lr_find", "auto_lr_find", True),
        ("--auto_lr_find rate", "auto_lr_find", "rate"),
        ("--auto_scale_batch_size power", "auto_scale_batch_size", "power"),
        ("--logger False", "logger", False),
        ("--gpus 2", "gpus", 2),
        ("--gpus 0,1", "gpus", "0,1"),
        ("--devices 2", "devices", 2),
        ("--precision 16", "precision", 16),
        ("--precision bf16", "precision", "bf16"),
        ("--max_epochs 5", "max_epochs", 5),
        ("--max_time 00:01:00:00", "max_time", "00:01:00:00"),
        ("--gradient_clip_val 0.5", "gradient_clip_val", 0.5),
        ("--val_check_interval 0.25", "val_check_interval", 0.25),
        ("--track_grad_norm inf", "track_grad_norm", float("inf")),
        ("--profiler simple", "profiler", "simple"),
        ("--deterministic", "deterministic", True),
        ("--barebones yes", "barebones", True),
        ("", "max_epochs", None),
        ("", "enable_checkpointing", True),
    ],
)
def test_what_a_line_means(line: str, name: str, value: Any) -> None:
    found = getattr(parse(line), name)
    assert found == value
    assert type(found) is type(value)


def test_flags_of_then_and_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {*DEFAULTS["1.9"], "inference_mode", "barebones", "fast_data"} - {"callbacks"} <= vars(parse("")).keys()
    assert not hasattr(parse(""), "progress_bar_refresh_rate")
    monkeypatch.setenv("FULMEN_DIALECT", "1.5")
    assert parse("--progress_bar_refresh_rate 20").progress_bar_refresh_rate == 20
    assert Trainer.default_attributes().keys() >= DEFAULTS["1.5"].keys()
    assert "gpus" in Trainer.get_deprecated_arg_names()


def test_a_trainer_from_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = ArgumentParser()
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--max_epochs", type=int, default=7)
    parser = Trainer.add_argparse_args(parser)
    args = parser.parse_args(["--gpus", "0", "--accumulate_grad_batches", "2", "--batch_size", "4"])
    trainer = Trainer.from_argparse_args(args, logger=False, min_epochs=2)
    assert (trainer.max_epochs, trainer.accumulate_grad_batches, trainer.min_epochs) == (7, 2, 2)
    assert trainer.loggers == []
    assert args.batch_size == 4
    assert Trainer.parse_argparser(args) is args
    before = ArgumentParser(add_help=False)
    apart = Trainer.add_argparse_args(before, use_argument_group=False)
    assert apart is not before
    monkeypatch.setattr("sys.argv", ["train.py", "--max_epochs", "5"])
    assert Trainer.parse_argparser(apart).max_epochs == Trainer.from_argparse_args(apart, logger=False).max_epochs == 5
    with pytest.raises(MisconfigurationException, match="ArgumentParser"):
        Trainer.add_argparse_args("--gpus")


def test_a_trainer_of_the_users() -> None:
    class Own(Trainer):
        def __init__(self, speed: float = 1.0, *, plain: bool = False, **flags: Any) -> None:
            super().__init__(**flags)
            self.speed = speed

    args = Own.add_argparse_args(ArgumentParser()).parse_args(["--speed", "2", "--max_epochs", "3"])
    own = Own.from_argparse_args(args, logger=False)
    assert (own.speed, own.max_epochs) == (2.0, 3)


class Data(LightningDataModule):
    """With arguments of every plain kind."""

    def __init__(
        self, folder: str, batch_size: int = 32, share: float | None = None, shuffle: bool = True, extra: Any = None
    ) -> None:
        super().__init__()
        self.given = (folder, batch_size, share, shuffle)


def test_a_data_module_from_a_line() -> None:
    assert Data.get_init_arguments_and_types()[1:4] == [
        ("batch_size", (int,), 32), ("share", (float,), None), ("shuffle", (bool,), True),
    ]  # fmt: skip
    parser = Data.add_argparse_args(ArgumentParser())
    args = parser.parse_args(["--folder", "here", "--share", "0.5", "--shuffle", "no"])
    assert Data.from_argparse_args(args).given == ("here", 32, 0.5, False)
    assert Data.from_argparse_args(args, batch_size=2).given == ("here", 2, 0.5, False)
    assert Data.parse_argparser(args).folder == "here"


def test_what_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--max_epochs many")
    assert "invalid int value: 'many'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no bool or int"):
        reader((bool, int))("maybe")


def test_a_command_line_of_another_1_x_is_read_too() -> None:
    line = "--progress_bar_refresh_rate 20 --weights_summary top --checkpoint_callback False --gpus 0"
    trainer = Trainer.from_argparse_args(parse(line), logger=False)
    assert trainer.progress_bar_callback.refresh_rate == 20
    assert trainer.checkpoint_callbacks == []


def test_a_script_may_have_options_that_another_1_x_had() -> None:
    parser = Trainer.add_argparse_args(ArgumentParser())
    parser.add_argument("--weights_save_path", type=int)
    assert parser.parse_args(["--weights_save_path", "3"]).weights_save_path == 3
