# `make help` lists the targets. All work happens in .venv (`make aot`: .venv-tpu); installs are repeated only when pyproject.toml changes.

SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-aot test-beam lint format bench notebooks aot docs

WORKDIR ?= runs/demo
PRESET ?= librispeech
TOPOLOGY ?= v5e:4x4
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base-installed
FULL := $(VENV)/.full-installed
TPU_VENV := .venv-tpu
BEAM_VENV := .venv-beam
BEAM := $(BEAM_VENV)/.installed
TPU := $(TPU_VENV)/.installed
BENCH := $(VENV)/.bench-installed
BENCHMARKS ?= step bilevel_step bilevel.overhead ctc rnnt depthwise grouped lstm encoders input reading compile_time decoding beam rnnt_beam attention_beam scaling

# Of pip's output, what tells that it is moving (large downloads, the last step), and errors.
PIP_INSTALL = $(@D)/bin/python -m pip install --disable-pip-version-check --progress-bar off 2> >(grep -v '^WARNING' >&2)
PROGRESS = sed -u -n -e 's/^ *Downloading \([^ ]* ([0-9.]* [MG]B)\).*/  \1/p' -e 's/^\(Installing\) collected.*/  \1 .../p'

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || cat $(MAKEFILE_LIST)

setup: $(FULL)  ## create .venv with everything to run, test and change the project

demo: $(BASE)  ## fetch the default corpus, train, evaluate and write a report to WORKDIR (runs/demo); resumes
	$(BIN)/python -m bljust_jax.main --config=configs/conformer.py --workdir=$(WORKDIR)

test: $(FULL)  ## quick tests, of programs compiled with few optimisations, which saves a third of the time
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(FULL)  ## slow tests, those on the real corpora, and numerics of programs that are optimised as in training
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest -m slow -n 2 --dist worksteal tests/test_matrix.py
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/losses tests/models tests/features
	$(BIN)/python -m pytest -m 'slow or corpus' --timeout 3600 --durations 10 --ignore tests/test_matrix.py

test-aot: $(TPU)  ## tests that compile for a TPU that is not there
	@$(TPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'hypothesis>=6.100,<7' 'pytest>=9,<10' 'pytest-timeout>=2.3,<3'
	$(TPU_VENV)/bin/python -m pytest -m aot tests/launch --timeout 900

test-beam: $(BEAM)  ## tests of preparing with Apache Beam, which needs an older protobuf than the rest: in .venv-beam
	@$(BEAM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'hypothesis>=6.100,<7' 'pytest>=9,<10' 'pytest-timeout>=2.3,<3'
	$(BEAM_VENV)/bin/python -m pytest tests/launch/test_prepare_beam.py

lint: $(FULL)  ## ruff and mypy
	@status=0; \
	$(BIN)/ruff check --output-format concise || status=1; \
	$(BIN)/ruff format --check --output-format concise || status=1; \
	$(BIN)/mypy || status=1; \
	exit $$status

format: $(FULL)  ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

aot: $(TPU)  ## compile a step of PRESET (librispeech) for a TPU that is not there, TOPOLOGY (v5e:4x4); its memory
	$(TPU_VENV)/bin/python -m launch.aot --config=configs/conformer.py:$(PRESET) --topology=$(TOPOLOGY)

bench: $(BENCH)  ## every benchmark, half an hour; BENCHMARKS="step ctc" picks some
	@for name in $(BENCHMARKS); do \
	  echo "=== $$name"; \
	  $(BIN)/python -m benchmarks.$$name || exit 1; \
	done

notebooks: $(FULL)  ## execute the notebooks, and keep their outputs in them
	$(BIN)/python -m notebooks.execute

docs:
	@echo 'make $@: not there yet.' >&2; exit 1

$(BASE): pyproject.toml | $(BIN)/pip
	@echo 'Installing what training needs into $(VENV) (a few minutes the first time) ...'
	@$(PIP_INSTALL) -e . | $(PROGRESS)
	@touch $@

$(FULL): pyproject.toml | $(BIN)/pip
	@echo 'Installing everything into $(VENV) (a few minutes the first time) ...'
	@$(PIP_INSTALL) -e '.[test,dev,synth,notebooks]' | $(PROGRESS)
	@touch $(BASE) $@

$(TPU): pyproject.toml | $(TPU_VENV)/bin/pip
	@echo 'Installing what compiling for TPUs needs into $(TPU_VENV) (a few minutes the first time) ...'
	@$(PIP_INSTALL) -e '.[tpu]' | $(PROGRESS)
	@touch $@

$(BEAM): pyproject.toml | $(BEAM_VENV)/bin/pip
	@echo 'Installing what Apache Beam needs into $(BEAM_VENV) (a few minutes the first time) ...'
	@$(PIP_INSTALL) -e '.[beam]' | $(PROGRESS)
	@touch $@

$(BENCH): $(FULL)
	@echo 'Installing what the benchmarks compare with into $(VENV) ...'
	@$(PIP_INSTALL) -e '.[bench]' | $(PROGRESS)
	@touch $@

$(BIN)/pip $(TPU_VENV)/bin/pip $(BEAM_VENV)/bin/pip: %/bin/pip:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'error: Python 3.11, 3.12 or 3.13 is needed and not found; install one, or name it: make setup PYTHON=/path/to/python3.' >&2; \
	  exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "error: $$python cannot create virtual environments; on Debian and Ubuntu: apt install python3-venv." >&2; \
	  exit 1; \
	fi; \
	echo "Creating $* with $$($$python --version) ..."; \
	$$python -m venv $*
