# The Compose stack's targets; part of the Makefile.
AIRFLOW_BIN := .venv-airflow/bin
COMPOSE ?= docker compose
ENV_FILE ?= .env
BACKUP ?=
# A folder with a wheel of torch, where pip was told of one; otherwise an empty one, and uv finds the CPU build itself.
export WHEELS_DIR ?= $(or $(firstword $(wildcard $(PIP_FIND_LINKS))),./deployments/wheels)
export GIT_COMMIT ?= $(shell git describe --always --abbrev=40 --match= --dirty 2>/dev/null)
UV_COMPILE := $(UV) pip compile --generate-hashes --python-version 3.11 --no-annotate --quiet --custom-compile-command "make lock"

.PHONY: up down logs backup restore data-pull install-airflow form lock-stack

up: ## start PostgreSQL, MLflow and Airflow in containers; DEMO=1: login airflow/airflow
	@ENV_FILE=$(ENV_FILE) PYTHON=$(PYTHON) deployments/scripts/up.sh $(if $(DEMO),--demo)

down: ## stop the containers; databases, artifacts and checkpoints stay
	$(COMPOSE) --env-file $(ENV_FILE) down

logs: ## follow what the containers say
	$(COMPOSE) --env-file $(ENV_FILE) logs --follow --tail 100

backup: ## both databases and the artifacts, into backups/<time>
	@ENV_FILE=$(ENV_FILE) deployments/scripts/backup.sh $(BACKUP)

restore: ## bring BACKUP=backups/<time> back
	@ENV_FILE=$(ENV_FILE) deployments/scripts/restore.sh $(BACKUP)

data-pull: ## bring the recorded films into the stack from DVC_REMOTE_URL
	$(COMPOSE) --env-file $(ENV_FILE) run --rm data

install-airflow: .venv-airflow/.installed ## make .venv-airflow, in which the tests import the DAGs

.venv-airflow/.installed: deployments/airflow/requirements.lock .venv/.installed
	$(BIN)/uv --no-config venv --quiet --clear --python $(BIN)/python .venv-airflow
	UV_LINK_MODE=copy VIRTUAL_ENV=$(CURDIR)/.venv-airflow $(BIN)/uv --no-config pip install --quiet --no-deps --require-hashes \
	  --requirement deployments/airflow/requirements.lock
	@touch $@

form: install ## write the form of Airflow's page anew from the configuration
	$(BIN)/python deployments/scripts/write_form.py

lock-stack: ## resolve the images' locks again; after make lock
	$(UV_COMPILE) deployments/airflow/requirements.in --output-file deployments/airflow/requirements.lock
	$(UV_COMPILE) deployments/mlflow/requirements.in --constraint requirements.lock --output-file deployments/mlflow/requirements.lock
	$(UV_COMPILE) pyproject.toml deployments/library/requirements.in --extra versioning --constraint requirements.lock $(TORCH_FROM) \
	  --no-emit-package torch --no-emit-package torchvision --output-file deployments/library/requirements.lock
