"""What published libraries reach for inside Lightning is there, and does what it does there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import fulmen
from fulmen.utilities.exceptions import MisconfigurationException

from .wild_snippets import SNIPPETS, fitted, loader, net, quiet


@pytest.mark.parametrize("name", SNIPPETS)
@pytest.mark.filterwarnings("ignore")
def test_a_snippet(name: str) -> None:
    snippet, expected = SNIPPETS[name]
    torch.manual_seed(0)
    assert snippet(fulmen) == expected


def test_the_default_connectors_are_made_late() -> None:
    trainer = fitted(fulmen)
    assert not [name for name in vars(trainer) if name.endswith("_connector")]


def test_what_a_loop_counts_by_itself_cannot_be_set() -> None:
    trainer = quiet(fulmen)
    with pytest.raises(AttributeError, match="counted by the run"):
        trainer.fit_loop.epoch_loop.batch_progress.current.completed = 3


def test_there_is_no_evaluation_loop_where_nothing_is_evaluated() -> None:
    with pytest.raises(MisconfigurationException, match=r"Take `trainer.validate_loop` or `trainer.test_loop`"):
        _ = quiet(fulmen)._evaluation_loop


def test_totals_go_on_after_a_reset() -> None:
    trainer = fitted(fulmen, max_epochs=2)
    progress = trainer.fit_loop.epoch_progress
    progress.reset()
    assert (progress.current.completed, progress.total.completed, trainer.current_epoch) == (0, 2, 0)
    trainer.fit(trainer.lightning_module)
    assert (progress.current.completed, progress.total.completed) == (2, 4)
    progress.total.processed = 3
    assert trainer.current_epoch == 1
    assert progress.state_dict()["total"] == {"ready": 3, "started": 3, "processed": 3, "completed": 3}
    assert "total=Counts(ready=3" in str(progress)
    trainer.fit_loop.epoch_loop.batch_progress.reset()
    assert trainer.fit_loop.epoch_loop.batch_progress.current.ready == 0


def test_a_copy_has_views_of_its_own() -> None:
    """A view that was made before the copy must not show, or change, the original."""
    trainer = quiet(fulmen, max_epochs=2)
    views = (trainer.fit_loop.epoch_progress, trainer.fit_loop._data_source, trainer._data_connector)
    copied = copy.deepcopy(trainer)
    copied.fit(net(fulmen), loader())
    assert views[0].current.completed == 0 and copied.fit_loop.epoch_progress.current.completed == 2
    assert views[1].instance is None and copied.fit_loop._data_source.instance is not None
    assert views[2].trainer is trainer and copied._data_connector.trainer is copied


def test_a_source_is_replaced_as_a_whole() -> None:
    trainer, other, model = quiet(fulmen), loader(10), net(fulmen)

    class Source:
        instance = other

    def on_fit_start(self: Any) -> None:
        self.trainer.fit_loop._data_source = Source()

    type(model).on_fit_start = on_fit_start
    trainer.fit(model)
    assert (trainer.global_step, trainer.train_dataloader) == (5, other)


def test_sanity_checks_that_a_library_leaves_out() -> None:
    class Own(fulmen.Trainer):
        def _run_sanity_check(self) -> None:
            pass

    heard: list[bool] = []

    def on_validation_start(self: Any) -> None:
        heard.append(self.trainer.sanity_checking)

    quiet(fulmen, Own, num_sanity_val_steps=2).fit(net(fulmen, on_validation_start=on_validation_start))
    assert heard == [False]
    quiet(fulmen, num_sanity_val_steps=2).fit(net(fulmen, on_validation_start=on_validation_start))
    assert heard == [False, True, False]
