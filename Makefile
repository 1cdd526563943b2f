# `make demo` and `make test` do all their set-up; they need Python 3.11 or later and make, nothing else.
# Another torch build: make demo TORCH_INDEX=URL, or TORCH="torch==2.12.1"; see README.md.

# 3.11 first: it is the last that DGL has wheels for. Debian splits ensurepip off, and venv fails without it.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# the stamp holds the torch and the index of a set-up with another than the usual: later calls need not name them again
USUAL := torch==2.13.0
CHOSEN := $(shell cat $(READY) 2>/dev/null)
TORCH ?= $(or $(word 1,$(CHOSEN)),$(USUAL))
TORCH_INDEX ?= $(word 2,$(CHOSEN))
WANTED := $(strip $(TORCH) $(TORCH_INDEX))
ifneq ($(WANTED),$(or $(CHOSEN),$(USUAL)))
CHANGED := $(wildcard $(READY))
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help setup demo test bench lint docs smoke again
.DELETE_ON_ERROR:

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY)  ## make .venv with everything installed

# torch first and bounded: resolved among forty packages, pip may try several of its large wheels
$(READY): pyproject.toml $(if $(CHANGED),again)
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: no Python 3.11 or later" \
		"that can make environments; install one (Debian, Ubuntu: apt install python3-venv)," \
		"or name it: make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(if $(CHANGED),$(PIP) uninstall --yes torch)
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	$(PIP) install -e ".[dev]"
	@echo "$(if $(filter-out $(USUAL),$(WANTED)),$(WANTED))" > $@

demo: $(READY)  ## train a small model, draw graphs from three prompts, write demo/
	$(BIN)/python -m graftable demo --out demo

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY)  ## style, types, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

smoke: $(READY)  ## build the wheel, install it in a clean environment, and use it there
	PYTHON="$(BIN)/python" TORCH="$(TORCH)" TORCH_INDEX="$(TORCH_INDEX)" sh .ci/smoke

bench: $(READY)  ## measure what the README quotes; writes benchmarks/results/
	@set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

docs: $(VENV)/.docs-ready  ## build docs/_build/html
	$(BIN)/python -m sphinx -b html docs docs/_build/html

$(VENV)/.docs-ready: $(READY)
	$(PIP) install -e ".[docs]"
	@touch $@
