from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fulmen.callbacks.progress.progress_bar import ProgressBar, get_standard_metrics

from .runs import Hooks, Model, loader, trainer


class Bar(ProgressBar):
    pass


def _set_up(**changes: Any) -> Bar:
    bar = Bar()
    bar.setup(Hooks(bar, **changes).trainer, None, "fit")  # type: ignore[arg-type]
    return bar


@pytest.mark.parametrize(
    ("versions", "shown"),
    [
        ([], {}),
        ([None, ""], {}),
        ([0], {"v_num": 0}),
        ([7, 7], {"v_num": 7}),
        (["version_12"], {"v_num": "n_12"}),
        ([1, "experiment_name"], {"v_num": "name"}),
    ],
)
def test_the_version_of_the_run(versions: list[Any], shown: dict[str, Any]) -> None:
    run: Any = SimpleNamespace(loggers=[SimpleNamespace(version=version) for version in versions])
    assert get_standard_metrics(run) == shown


def test_a_value_may_take_the_place_of_the_version_but_not_in_silence() -> None:
    run: Any = SimpleNamespace(loggers=[SimpleNamespace(version=1)], progress_bar_metrics={"v_num": 3.0, "b": 2.0})
    with pytest.warns(UserWarning, match="Log it under another name"):
        assert Bar().get_metrics(run, None) == {"v_num": 3.0, "b": 2.0}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steps", "accumulate", "done", "total"),
    [(-1, 1, 0, 10), (12, 1, 0, 10), (12, 1, 10, 2), (12, 2, 5, 10), (5, 3, 4, 3), (5, 1, 5, 0)],
)
def test_training_ends_where_max_steps_does(steps: int, accumulate: int, done: int, total: int) -> None:
    bar = _set_up(batches=10, max_steps=steps, accumulate_grad_batches=accumulate, global_step=done)
    assert bar.total_train_batches == total


def test_manual_optimization_may_take_any_number_of_steps() -> None:
    module = SimpleNamespace(automatic_optimization=False)
    assert _set_up(batches=10, max_steps=12, global_step=10, lightning_module=module).total_train_batches == 10


def test_an_unknown_length_is_infinite() -> None:
    assert _set_up(batches=float("inf")).total_train_batches == float("inf")


@pytest.mark.parametrize(("every", "total"), [(1, 7), (2, 0), (None, 7)])
def test_validation_batches_after_this_epoch(every: int | None, total: int) -> None:
    assert _set_up(num_val_batches=[3, 4], check_val_every_n_epoch=every).total_val_batches == total


def test_totals_of_the_loader_at_which_we_are() -> None:
    bar = _set_up(num_val_batches=[3, 4], num_test_batches=[5, 6], num_predict_batches=[7, 8])
    assert bar.total_val_batches_current_dataloader == 3
    assert bar.has_dataloader_changed(1)
    assert not bar.has_dataloader_changed(1)
    assert bar.total_val_batches_current_dataloader == 4
    assert bar.total_test_batches_current_dataloader == 6
    assert bar.total_predict_batches_current_dataloader == 8
    bar.reset_dataloader_idx_tracker()
    assert bar.total_val_batches_current_dataloader == 3
    bar.trainer.sanity_checking = True
    assert bar.total_val_batches_current_dataloader == 2


def test_the_trainer_comes_with_setup() -> None:
    with pytest.raises(TypeError, match=r"after `super\(\).setup"):
        _ = Bar().trainer


def test_it_works_on_the_first_process_alone() -> None:
    assert _set_up()._enabled
    assert not _set_up(is_global_zero=False)._enabled


def test_enable_takes_disable_back() -> None:
    bar = Bar()
    bar.disable()
    bar.enable()
    assert bar._enabled


def test_print_is_print(capsys: pytest.CaptureFixture[str]) -> None:
    Bar().print("a", 1, sep="-", end="!")
    assert capsys.readouterr().out == "a-1!"


def test_a_bar_of_ones_own_sees_what_is_logged() -> None:
    seen = []

    class Own(ProgressBar):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            seen.append((args[-1] + 1, self.total_train_batches, sorted(self.get_metrics(trainer, pl_module))))

    trainer(Own(), max_epochs=1).fit(Model(), loader(3), loader(1))
    assert seen == [(number, 3, ["train_loss"]) for number in (1, 2, 3)]
