#!/bin/sh
# A training as one job of a batch system: the recorded radiographs from DVC_REMOTE_URL, then the pipeline's steps.
set -eu
/opt/stack/pull-data.sh
cd /srv/pneumonia
exec /opt/pneumonia/bin/python /opt/stack/run_steps.py "$@"
