# Everything runs in .venv, which `make env` creates once and rebuilds when pyproject.toml or constraints.txt changes.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip install -qq --disable-pip-version-check

# The CPU build of torch is not on every index; its own is asked only if the configured ones lack it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# GPU=1 leaves torch unpinned: pip then takes the platform's default build (CUDA on Linux).
GPU    ?=
PINS   := $(VENV)/pins.txt
JOBS   ?= 4

BENCHES := $(sort $(patsubst benchmarks/%/run.py,%,$(wildcard benchmarks/*/run.py)))

.DEFAULT_GOAL := help
.PHONY: help env demo test test-weights check bench fix

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

env: $(VENV)/.made  ## create .venv with everything (GPU=1: torch's default build, not the CPU one)

$(VENV)/.made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "env: $(PYTHON) is not Python 3.11 or newer. Try make env PYTHON=python3.12." >&2; exit 2; }
	@test -x $(VENV)/bin/pip || { echo "env: creating $(VENV) (once; a few minutes)"; $(PYTHON) -m venv $(VENV); }
	@grep -v $(if $(GPU),'^torch==','^$$') constraints.txt > $(PINS)
	@echo "env: installing torch"
	@$(PIP) -c $(PINS) torch 2> /dev/null || $(PIP) -c $(PINS) torch --extra-index-url $(TORCH_INDEX)
	@echo "env: installing rmas and its other dependencies"
	@$(PIP) -c $(PINS) -e '.[dev]'
	@touch $@
	@echo "env: ready in $(VENV)"

demo: env  ## answer three questions with real models, latent against text
	@echo "demo: fetching what is missing and asking (the first run downloads the models)"
	@$(VENV)/bin/rmas demo

test: env  ## run the unit tests (no network, no weights)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses $(JOBS) $(ARGS)

test-weights: env  ## run the tests on real models (downloads them once)
	HF_HUB_OFFLINE=0 OMP_WAIT_POLICY=PASSIVE $(PY) -m pytest -m weights --force-enable-socket --timeout 600 $(ARGS)

check: env  ## lint, format, types, layers, docs/help.md
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) -m pytest tests/test_layers.py
	$(PY) docs/generate_help.py --check

bench: env  ## run benchmarks/NAME/run.py: make bench NAME=rollout
	@case " $(BENCHES) " in *" $(or $(NAME),?) "*) ;; \
	*) echo "bench: NAME=$(NAME) is not a benchmark (have $(or $(BENCHES),none)). Try make bench NAME=$(or $(firstword $(BENCHES)),…)." >&2; exit 2;; esac
	@OMP_WAIT_POLICY=PASSIVE $(PY) -m benchmarks.$(NAME).run $(ARGS)

fix: env  ## format, repair what ruff can, write docs/help.md anew
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .
	$(PY) docs/generate_help.py
