# Everything a developer or CI runs. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
PYTEST_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.stamp

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: .venv
.venv: $(STAMP) ## the virtual environment: locked packages and this checkout, editable

# The dev lock holds the run-time one, so one installation has all. Redone only when a lock changes.
$(STAMP): requirements.lock requirements-dev.lock
	@echo "making .venv (locked packages, a minute or less)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@$(PYTHON) -m venv .venv || { echo "python3-venv is missing; see 'make debian'" >&2; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: debian
debian: ## the Debian packages that tests need: installed as root, else named
	@scripts/debian-packages

.PHONY: demo
demo: $(STAMP) ## a tour on the example network; changes nothing on this machine
	@scripts/demo.sh

.PHONY: test
test: debian $(STAMP) ## all tests (PYTEST_ARGS="-m 'not lab'" for a part)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: check
check: lint types layers ansible-lint ## all that reads the code without running it

.PHONY: lint
lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: format
format: $(STAMP) ## ruff: mend what it can, then format
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: types
types: $(STAMP) ## mypy, strict, on the package, the tests and the benchmarks
	@$(BIN)/mypy

.PHONY: layers
layers: $(STAMP) ## import-linter: who may import whom, and no I/O in the pure core
	@$(BIN)/lint-imports

.PHONY: ansible-lint
ansible-lint: $(STAMP) ## ansible-lint, production profile
	@scripts/lint-ansible

.PHONY: collection
collection: $(STAMP) ## build the collection's archive, and check it: sanity tests, changelog, molecule
	@scripts/check-collection

.PHONY: ansible-versions
ansible-versions: ## the tests of playbooks with newer releases of ansible-core, where a newer Python is there
	@scripts/check-ansible-versions

.PHONY: bench
bench: $(STAMP) ## the benchmarks, benchmarks/bench_*.py; prints tables, asserts no time
	@for script in $(wildcard benchmarks/bench_*.py); do \
		echo "== $$script"; $(BIN)/python -m "benchmarks.$$(basename "$$script" .py)"; \
	done

.PHONY: wheel
wheel: $(STAMP) ## build the wheel and the sdist, then use the wheel in a clean environment
	@scripts/check-wheel

.PHONY: clean
clean: ## remove what the targets above made
	@rm -rf .venv dist build out .cache .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
