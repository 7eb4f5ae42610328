#!/bin/bash
# Run once, on an empty data folder (or by compose.managed.yml, on a database outside): a role and a database each for Airflow, MLflow and monitoring; none sees another's.
set -euo pipefail
psql --variable ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set airflow_password="$AIRFLOW_DB_PASSWORD" --set mlflow_password="$MLFLOW_DB_PASSWORD" \
  --set monitoring_password="$MONITORING_DB_PASSWORD" <<'SQL'
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE ROLE monitoring LOGIN PASSWORD :'monitoring_password';
-- whoever makes the roles owns nothing of theirs, unless it is a superuser or a member: a cloud's administrator is neither
GRANT airflow, mlflow, monitoring TO CURRENT_USER;
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE monitoring OWNER monitoring;
REVOKE ALL ON DATABASE airflow, mlflow, monitoring FROM PUBLIC;
SQL
