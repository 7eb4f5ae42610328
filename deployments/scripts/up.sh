#!/usr/bin/env bash
# Starts the stack and waits until every part is healthy; writes ENV_FILE (default .env) where it is missing.
set -euo pipefail
source "$(dirname "$0")/common.sh"
need_engine
"${PYTHON:-python3}" deployments/scripts/write_env.py "$@" "$env_file"
compose build
if ! compose up --detach --wait --wait-timeout 300; then
  compose ps --all >&2
  echo "the stack is not healthy; what it says: make logs" >&2
  exit 1
fi
mlflow=$(setting MLFLOW_PORT) airflow=$(setting AIRFLOW_PORT) serving=$(setting SERVING_PORT)
prometheus=$(setting PROMETHEUS_PORT) alertmanager=$(setting ALERTMANAGER_PORT)
# a terminal's history and a CI job's log keep what is printed here: a demo's passwords alone
case " $* " in
  *" --demo "*) password() { setting "$1"; } ;;
  *) password() { echo "$1 in $env_file"; } ;;
esac
cat <<TEXT

Airflow     http://127.0.0.1:${airflow:-8080}   login $(setting AIRFLOW_ADMIN_USER), password $(password AIRFLOW_ADMIN_PASSWORD)
MLflow      http://127.0.0.1:${mlflow:-5000}   login $(setting MLFLOW_ADMIN_USER), password $(password MLFLOW_ADMIN_PASSWORD)
Service     http://127.0.0.1:${serving:-8000}   API key $(password PNEUMONIA_API_KEY)
Prometheus  http://127.0.0.1:${prometheus:-9090}   alerts http://127.0.0.1:${alertmanager:-9093}

In Airflow, open pneumonia_pipeline_fast and press Trigger; the run then shows in MLflow, and the champion that it makes
answers on the service's page, which asks for the API key once. Not a medical device.
TEXT
