# The workflow, as commands. `make run` and `make test` need only Python >= 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More than there are processors: many tests wait for processes that they have started.
PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
# uv is a good deal faster; pip does the same.
INSTALL = $(if $(shell command -v uv),uv pip install --quiet --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check)

# The longest files first, or two processors wait for the last one: tests/conftest.py.
SPREAD = --numprocesses=$(PROCESSES) --dist=loadfile --no-loadscope-reorder

.PHONY: run test tests compiled thorough test-mlflow lint audit bench docs lock clean
# A half-made virtual environment must not pass for a whole one.
.DELETE_ON_ERROR:

run: $(VENV)/.run  ## Serve on http://127.0.0.1:8000 with an embedded SQLite catalog
	@exec $(BIN)/gunicorn wsgi:app

# Tests that wait for real processes can be late where three of them share two processors: what
# failed is tried once more, alone. Its first failure stays in the output.
test: $(VENV)/.test  ## Everything: style, types, layers, tests on real servers
	@+$(MAKE) --no-print-directory --jobs=2 lint tests

tests: compiled
	$(BIN)/pytest $(SPREAD) || $(BIN)/pytest --last-failed --last-failed-no-failures=none

# Where Python is told to keep nothing, each of the processes that tests start would do this again.
compiled: $(VENV)/.test
	@$(BIN)/python -m compileall -q app headway

thorough: compiled  ## Each case on each server, and all that is fuzzed: an hour and more
	$(BIN)/pytest $(SPREAD) -m 'thorough or not thorough'

test-mlflow: $(VENV)/.test  ## The 66 revisions of another program, on real servers
	$(INSTALL) --editable '.[test,mlflow]'
	$(BIN)/pytest tests/migrator/test_real_projects.py

lint: $(VENV)/.test audit
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Where the service of advisories does not answer, that is said, and is no fault of a change.
audit: $(VENV)/.test  ## Known vulnerabilities of what the image is made of
	@said=$$($(BIN)/pip-audit --disable-pip --require-hashes --requirement requirements.lock --timeout 5 \
	  --progress-spinner off 2>&1) || { case "$$said" in \
	    *"known vulnerabilit"*) echo "$$said"; exit 1;; \
	    *) echo "Not audited: $$(echo "$$said" | tail -1 | cut -c1-200)"; exit 0;; esac; }; \
	  case "$$said" in *"could not be audited"*) echo "Not audited: $$(echo "$$said" | grep -c 'could not be audited') packages are unknown to the service of advisories";; esac

bench: $(VENV)/.test  ## What it costs, beside what one would use instead
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/boot.py
	$(BIN)/python benchmarks/fleet.py

# MkDocs is pinned below 2 by its theme; the notice about that is for whoever maintains this.
docs: $(VENV)/.docs  ## The site of docs/, in site/; a broken link or anchor fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lock: $(BIN)/python  ## requirements.lock: what the image is made of, with hashes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --custom-compile-command 'make lock' --extra service --extra postgresql --extra mysql \
	  --extra scale --extra oidc pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Headway needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# Installed again when the dependencies change, and only then.
$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[service,postgresql,mysql]'
	@touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[docs]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/.run
