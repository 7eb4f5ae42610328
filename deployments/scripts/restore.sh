#!/usr/bin/env bash
# Restores a backup: replaces all databases and the keys of the pseudonyms, and adds its artifacts. A key that was another
# one is kept beside it. Stops Airflow, MLflow and the service in the meantime.
set -euo pipefail
source "$(dirname "$0")/common.sh"
folder=${1:-}
for file in airflow.dump mlflow.dump monitoring.dump artifacts.tar.gz; do
  [ -s "$folder/$file" ] ||
    refuse "${folder:-BACKUP=}: holds no $file; name a folder that make backup has written: make restore BACKUP=backups/<time>"
done
for place in "${keys[@]}"; do
  key=$folder/${place#*:}
  [ ! -e "$key" ] || [ "$(wc -c <"$key")" -eq "$key_bytes" ] ||
    refuse "$key: is not a key of $key_bytes bytes; bring back the one that make backup wrote"
done
need_engine
[ -f "$env_file" ] || refuse "$env_file: not there; bring the one that belongs to the backup, Airflow's database is encrypted with it"
compose up --detach --wait postgres
compose stop airflow-apiserver airflow-scheduler airflow-dag-processor mlflow serving
for database in airflow mlflow monitoring; do
  compose exec -T postgres pg_restore --username postgres --dbname "$database" --clean --if-exists --exit-on-error \
    --single-transaction <"$folder/$database.dump"
done
compose run --rm --no-deps -T mlflow tar -C /var/lib/mlflow -xz <"$folder/artifacts.tar.gz"
for place in "${keys[@]}"; do
  key=$folder/${place#*:}
  [ -e "$key" ] || continue
  compose run --rm --no-deps -T "${place%%:*}" sh -c "set -e; umask 077; cat >$key_file.restored
    [ \$(wc -c <$key_file.restored) -eq $key_bytes ]
    [ ! -e $key_file ] || cmp -s $key_file $key_file.restored || mv $key_file $key_file.before-\$(date -u +%Y%m%dT%H%M%SZ)
    mv $key_file.restored $key_file" <"$key"
done
compose up --detach --wait --wait-timeout 300
echo "restored from $folder"
