# Every command a newcomer needs. `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
LOCK   ?= requirements/cpu.lock
# Test processes: one for each core.
JOBS   ?= auto
# The files Python code is checked in. A package that does not exist yet is no error.
CODE   := $(wildcard model server training benchmarks tests tools)

.DEFAULT_GOAL := help
.PHONY: help venv demo train test lint format lock clean distclean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.stamp ## make .venv with everything pinned in the lock file (a second run does nothing)

$(VENV)/.stamp: $(LOCK) pyproject.toml tools/install.py
	@$(PYTHON) tools/install.py --venv $(VENV) --lock $(LOCK)
	@touch $@

demo: venv ## build the demo model, start the server, ask about a picture and a sound, stay until Ctrl-C
	@$(BIN)/python -m server.demo

train: venv ## train the demo model again from nothing: corpus, projectors, checkpoint, scores
	$(BIN)/quartet data build data/corpus
	$(BIN)/quartet train demo --corpus data/corpus --output runs/demo
	$(BIN)/quartet eval runs/demo/checkpoint --corpus data/corpus --output runs/demo

test: lint ## run every check: ruff, mypy, pytest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 4

lint: venv ## run ruff and mypy
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: venv ## rewrite the code in the project's style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

lock: venv ## resolve the lock files again from pyproject.toml
	$(BIN)/python tools/lock.py

clean: ## remove caches and build products, keep .venv and downloaded weights
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)
