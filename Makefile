# make help lists what this file does. Every command works on a machine that has only Python 3.11 and make.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
UV_VERSION := 0.13.9
BIN := .venv/bin
# The CPU build of torch unless told otherwise: make install TORCH_BACKEND=cu130
TORCH_BACKEND ?= cpu
# A folder of wheels that pip was told to look in holds the build of torch that suits the machine.
TORCH_FROM := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend $(TORCH_BACKEND))
UV := UV_LINK_MODE=copy VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv --no-config
ARGS ?=
MLFLOW_PORT ?= 5000
PREFECT_PORT ?= 4200

.PHONY: help install run test lint ui lock lock-project clean

include deployments/deployments.mk

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: .venv/.installed ## make .venv from the committed lock

.venv/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed; name it with: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(UV) pip install --quiet --no-deps $(TORCH_FROM) torch==2.13.0 torchvision==0.28.0
	$(UV) pip install --quiet --no-deps --requirement requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: install ## train, validate and promote a model; ARGS="--profile full --data data/chest_xray"
	$(BIN)/python flows/pipeline.py $(ARGS)

test: install install-airflow ## run the whole test suite
	$(BIN)/python -m pytest $(ARGS)

lint: install ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: install ## MLflow on 5000 and Prefect on 4200, with the runs made here; Ctrl-C ends both
	$(BIN)/pneumonia ui --mlflow-port $(MLFLOW_PORT) --prefect-port $(PREFECT_PORT)

lock: lock-project lock-stack ## resolve every lock again

lock-project:
	$(UV) pip compile pyproject.toml --all-extras --generate-hashes --python-version 3.11 $(TORCH_FROM) \
	  --no-emit-package torch --no-emit-package torchvision --custom-compile-command "make lock" \
	  --no-annotate --output-file requirements.lock

clean: ## remove .venv and what runs left behind; data stays
	rm -rf .venv .venv-airflow .pneumonia
