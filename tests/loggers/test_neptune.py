from __future__ import annotations

import pytest

from fulmen.loggers.neptune import NeptuneLogger


@pytest.mark.parametrize("options", [{}, {"api_key": "k", "project": "p"}])
def test_neptune_is_gone_and_the_error_says_what_there_is(options: dict[str, str]) -> None:
    with pytest.raises(RuntimeError, match=r"no longer supported(.|\n)*`MLFlowLogger`, `WandbLogger` or `CometLogger`"):
        NeptuneLogger(**options)
