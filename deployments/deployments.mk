# The Compose stack's targets; part of the Makefile.
AIRFLOW_BIN := .venv-airflow/bin
COMPOSE ?= docker compose
ENV_FILE ?= .env
BACKUP ?=
# A folder with a wheel of torch, where pip was told of one; otherwise an empty one, and uv finds the CPU build itself.
export WHEELS_DIR ?= $(or $(firstword $(wildcard $(PIP_FIND_LINKS))),./deployments/wheels)
export GIT_COMMIT ?= $(shell git describe --always --abbrev=40 --match= --dirty 2>/dev/null)
ON_LINUX := --python-platform x86_64-unknown-linux-gnu
COMPOSE_HERE = $(COMPOSE) --env-file "$(ENV_FILE)"

.PHONY: up down logs backup restore data-pull install-airflow install-delivery form dashboards lock-stack lock-check-images release

up: ## start PostgreSQL, MLflow, Airflow, the service and Prometheus in containers; DEMO=1: login airflow/airflow
	@ENV_FILE="$(ENV_FILE)" PYTHON="$(PYTHON)" deployments/scripts/up.sh $(if $(DEMO),--demo)

down: ## stop the containers; databases, artifacts and checkpoints stay
	$(COMPOSE_HERE) down

logs: ## follow what the containers say
	$(COMPOSE_HERE) logs --follow --tail 100

backup: ## databases, artifacts and the patients' key, into backups/<time>
	@ENV_FILE="$(ENV_FILE)" deployments/scripts/backup.sh $(if $(BACKUP),"$(BACKUP)")

restore: ## bring BACKUP=backups/<time> back
	@ENV_FILE="$(ENV_FILE)" deployments/scripts/restore.sh $(if $(BACKUP),"$(BACKUP)")

data-pull: ## bring the recorded radiographs into the stack from DVC_REMOTE_URL
	$(COMPOSE_HERE) run --rm data

install-airflow: .venv-airflow/.installed ## make .venv-airflow, in which the tests import the DAGs

.venv-airflow/.installed: deployments/airflow/requirements.lock $(INSTALLED)
	@$(UV) venv --quiet --clear --python $(BIN)/python .venv-airflow
	@$(STEP) --bar "Airflow in .venv-airflow" $(UV) pip install --python .venv-airflow $(QUIET) --no-deps --compile-bytecode --require-hashes \
	  --requirement deployments/airflow/requirements.lock
	@touch $@

install-delivery: .venv-delivery/.installed ## make .venv-delivery, whose tools check charts, clouds and workflows

.venv-delivery/.installed: deployments/delivery/requirements.lock $(INSTALLED)
	@$(UV) venv --quiet --clear --python $(BIN)/python .venv-delivery
	@$(STEP) --bar "the tools of delivery in .venv-delivery" $(UV) pip install --python .venv-delivery $(QUIET) --no-deps --require-hashes \
	  --requirement deployments/delivery/requirements.lock
	@touch $@

release: install ## build wheel, source archive, bill of materials and checksums of this commit into OUT=dist
	$(BIN)/python deployments/release/build.py --out "$(or $(OUT),dist)"

form: install ## write the form of Airflow's page and the chart's list of settings anew from the configuration
	$(BIN)/python deployments/scripts/write_form.py
	$(BIN)/python deployments/scripts/write_chart_settings.py

dashboards: ## write Grafana's dashboards anew from the list of their panels
	$(PYTHON) deployments/scripts/write_dashboards.py

lock-stack: ## resolve the images' locks again; after make lock
	$(UV_COMPILE) $(ON_LINUX) deployments/airflow/requirements.in --output-file deployments/airflow/requirements.lock
	$(UV_COMPILE) deployments/delivery/requirements.in --output-file deployments/delivery/requirements.lock
	$(UV_COMPILE) $(ON_LINUX) deployments/mlflow/requirements.in --constraint requirements.lock \
	  --output-file deployments/mlflow/requirements.lock
	$(UV_COMPILE) $(ON_LINUX) pyproject.toml deployments/library/requirements.in --extra training --extra dicom \
	  --extra versioning --extra storage --constraint requirements.lock $(NO_TORCH) --output-file deployments/library/requirements.lock
	$(UV_COMPILE) $(ON_LINUX) pyproject.toml deployments/serving/requirements.in --extra serving --extra dicom \
	  --constraint requirements.lock --output-file deployments/serving/requirements.lock

# The images' locks are resolved on x86-64: do they hold for arm64, on Debian 12 (glibc 2.36)?
lock-check-images:
	for part in airflow library mlflow serving; do \
	  $(RESOLVE) --python-platform aarch64-manylinux_2_36 --requirement deployments/$$part/requirements.lock || exit 1; done
