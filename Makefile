# Each target makes .venv when it needs it, and again when pyproject.toml or setup.cfg changes.
# Python 3.11+, make, and PyPI within reach are all it takes.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PACKAGES := $(patsubst %/py.typed,%,$(wildcard */py.typed))
TYPED := build/typed/telestage

.DEFAULT_GOAL := help
.PHONY: help demo test soak conformance bench check clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed ## Run the demo; ARGS go to `telestage demo`
	$(BIN)/telestage demo $(ARGS)

test: .venv/installed-for-tests ## Run the tests; ARGS go to pytest
	$(BIN)/python -m pytest $(ARGS)

soak: .venv/installed-for-tests ## Run the actors under 100,000 schedules, their state machines for long, and a fleet with random gaps; ARGS, as in "--schedules 5000 --seed 1 --only order"
	$(BIN)/python tests/soak $(ARGS)

conformance: .venv/installed-for-tests ## Run Thespian's own suite on our base; ARGS go to pytest
	$(BIN)/python tests/conformance $(ARGS)

bench: .venv/installed-for-benchmarks ## Measure; ARGS go to the runner
	$(BIN)/python -m benchmarks $(ARGS)

# mypy and pyright can't read the folder mapping of setup.cfg, and the links spell it out for them.
# PYRIGHT_PYTHON_IGNORE_WARNINGS: don't ask the network for a newer pyright.
check: .venv/installed-for-tests ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf $(TYPED) && mkdir -p $(TYPED)
	@for package in $(PACKAGES); do ln -s ../../../$$package $(TYPED)/$$package; done
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

clean: ## Remove .venv and whatever else was made here
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The demo needs no more than the runtime dependencies, and shouldn't wait for the rest.
.venv/installed: pyproject.toml setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Telestage needs Python 3.11 or newer; name one, as in: make PYTHON=python3.12 test' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/installed-for-benchmarks: .venv/installed
	$(PIP) --editable '.[bench]'
	@touch $@

.venv/installed-for-tests: .venv/installed
	$(PIP) --editable '.[test]'
	@touch $@
