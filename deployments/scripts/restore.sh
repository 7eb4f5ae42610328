#!/usr/bin/env bash
# Restores a backup: replaces all databases and the key of the patients' pseudonyms, and adds its artifacts. A key that
# was another one is kept beside it. Stops Airflow, MLflow and the service in the meantime.
set -euo pipefail
source "$(dirname "$0")/common.sh"
folder=${1:-}
for file in airflow.dump mlflow.dump monitoring.dump artifacts.tar.gz; do
  [ -s "$folder/$file" ] ||
    refuse "${folder:-BACKUP=}: holds no $file; name a folder that make backup has written: make restore BACKUP=backups/<time>"
done
[ ! -e "$folder/patient.key" ] || [ "$(wc -c <"$folder/patient.key")" -eq "$key_bytes" ] ||
  refuse "$folder/patient.key: is not a key of $key_bytes bytes; bring back the one that make backup wrote"
need_engine
[ -f "$env_file" ] || refuse "$env_file: not there; bring the one that belongs to the backup, Airflow's database is encrypted with it"
compose up --detach --wait postgres
compose stop airflow-apiserver airflow-scheduler airflow-dag-processor mlflow serving
for database in airflow mlflow monitoring; do
  compose exec -T postgres pg_restore --username postgres --dbname "$database" --clean --if-exists --exit-on-error \
    --single-transaction <"$folder/$database.dump"
done
compose run --rm --no-deps -T mlflow tar -C /var/lib/mlflow -xz <"$folder/artifacts.tar.gz"
if [ -e "$folder/patient.key" ]; then
  compose run --rm --no-deps -T airflow-scheduler sh -c "set -e; umask 077; cat >$key_file.restored
    [ \$(wc -c <$key_file.restored) -eq $key_bytes ]
    [ ! -e $key_file ] || cmp -s $key_file $key_file.restored || mv $key_file $key_file.before-\$(date -u +%Y%m%dT%H%M%SZ)
    mv $key_file.restored $key_file" <"$folder/patient.key"
fi
compose up --detach --wait --wait-timeout 300
echo "restored from $folder"
