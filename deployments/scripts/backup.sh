#!/usr/bin/env bash
# Writes both databases and MLflow's artifacts to a folder, backups/<time> by default. The stack stays up.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-backups/$(date -u +%Y%m%dT%H%M%SZ)}
compose() { docker compose --env-file "${ENV_FILE:-.env}" "$@"; }
umask 077
mkdir -p "$folder"
# the databases first: artifacts are never removed, so that everything the databases name is in the archive
for database in airflow mlflow; do
  compose exec -T postgres pg_dump --username postgres --format custom "$database" >"$folder/$database.dump.partial"
  mv "$folder/$database.dump.partial" "$folder/$database.dump"
done
compose exec -T mlflow tar -C /var/lib/mlflow -cz . >"$folder/artifacts.tar.gz.partial"
mv "$folder/artifacts.tar.gz.partial" "$folder/artifacts.tar.gz"
echo "$folder: airflow.dump, mlflow.dump, artifacts.tar.gz"
echo "The secrets in ${ENV_FILE:-.env} are not part of it; store them separately (Airflow's database is encrypted with one)."
