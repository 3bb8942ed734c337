# Bare `make` lists the chores. Everything a chore needs is set up by it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# Most of the time of a test it waits. Measuring coverage does not, so that takes fewer at once.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help demo setup test nightly torture torture-nightly check format coverage bench clean

help: ## list the chores
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/run ## approve a deploy in a local Slack in the browser (ARGS=--once plays it by itself)
	@$(BIN)/signoff demo $(ARGS)

setup: $(VENV)/dev ## make the virtual environment with everything for working on signoff

test: $(VENV)/dev ## run all tests (about 5 minutes)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

nightly: $(VENV)/dev ## the tests of random graphs with 2,000 new examples each (SIGNOFF_NIGHTLY=1, also for .ci/run)
	SIGNOFF_NIGHTLY=1 $(BIN)/python -m pytest tests/properties $(ARGS)

torture: $(VENV)/dev ## kill, tear, flood and starve it, and look at every promise after each (a sample, about 3 minutes)
	$(BIN)/python -m pytest tests/torture -n 2 --dist worksteal $(ARGS)

torture-nightly: $(VENV)/dev ## all of that (SIGNOFF_NIGHTLY=1), for hours
	SIGNOFF_NIGHTLY=1 $(BIN)/python -m pytest tests/torture -n 2 --dist worksteal $(ARGS)

check: $(VENV)/dev ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev ## put the code into the house's form
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

coverage: $(VENV)/dev ## make test, and hold the coverage gates
	@$(MAKE) test WORKERS=2 ARGS="--cov --cov-report= $(ARGS)"
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include='graph_runtime/plan.py,graph_runtime/approvals.py,graph_runtime/answers.py,graph_runtime/runtime.py'

bench: $(VENV)/dev ## measure the runtime beside its peers, as a Markdown table (ARGS="--quick" for a look)
	$(BIN)/python -m benchmarks.run $(ARGS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .signoff

# The stamps are newer than pyproject.toml when the environment holds what it asks for.
$(VENV)/made:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed; {sys.executable} is {v.major}.{v.minor}. Try: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) || { echo "python3 has no working venv module (on Debian: apt install python3-venv)"; rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/run: $(VENV)/made pyproject.toml
	@test -e $(VENV)/dev -a $(VENV)/dev -nt pyproject.toml || { echo "Setting up (once, about 20 s) ..."; $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .; }
	@touch $@

$(VENV)/dev: $(VENV)/made pyproject.toml
	@echo "Setting up for tests (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
