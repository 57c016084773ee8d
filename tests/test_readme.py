"""The README's first script runs as it stands there, and prints a model that has learned."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_first_script_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"## A first script\s+```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    script = found[1]
    assert len(script.splitlines()) <= 30

    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    loss = re.search(r"tensor\(([\d.e+-]+)", run.stdout.splitlines()[-1])
    assert loss is not None and float(loss[1]) < 1e-3, run.stdout
    assert "Trainable params" in run.stdout + run.stderr
    assert (tmp_path / "lightning_logs" / "version_0" / "checkpoints").is_dir()


def test_files_that_the_readme_names_exist() -> None:
    for page in (ROOT / "README.md", ROOT / "benchmarks" / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} names {link}"
