"""Runs published libraries' own tests under the real Lightning and under Fulmen, and compares (`make clients`).

Each library gets an environment of its own under build/clients/<name>, from PyPI and unmodified. A test that passes
with Lightning has to pass with Fulmen, and the figures that a test records have to be the same.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from libraries import LIBRARIES, Library

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "clients"
TORCH = "torch==2.13.0"
LIGHTNING = ("pytorch-lightning==2.6.6", "lightning==2.6.6", "torchmetrics>=1.7")
UNWANTED = re.compile(r"^(torchvision|torchaudio|triton|nvidia-|cuda-)", re.I)


def main() -> int:
    """Prepares and runs the libraries that are asked for; 1 if any of them does worse under Fulmen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"libraries, all by default: {', '.join(x.name for x in LIBRARIES)}")
    parser.add_argument("--all", action="store_true", help="every test instead of a sample (hours)")
    parser.add_argument("--only", choices=("lightning", "fulmen"), help="run one side and keep the other's outcomes")
    parser.add_argument("-k", dest="words", help="as pytest's -k")
    options = parser.parse_args()
    unknown = set(options.names) - {library.name for library in LIBRARIES}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    worse = 0
    for library in LIBRARIES:
        if not options.names or library.name in options.names:
            worse += bool(try_library(library, options))
    return 1 if worse else 0


def try_library(library: Library, options: argparse.Namespace) -> list[str]:
    """Runs a library's tests on both sides and prints how they went; what Fulmen does worse is returned."""
    folder = BUILD / library.name
    prepare(library, folder)
    sides = {side: run_side(library, folder, side, options) for side in ("lightning", "fulmen")}
    print(f"\n{library.name}: {library.requirements.split()[0]}")
    for side, outcomes in sides.items():
        counts = Counter(found["outcome"] for found in outcomes.values())
        print(f"  {side:<10}" + ", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped")))
    worse = differences(sides["lightning"], sides["fulmen"])
    print("\n".join(f"  WORSE {line}" for line in worse) or "  nothing is worse", flush=True)
    return worse


def differences(real: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """The tests that pass with Lightning and not with Fulmen, or with other figures."""
    found = []
    if not any(test["outcome"] == "passed" for test in real.values()):
        found.append("nothing passes with Lightning: the environment is broken")
    for name, test in real.items():
        own = ours.get(name, {"outcome": "not there", "why": "", "figures": {}})
        if test["outcome"] != own["outcome"] and test["outcome"] == "passed":
            found.append(f"{name}: {own['outcome']}\n      " + own["why"].replace("\n", "\n      "))
        elif test["outcome"] == "passed":
            for key, value in test["figures"].items():
                if not same(value, own["figures"].get(key)):
                    found.append(f"{name}: {key}: {value} with Lightning, {own['figures'].get(key)} with Fulmen")
    return found


def same(one: Any, other: Any) -> bool:
    """Whether figures agree; means over an epoch are added up in single precision by Lightning."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-7) or (one != one and other != other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return bool(one == other)


def prepare(library: Library, folder: Path) -> None:
    """Makes the environment and unpacks the tests, unless both are there for these requirements."""
    done = folder / "done.json"
    wanted = json.dumps([TORCH, *LIGHTNING, *library.requirements.split()])
    if done.is_file() and done.read_text() == wanted:
        return
    print(f"{library.name}: making {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    call(sys.executable, "-m", "venv", str(folder / "venv"))
    python = str(folder / "venv" / "bin" / "python")
    pip = (python, "-m", "pip", "-qq", "--disable-pip-version-check")
    (folder / "constraints.txt").write_text(TORCH + "\n")
    call(*pip, "install", "--no-compile", TORCH)
    wants = ("-c", str(folder / "constraints.txt"), *library.requirements.split(), *LIGHTNING, "pytest")
    call(*pip, "install", "--dry-run", "--report", str(folder / "plan.json"), *wants)
    plan = json.loads((folder / "plan.json").read_text())
    unwanted = [item["metadata"]["name"] for item in plan["install"] if UNWANTED.match(item["metadata"]["name"])]
    if unwanted:
        raise SystemExit(f"{library.name} would install {', '.join(unwanted)}")
    call(*pip, "install", "--no-compile", *wants)
    call(*pip, "install", "--no-deps", "--editable", str(ROOT))
    if library.tests:
        call(*pip, "download", "--no-deps", "--no-binary", ":all:", "-d", str(folder / "archive"), source_of(library))
        unpack(library, folder)
    if library.prepare:
        call(python, str(HERE / library.prepare))
    done.write_text(wanted)


def source_of(library: Library) -> str:
    """The version whose archive has the tests."""
    return library.archive or re.sub(r"\[.*\]", "", library.requirements.split()[0])


def unpack(library: Library, folder: Path) -> None:
    """Takes the tests, and what stands beside them, out of the source archive; the library itself is installed."""
    (archive,) = (folder / "archive").glob("*.tar.gz")
    tests = folder / "tests"
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    for place, _ in library.tests:
        top = place.split("/")[0]
        if top not in ("test", "tests"):  # they are part of the package
            inner = Path(*Path(place).parts[: Path(place).parts.index("tests") + 1])
            shutil.copytree(source / inner, site / inner, dirs_exist_ok=True)
        else:
            shutil.copytree(source / top, tests / top, dirs_exist_ok=True)
    shutil.rmtree(folder / "source")


def run_side(library: Library, folder: Path, side: str, options: argparse.Namespace) -> dict[str, Any]:
    """Runs the tests under one of the two and gives back what came of each."""
    outcomes = folder / f"{side}.json"
    if options.only not in (None, side) and outcomes.is_file():
        return read(outcomes)
    outcomes.unlink(missing_ok=True)
    tests = folder / "tests"
    tests.mkdir(exist_ok=True)
    (tests / "pytest.ini").write_text("[pytest]\n")  # without it pytest would take Fulmen's settings
    python = str(folder / "venv" / "bin" / "python")
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    places = {str(p if (p := tests / place).exists() else site / place): count for place, count in library.tests}
    if library.ours:  # a copy: beside the original pytest would read Fulmen's own conftest.py
        places[str(shutil.copy(HERE / "suites" / library.ours, tests))] = 0
    command = [python] + (["-m", "fulmen", "run"] if side == "fulmen" else [])
    command += ["-m", "pytest", "-q", "-p", "record", "-p", "no:cacheprovider", "--outcomes", str(outcomes)]
    command += ["--continue-on-collection-errors", "-W", "ignore", "--tb=short", "--color=no", *library.options]
    command += ["--rootdir", str(folder), "-c", str(tests / "pytest.ini")]
    if not options.all:
        command += ["--sample", json.dumps(places)]
    words = " and ".join(f"not {word}" for word in library.skip)
    if words or options.words:
        command += ["-k", " and ".join(filter(None, (words, options.words and f"({options.words})")))]
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE), str(ROOT / "src"))), "PYTHONHASHSEED": "0"}
    environment.update(OMP_NUM_THREADS="1", MPLBACKEND="agg", PYTHONDONTWRITEBYTECODE="1")
    with open(folder / f"{side}.log", "w") as log:
        subprocess.run([*command, *places], cwd=tests, env=environment, stdout=log, stderr=log, check=False)
    print(f"{library.name}, {side}: {time.monotonic() - began:.0f} s, {folder / side}.log", flush=True)
    return read(outcomes)


def read(outcomes: Path) -> dict[str, Any]:
    """What was written down; nothing if pytest did not get that far."""
    return json.loads(outcomes.read_text()) if outcomes.is_file() else {}


def call(*command: str) -> None:
    """Runs a command; its failure ends the program."""
    if subprocess.run(command, check=False, cwd=ROOT).returncode:
        raise SystemExit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    raise SystemExit(main())
