from __future__ import annotations

import subprocess
import sys

import fulmen.callbacks


def test_names_come_when_they_are_used() -> None:
    code = (
        "import sys, fulmen.callbacks as c; before = 'fulmen.callbacks.timer' in sys.modules; "
        "c.Timer; assert not before and 'fulmen.callbacks.timer' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_offered() -> None:
    assert set(fulmen.callbacks.__all__) >= {"Callback", "EarlyStopping", "ModelCheckpoint", "Timer"}
