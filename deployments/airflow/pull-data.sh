#!/bin/sh
# Pulls the recorded radiographs (data.dvc) from a DVC remote into the stack's data folder; DVC_REMOTE_URL names the remote.
set -eu
if [ -z "${DVC_REMOTE_URL:-}" ]; then
  echo "DVC_REMOTE_URL is empty: set it to the DVC remote that holds the radiographs, for example in .env" >&2
  exit 2
fi
cd /srv/pneumonia # a tmpfs with the data folder in it, because DVC writes its own files next to the data
cp /opt/stack/data.dvc .
dvc() { /opt/pneumonia/bin/dvc "$@"; }
dvc init --quiet --no-scm
dvc config core.analytics false
dvc cache dir /var/lib/pneumonia/dvc-cache
dvc remote add --quiet --default radiographs "$DVC_REMOTE_URL"
dvc remote modify --quiet radiographs verify true
# DVC does not name the files whose content is not the recorded one, and trusts what an earlier pull has left
verify() { /opt/pneumonia/bin/python -m pneumonia data verify; }
if ! dvc pull; then
  verify || true
  exit 1
fi
verify
