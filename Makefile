# make help lists what this file does. Every command works on a machine that has make, and Python 3.11 or uv.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
UV_VERSION := 0.13.9
BIN := .venv/bin
ARGS ?=
MLFLOW_PORT ?= 5000
PREFECT_PORT ?= 4200
SERVING_PORT ?= 8000

# make install TORCH_BACKEND=cuda; later commands stay with what is installed. Any of CUDA's names (cu130) means the lock
# that holds torch as the package index has it: with CUDA on Linux, and without on macOS, which takes it in any case.
TORCH_BACKEND ?= $(or $(shell cat .venv/.torch-backend 2>/dev/null),cpu)
ifneq ($(filter cu%,$(TORCH_BACKEND)),)
BUILD := cuda
else ifeq ($(TORCH_BACKEND),cpu)
BUILD := cpu
else
$(error TORCH_BACKEND=$(TORCH_BACKEND): choose cpu or cuda)
endif
LOCK := $(if $(filter Darwin,$(shell uname -s))$(filter cuda,$(BUILD)),requirements-cuda.lock,requirements.lock)
TORCH := torch==2.13.0 torchvision==0.28.0
# The CPU build comes from a folder of wheels, where pip was told of one that has it, or from where uv knows it to be.
WHEELS := $(foreach place,$(PIP_FIND_LINKS),$(if $(findstring ://,$(place))$(wildcard $(place)/torch-*.whl),$(place)))
TORCH_FROM := $(or $(foreach place,$(WHEELS),--find-links "$(place)"),--torch-backend cpu)

UV := env UV_LINK_MODE=copy VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/uv --no-config
STEP := deployments/scripts/step.sh
QUIET := $(shell [ -t 2 ] || echo --quiet)
INSTALLED := .venv/.installed-$(BUILD)

.PHONY: help install run serve test test-quick test-nightly lint ui lock lock-project lock-check clean

# One resolution for Linux and macOS, with torch as the index has it. The CPU's lock is the same without torch and without
# what its CUDA builds alone need; the CPU builds' hashes are not known here, since the index does not have them.
UV_COMPILE := $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"
NO_TORCH := --no-emit-package torch --no-emit-package torchvision \
  $$(sed -nE 's/^((nvidia|cuda)-[a-z0-9-]+|triton)==.*/--no-emit-package \1/p' requirements-cuda.lock)

include deployments/deployments.mk

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(INSTALLED) ## make .venv from the committed lock; TORCH_BACKEND=cuda: with CUDA

$(INSTALLED): $(LOCK) pyproject.toml
	@$(STEP) "1/5 Python 3.11 in .venv" deployments/scripts/make_venv.sh "$(PYTHON)" $(filter-out file,$(firstword $(origin PYTHON)))
	@$(STEP) --bar "2/5 uv, the installer" $(BIN)/python -m pip install $(QUIET) --disable-pip-version-check uv==$(UV_VERSION)
ifeq ($(LOCK),requirements.lock)
	@$(STEP) --bar "3/5 torch for the CPU" $(UV) pip install $(QUIET) --no-deps $(TORCH_FROM) $(TORCH)
else
	@echo "[3/5 torch as the package index has it, with the other libraries]" >&2
endif
	@$(STEP) --bar "4/5 the libraries of $(LOCK)" $(UV) pip install $(QUIET) --no-deps --compile-bytecode --require-hashes \
	  --requirement $(LOCK)
	@$(STEP) --bar "5/5 this project" $(UV) pip install $(QUIET) --no-deps --no-build-isolation --editable .
	@echo $(BUILD) > .venv/.torch-backend
	@touch $@

run: install ## train, validate and promote a model; ARGS="--profile full --data data/chest_xray"
	$(BIN)/python flows/pipeline.py $(ARGS)

serve: install ## answer with the champion on 8000, a page and an API; Ctrl-C ends it
	$(BIN)/pneumonia serve --port $(SERVING_PORT) $(ARGS)

# Groups of tests that share a server stay on one worker, in their order, the longest first: tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder
MARKS ?= not nightly

test: install install-airflow install-delivery ## run the test suite but for the nightly tests; MARKS="not nightly and not stack" leaves more out
	$(PYTEST) -m "$(MARKS)" $(ARGS)

test-quick: install ## run the tests that start no process, run no step of the pipeline and need no data
	$(PYTEST) -m "not integration and not stack and not nightly and not real" $(ARGS)

test-nightly: install install-airflow install-delivery ## run the tests that are too long for every change
	$(BIN)/python -m pytest -m nightly $(ARGS)

lint: install ## ruff, mypy, and the rooms' import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

ui: install ## MLflow on 5000 and Prefect on 4200, with the runs made here; Ctrl-C ends both
	$(BIN)/pneumonia ui --mlflow-port $(MLFLOW_PORT) --prefect-port $(PREFECT_PORT)

lock: lock-project lock-check lock-stack ## resolve every lock again, from the package index; ARGS=--upgrade takes new versions

lock-project:
	$(UV_COMPILE) pyproject.toml --all-extras --universal $(ARGS) --output-file requirements-cuda.lock
	$(UV_COMPILE) pyproject.toml --all-extras --universal --constraint requirements-cuda.lock $(NO_TORCH) \
	  --output-file requirements.lock
	$(BIN)/python deployments/scripts/write_requires.py requirements-cuda.lock requirements.lock \
	  requirements-cuda.json

# Resolves what the locks' packages require, for each kind of machine, and installs nothing. FROM_SOURCE has no wheel:
# antlr4 and grad-cam nowhere, gevent not on macOS. OpenVINO's for aarch64 needs glibc 2.35.
PLATFORMS := x86_64-manylinux_2_28 aarch64-manylinux_2_35 aarch64-apple-darwin
FROM_SOURCE := antlr4-python3-runtime grad-cam gevent
RESOLVE = MACOSX_DEPLOYMENT_TARGET=14.0 $(UV) pip install --dry-run --quiet --require-hashes --python-version 3.11 \
  --only-binary :all: $(FROM_SOURCE:%=--no-binary %) --target .venv/nothing
lock-check:
	for platform in $(PLATFORMS); do \
	  $(RESOLVE) --python-platform $$platform --requirement requirements-cuda.lock || exit 1; done

clean: ## remove .venv and what runs left behind; data stays
	rm -rf .venv .venv-airflow .venv-delivery .pneumonia
