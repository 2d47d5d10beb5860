# Everything here needs Python >= 3.12 and a shell; uv is used if it is there and brought into .tools/ if it is not.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test soak faults dev up down lint format bench lock

TOOLS := .tools
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$p && break; done)
UV ?= $(shell command -v uv || echo $(TOOLS)/bin/uv)
BIN := .venv/bin
READY := .venv/.ready

help:  ## Show this
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(READY)  ## Back up a real PostgreSQL, restore it, compare; KEEP=1 leaves it all running
	@$(BIN)/ops demo $(if $(KEEP),--keep)

test: $(READY)  ## All tests; ARGS="-k name" for some
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

soak: $(READY)  ## Kill the WAL receiver 1,000 times, and everything else at every call to the bucket (hours)
	@$(BIN)/pytest tests/soak --timeout 0 $(ARGS)

faults: $(READY)  ## Damage backups in every way, and see that each is noticed; ARGS="--fast" for some
	@$(BIN)/ops faults $(ARGS)

dev: $(READY)  ## The stack, traffic and the Dagster UI until Ctrl-C
	@$(BIN)/ops dev

up: $(READY)  ## Start the embedded stack
	@$(BIN)/ops up

down: $(READY)  ## Stop it
	@$(BIN)/ops down

lint: $(READY)  ## Formatting, style, types, import floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY)  ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY)  ## Speed and memory beside pgBackRest, barman and pg_basebackup
	@$(BIN)/python -m benchmarks

lock: $(UV)  ## Pin every version anew
	@$(UV) pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header \
		--all-extras --group dev pyproject.toml -o requirements.lock

$(READY): requirements.lock pyproject.toml | $(UV)
	@echo "Installing what requirements.lock pins into .venv …"
	@$(UV) venv --quiet --allow-existing $(if $(PYTHON),--python $(PYTHON)) .venv
	@VIRTUAL_ENV=.venv $(UV) pip sync --quiet --require-hashes requirements.lock
	@VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --editable .
	@touch $(READY)

$(TOOLS)/bin/uv:
	@test -n "$(PYTHON)" || { echo "make: Python 3.12 or newer is needed and was not found: install it." >&2; exit 1; }
	@echo "Bringing uv into $(TOOLS) …"
	@$(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet 'uv>=0.9'
