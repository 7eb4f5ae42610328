# Sourced by the scripts beside it: the stack's Compose project, and refusals before anything is done.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
env_file=${ENV_FILE:-.env}

# of the pseudonyms (pneumonia/data/patient_key.py): the pipeline's, of patients, in the volume `work`, and the service's,
# of readers and patients, in the volume `serving`; a part that mounts the volume, and the key's name in a backup
keys=(airflow-scheduler:patient.key serving:serving-patient.key)
key_file=/var/lib/pneumonia/patient.key
key_bytes=32

compose() { docker compose --env-file "$env_file" "$@"; }

refuse() {
  echo "$*" >&2
  exit 2
}

need_engine() {
  docker info >/dev/null 2>&1 ||
    refuse "no Docker Engine answers; install and start one (docs/deployment.md), or set DOCKER_HOST"
}

# Values of .env are taken as they stand, without a shell
setting() { sed -n "s/^$1=//p" "$env_file" | tail -1; }
