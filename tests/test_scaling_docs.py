"""The script of ``docs/scaling.md`` runs by the commands that stand there, and its files fit together."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.distributed import groups

PAGE = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
ON_THE_CPU = [line for line in PAGE.splitlines() if "train.py" in line and "--accelerator cpu" in line]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def script() -> str:
    return next(block for block in blocks("python") if block.startswith("# train.py"))


def run(command: str, folder: Path) -> str:
    (folder / "train.py").write_text(script(), encoding="utf-8")
    program, *words = command.split()
    start = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}[program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*start, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_are_lines_to_run() -> None:
    assert [line.split()[0] for line in ON_THE_CPU] == ["python", "torchrun"]


def main(folder: Path) -> tuple[str, list[str]]:
    os.chdir(folder)
    sys.argv = ["train.py", "--accelerator", "cpu", "--devices", "2"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        runpy.run_path("train.py", run_name="__main__")
    return said.getvalue(), os.listdir("lightning_logs")


def test_the_script_runs_in_two_processes(tmp_path: Path) -> None:
    """One of them says the result, and they have one folder."""
    (tmp_path / "train.py").write_text(script(), encoding="utf-8")
    (said, folders), (silent, others) = groups.run(main, 2, tmp_path)
    assert re.search(r"val_loss 0\.\d+ with 2 processes", said) and not silent
    assert folders == others == ["version_0"]


@pytest.mark.soak
@pytest.mark.parametrize("command", ON_THE_CPU)
def test_a_line_for_two_processes_runs(command: str, tmp_path: Path) -> None:
    out = run(command, tmp_path)
    (said,) = re.findall(r"val_loss (\S+) with 2 processes", out)
    assert float(said) < 0.1
    assert [path.name for path in (tmp_path / "lightning_logs").iterdir()] == ["version_0"]


@pytest.mark.soak
def test_the_line_for_a_laptop_runs(tmp_path: Path) -> None:
    assert "with 1 processes" in run("python train.py --accelerator cpu", tmp_path)


def option(text: str, name: str) -> int:
    found = re.search(rf"--{name}[= ](\d+)", text)
    assert found is not None, name
    return int(found[1])


def test_numbers_fit_together() -> None:
    """As many tasks and processes are started as the Trainer is told of."""
    job = next(block for block in blocks("bash") if "#SBATCH" in block)
    started, told = job.split("srun")
    assert option(started, "nodes") == option(told, "nodes")
    assert option(started, "ntasks-per-node") == option(started, "gpus-per-node") == option(told, "devices")
    lines = [line for line in PAGE.splitlines() if line.startswith("torchrun --nnodes")]
    assert lines
    for line in lines:
        assert option(line, "nnodes") == option(line, "nodes")
        assert option(line, "nproc_per_node") == option(line, "devices")


def test_the_manifest_is_whole() -> None:
    service, job = yaml.safe_load_all(next(block for block in blocks("yaml") if "kind: Job" in block))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command = " ".join(container["command"])
    pods = option(command, "nnodes")
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == pods == option(command, "nodes")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == option(command, "nproc_per_node")
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    first = f"{job['metadata']['name']}-0.{pod['subdomain']}:"
    assert f"--rdzv_endpoint={first}" in command and service["metadata"]["name"] == pod["subdomain"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    targets = re.findall(r"\]\(#([^)]+)\)", PAGE.replace("\n", " "))
    assert len(targets) > 5 and not set(targets) - headings
