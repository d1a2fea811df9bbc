# `make demo` and `make test` do everything on a machine with Python 3.11 to 3.13.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& { echo "$$p"; break; }; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links --no-annotate

.PHONY: help setup setup-dev demo test check format lock docs clean
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python: none from 3.11 to 3.13 was found"; \
		echo "  fix: install python3.11 or newer, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON): cannot make a virtual environment"; \
		echo "  fix: install its venv package, such as python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/runtime.stamp: requirements.txt pyproject.toml | $(BIN)/python
	@echo "installing the pinned packages (about a minute, once)"
	@$(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/runtime.stamp
	@echo "installing the pinned packages for tests and checks"
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

setup: $(VENV)/runtime.stamp ## make .venv with what the product needs
setup-dev: $(VENV)/dev.stamp ## and what tests and checks need

demo: setup ## the main job on embedded services; REPLAY=FILE sends a retail CSV
	@$(BIN)/lakehouse demo $(if $(REPLAY),--replay "$(REPLAY)")

test: setup-dev ## every test
	$(BIN)/python -m pytest -q --durations=15

check: setup-dev ## format, lint, types, import rules, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/lakehouse docs --check

format: setup-dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup-dev ## pin packages and jars anew
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	$(BIN)/python -m lakehouse.services.jars

docs: setup ## write the generated documents
	$(BIN)/lakehouse docs


clean: ## remove the environment and the lakes
	rm -rf $(VENV) var
