# `make demo` and `make test` do everything on a machine with Python 3.11 to 3.13.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c '$(FITS)' 2>/dev/null && { echo "$$p"; break; }; done)
UV_HTTP_TIMEOUT ?= 120
UV_SYSTEM_CERTS ?= true
UV_COMPILE_BYTECODE ?= true
export UV_HTTP_TIMEOUT UV_SYSTEM_CERTS UV_COMPILE_BYTECODE

# Packages come by hash from the lock, and sdists are built with the lock's setuptools.
# uv takes a third of pip's time; pip, which knows the user's pip.conf, is the way out.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
install = $(UV) --no-build-isolation $(1) || { echo "uv could not; trying pip (a minute more)"; \
	$(PIP) --no-build-isolation --use-pep517 $(1); }
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)

# An environment whose Python has gone is rebuilt.
$(shell test -x $(BIN)/python || rm -f $(VENV)/*.stamp)

.PHONY: help setup setup-dev demo airflow test test-long fuzz check format lock bench crash-matrix docs site picture clean
help: ## list the targets
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python: none from 3.11 to 3.13 was found"; \
		echo "  fix: install python3.11 or newer, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c '$(FITS)' 2>/dev/null || { \
		echo "$(PYTHON): not a Python from 3.11 to 3.13: $$("$(PYTHON)" --version 2>&1 | head -n 1)"; \
		echo "  fix: name another one: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON): cannot make environments: its venv or ensurepip is missing"; \
		echo "  fix: install its venv package, such as python3-venv"; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON): cannot make $(VENV)"; echo "  fix: see the message above"; exit 1; }

$(VENV)/tools.stamp: requirements-dev.txt | $(BIN)/python
	@echo "installing the pinned uv and setuptools"
	@for name in setuptools uv; do sed -n "/^$$name==/,/[^\\]\$$/p" requirements-dev.txt; done \
		>$(VENV)/tools.txt
	@$(PIP) --require-hashes -r $(VENV)/tools.txt
	@touch $@

$(VENV)/runtime.stamp: requirements.txt pyproject.toml $(VENV)/tools.stamp
	@echo "installing the pinned packages (about half a minute, once)"
	@$(call install,--require-hashes -r requirements.txt)
	@echo "installing lakehouse itself"
	@$(call install,--no-deps -e .)
	@$(BIN)/python -m compileall -q lakehouse producers
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/runtime.stamp
	@echo "installing the pinned packages for tests and checks"
	@$(call install,--require-hashes -r requirements-dev.txt)
	@touch $@

setup: $(VENV)/runtime.stamp ## make .venv with what the product needs
setup-dev: $(VENV)/dev.stamp ## and what tests and checks need

demo: setup ## the main job on embedded services; REPLAY=FILE sends a retail CSV
	@$(BIN)/lakehouse demo $(if $(REPLAY),--replay "$(REPLAY)")

demo-%: setup ## the demo of one product, as in make demo-orders; lakehouse products lists them
	@! grep -q '^$* = \[' pyproject.toml || $(MAKE) --no-print-directory setup-dev # packages of its own
	@$(BIN)/lakehouse demo $*

AIRFLOW := .venv-airflow
$(AIRFLOW)/stamp: dags/requirements.txt $(VENV)/runtime.stamp
	@"$(PYTHON)" -m venv --clear $(AIRFLOW)
	@$(BIN)/uv pip install --quiet --python $(AIRFLOW)/bin/python --require-hashes -r dags/requirements.txt
	@touch $@

airflow: $(AIRFLOW)/stamp ## Airflow for the DAGs of dags/, in an environment of its own
	@dags/airflow db migrate
	@echo "now try: dags/airflow dags test lakehouse_care; dags/airflow standalone"

# lakes of tests lie in memory where it has room: a disk takes a sixth of their time
# compiled tests are kept, whatever the environment says: to compile them takes each worker 11 seconds
PYTEST := TMPDIR=$$($(BIN)/python -m tests.memory) JDK_JAVA_OPTIONS="$$($(BIN)/python -m tests.java)" \
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder
# two at a time for each core: one of them waits for Kafka or Postgres, as tests/apart.py has it
test: setup-dev ## every feature once, for real
	$(PYTEST) --durations=15

test-long: setup-dev ## what make test leaves out: its long ways, then the crash matrix
	DRAWN_TIMES=10 $(PYTEST) -m "long or drawn"
	$(MAKE) crash-matrix

FUZZ_SECONDS ?= 7200
fuzz: setup-dev ## change logs, checkpoints, manifests and files at random, for FUZZ_SECONDS (two hours), and read them
	$(BIN)/python -m tests.hostile.fuzz $(FUZZ_SECONDS)

check: setup-dev ## format, lint, types, import rules, generated docs, known weaknesses, jars
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/lakehouse docs --check
	$(BIN)/python .ci/picture.py --check
	$(BIN)/python .ci/packages.py requirements.txt
	$(BIN)/python -m lakehouse.services.jars check

format: setup-dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup-dev ## pin packages and jars again; UPGRADE=1 takes newer packages
	$(COMPILE) --extra tui pyproject.toml -o requirements.txt
	$(COMPILE) --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	$(COMPILE) dags/requirements.in -o dags/requirements.txt
	$(BIN)/python -m lakehouse.services.jars lock

bench: setup-dev ## measure beside other engines; writes docs/performance.md (an hour)
	@missed=0; for part in drain freshness activity churn; do $(BIN)/python -m bench $$part || missed=1; done; \
		exit $$missed

crash-matrix: setup-dev ## kill, pause and starve it in every way listed, fuzz its decoder, edit its tables; writes docs/reliability.md (45 minutes)
	$(BIN)/python -m tests.fuzz --records 3000000
	$(BIN)/python -m tests.hostile 200
	$(BIN)/python -m tests.matrix

docs: setup ## write the generated documents
	$(BIN)/lakehouse docs

picture: setup-dev ## draw README's picture again, of the lake in var/demo
	$(BIN)/python .ci/picture.py var/demo

site: setup-dev ## make build/site of docs/: pages to open in a browser
	$(BIN)/mkdocs build --quiet

clean: ## remove the environment, caches and the demos' lakes; other lakes stay
	rm -rf $(VENV) $(AIRFLOW) build *.egg-info var/demo var/demo-* var/ci-cache \
		.mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
