#!/usr/bin/env bash
# retrain.sh pipeline|monitor PROFILE: a retraining where no orchestrator runs, from cron or a workflow. "pipeline" trains,
# validates and promotes; "monitor" looks at what the service has answered, and does what follows from it. The gate
# decides as ever. Not a medical device.
# MLFLOW_TRACKING_URI has to name a server: what is registered in the work folder of a machine that ends is lost with it.
# DVC_REMOTE_URL names where the recorded radiographs are pulled from; RETRAIN_DATA=phantom trains on phantoms instead, and
# RETRAIN_DATA=DIR on a folder of this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
refuse() { echo "$*" >&2; exit 2; }
[ $# = 2 ] || refuse "retrain.sh pipeline|monitor PROFILE"
what=$1 profile=$2
[ -n "${MLFLOW_TRACKING_URI:-}" ] || refuse "MLFLOW_TRACKING_URI is empty: name the server that keeps the registered models"
common=(--profile "$profile")
data=${RETRAIN_DATA:-}
if [ "$what" = monitor ]; then
  [ -n "${MONITORING_DATABASE_URI:-}" ] || refuse "MONITORING_DATABASE_URI is empty: name the database that the service writes its events to"
elif [ "$what" != pipeline ]; then
  refuse "$what: choose pipeline or monitor"
fi
if [ -z "$data" ]; then
  [ -n "${DVC_REMOTE_URL:-}" ] || refuse "DVC_REMOTE_URL and RETRAIN_DATA are empty: name the radiographs to train on, or RETRAIN_DATA=phantom"
  .venv/bin/dvc remote add --local --force --default retraining "$DVC_REMOTE_URL"
  .venv/bin/dvc remote modify --local retraining verify true # or damaged files count as the recorded ones
  # not --quiet, which hides the reason of a failure
  .venv/bin/dvc pull || { echo "the recorded radiographs were not pulled from DVC_REMOTE_URL, for the reason above; nothing was trained" >&2; exit 1; }
  .venv/bin/pneumonia data verify
  data=data/chest_xray
fi
if [ "$what" = monitor ]; then
  .venv/bin/python flows/monitor.py "${common[@]}" --set "data.root=$data" --trigger "${GITHUB_RUN_ID:+GitHub run }${GITHUB_RUN_ID:-retrain.sh}"
else
  .venv/bin/python flows/pipeline.py "${common[@]}" --data "$data"
fi
