#!/usr/bin/env bash
# Restores a backup: replaces both databases and adds its artifacts. Stops Airflow and MLflow in the meantime.
set -euo pipefail
source "$(dirname "$0")/common.sh"
folder=${1:-}
for file in airflow.dump mlflow.dump artifacts.tar.gz; do
  [ -s "$folder/$file" ] ||
    refuse "${folder:-BACKUP=}: holds no $file; name a folder that make backup has written: make restore BACKUP=backups/<time>"
done
need_engine
[ -f "$env_file" ] || refuse "$env_file: not there; bring the one that belongs to the backup, Airflow's database is encrypted with it"
compose up --detach --wait postgres
compose stop airflow-apiserver airflow-scheduler airflow-dag-processor mlflow
for database in airflow mlflow; do
  compose exec -T postgres pg_restore --username postgres --dbname "$database" --clean --if-exists --exit-on-error \
    --single-transaction <"$folder/$database.dump"
done
compose run --rm --no-deps -T mlflow tar -C /var/lib/mlflow -xz <"$folder/artifacts.tar.gz"
compose up --detach --wait --wait-timeout 300
echo "restored from $folder"
