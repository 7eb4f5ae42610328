#!/usr/bin/env bash
# Writes all databases, MLflow's artifacts and the keys of the pseudonyms into a folder, backups/<time> where
# none is named. The stack stays up.
# The folder appears when everything is in it, or not at all.
set -euo pipefail
source "$(dirname "$0")/common.sh"
folder=${1:-backups/$(date -u +%Y%m%dT%H%M%SZ)}
need_engine
[ -f "$env_file" ] || refuse "$env_file: not there, so there is no stack to back up; start one first: make up"
[ ! -e "$folder" ] || refuse "$folder: exists already; name a folder that does not: make backup BACKUP=backups/<name>"
for part in postgres mlflow; do
  [ -n "$(compose ps --status running --quiet "$part")" ] ||
    refuse "$part does not run, so nothing was backed up; start the stack first: make up"
done
umask 077
mkdir -p "$(dirname "$folder")"
partial=$(mktemp --directory "$folder.partial-XXXXXX")
trap 'rm -rf "$partial"' EXIT
# first the databases: artifacts only ever get more, so whatever these name is in the archive
for database in airflow mlflow monitoring; do
  compose exec -T postgres pg_dump --username postgres --format custom "$database" >"$partial/$database.dump"
done
compose exec -T mlflow tar -C /var/lib/mlflow -cz . >"$partial/artifacts.tar.gz"
# a key is there once identifiers or a reader's words were read; without it the same people get other pseudonyms
for place in "${keys[@]}"; do
  part=${place%%:*} key=$partial/${place#*:}
  compose run --rm --no-deps -T "$part" sh -c "[ ! -e $key_file ] || cat $key_file" </dev/null >"$key"
  case $(wc -c <"$key") in
    0) rm "$key" ;;
    "$key_bytes") ;;
    *) refuse "$key_file of $part: is not a key of $key_bytes bytes, so nothing was backed up; bring back the right one" ;;
  esac
done
mv --no-target-directory "$partial" "$folder"
echo "$folder: $(ls -m "$folder")"
for place in "${keys[@]}"; do
  [ ! -e "$folder/${place#*:}" ] || echo "${place#*:} tells whose a pseudonym is: keep the backup from those who get the results."
done
echo "The secrets in $env_file are not part of it; keep them apart (Airflow's database is encrypted with one)."
