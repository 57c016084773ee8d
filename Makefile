# Every target works in a fresh clone: it makes .venv with PYTHON, installs what requirements/pins.txt pins, and runs.
PYTHON ?= python3
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements/pins.txt
# One thread a process: the tests share the cores among themselves, the benchmark measures one, and the network of the
# demo is too small to gain from more.
RUN := OMP_NUM_THREADS=1

.PHONY: help demo test soak api clients compat bench lint format clean

help:
	@echo "make demo    train a small network on handwritten digits (examples/digits.py)"
	@echo "make test    run the tests"
	@echo "make soak    run the tests with their long counts"
	@echo "make api     show which names of Lightning's interface are there, module by module"
	@echo "make clients run published libraries' own tests under Lightning and under Fulmen (CLIENTS=\"names, or --all\")"
	@echo "make compat  show which names of Lightning 1.5 and 1.9 work, and what to write today"
	@echo "make bench   time a step beside a hand-written loop and Lightning, and a save beside a copy, a resume late beside one early, loggers beside none, two processes beside hand-written DDP"
	@echo "make lint    ruff and mypy"
	@echo "make format  let ruff rewrite what it can"
	@echo "make clean   remove .venv and what the tools left"

# torch goes first: a package that asks for it could otherwise bring another, far larger build.
$(READY): pyproject.toml requirements/pins.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) setuptools
	$(PIP) --no-build-isolation --editable ".[dev]"
	@touch $@

demo: $(READY)
	$(RUN) $(BIN)/python examples/digits.py

test: $(READY)
	$(RUN) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

soak: $(READY)
	$(RUN) FULMEN_SOAK=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

api: $(READY)
	$(BIN)/python tests/api/report.py

# Environments of their own below build/clients, so that none of these packages gets into .venv.
clients: $(READY)
	$(RUN) $(BIN)/python tests/clients/run.py $(CLIENTS)

compat: $(READY)
	$(RUN) $(BIN)/python tests/compat/report.py

bench: $(READY)
	$(RUN) $(BIN)/python benchmarks/overhead.py $(BENCH)
	$(RUN) $(BIN)/python benchmarks/saving.py $(BENCH)
	$(RUN) $(BIN)/python benchmarks/loggers.py $(filter --quick,$(BENCH))
	$(RUN) $(BIN)/python benchmarks/resume.py $(filter --quick,$(BENCH))
	$(RUN) $(BIN)/python benchmarks/ddp.py $(filter --quick,$(BENCH))

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info
