# Sourced by the scripts beside it: the stack's Compose project, and refusals before anything is done.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
env_file=${ENV_FILE:-.env}

# of the patients' pseudonyms, in the volume `work` (pneumonia/data/patient_key.py)
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
