"""``kill -9`` at random moments of training: real processes, on the same and on another disk than the temp folder.

``FULMEN_KILLS`` sets how many, on each.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import warm

KILLS = int(os.environ.get("FULMEN_KILLS", 0)) or (200 if os.environ.get("FULMEN_SOAK") == "1" else 20)
ELSEWHERE = Path("/dev/shm")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks what it kills")


@pytest.fixture(params=["same disk", "another disk"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where the run goes; temporary files go to `tmp_path`."""
    if request.param == "same disk":
        yield tmp_path
    elif not os.access(ELSEWHERE, os.W_OK) or ELSEWHERE.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other disk")
    else:
        with tempfile.TemporaryDirectory(dir=ELSEWHERE) as folder:
            yield Path(folder)


def test_a_run_that_is_killed_goes_on_from_its_newest_save(root: Path, tmp_path: Path) -> None:
    """On the same disk, a logger opens a new version at each start. What must hold is in ``killed.py``."""
    env = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    code = "import runpy; runpy.run_module('tests.checkpoint.killed', run_name='__main__')"
    done = warm.run(code, str(root), str(KILLS), "4", str(int(root == tmp_path)), cwd=tmp_path, env=env, timeout=3600)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["started"] > KILLS // 2 and counts["steps"] > KILLS, counts
    assert counts["in a save"] > KILLS // 10, counts
    if root != tmp_path:
        assert not [path for path in tmp_path.rglob("*") if path.suffix in (".ckpt", ".part")], "in the temp folder"
