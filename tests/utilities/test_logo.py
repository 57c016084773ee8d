from __future__ import annotations

import pytest

import fulmen


def test_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    fulmen.cli_lightning_logo()
    shown = capsys.readouterr().out
    assert "fulmen" in shown and max(map(len, shown.splitlines())) < 80
