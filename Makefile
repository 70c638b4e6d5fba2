# One door for every chore. `make demo` and `make test` set up what is missing by themselves.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The tests mostly wait for sockets, so four processes pay even on two cores; `make test PARALLEL=` runs them in one.
PARALLEL ?= --numprocesses 4 --dist loadfile

.PHONY: demo local outage bench soak package test lint clean

$(VENV)/ready: requirements.txt requirements-dev.txt constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt --constraint constraints.txt
	@touch $@

demo: $(VENV)/ready ## some dozens of messages through the whole stack, and what became of each
	@$(BIN)/python -m local.demo

local: $(VENV)/ready ## the same stack, left running; options: make local ARGS="--jobs 50"
	@$(BIN)/python -m local $(ARGS)

outage: $(VENV)/ready ## five minutes without Job Router, beside a plain function; ARGS="--messages 100 --down-seconds 30"
	@$(BIN)/python -m bench.outage $(ARGS)

bench: $(VENV)/ready ## every measurement, ours and the peers in turn; ARGS="--quick", ARGS="--svg docs/bench.svg --json docs/bench.json"
	@$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/ready ## thousands of messages, faults of every kind, killed workers; ARGS="--messages 1000 --seed 7"
	@$(BIN)/python -m local.soak $(ARGS)

package: $(VENV)/ready ## package.zip, what func would publish: its files and its size
	@$(BIN)/python -m tools.package $(ARGS)

test: $(VENV)/ready ## every test, with coverage of what is deployed
	$(BIN)/python -m pytest --cov --cov-report=term $(PARALLEL)

lint: $(VENV)/ready ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## remove the virtual environment and the caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
