#!/usr/bin/env bash
# Not run where it was written: neither kind nor its node image could be had there. bash -n reads it in the tests, and
# its commands are those of docs/kubernetes.md.
#
# Install the chart on a kind cluster, make a champion of phantoms, run helm test, upgrade, roll back, remove all of it.
# For a runner with Docker, kind, helm, kubectl and the project's environment (make install).
#
#   deployments/kubernetes/try_in_kind.sh [--keep]
set -euo pipefail
cd "$(dirname "$0")/../.."

cluster=${CLUSTER:-pneumonia-try}
namespace=pneumonia
release=pneumonia
python=${PYTHON:-.venv/bin/python}
wheels=${WHEELS_DIR:-deployments/wheels}
chart=deployments/kubernetes/pneumonia
keep=${1:-}
folder=$(mktemp -d)
forwarding=

finish() {
  status=$?
  if [ "$status" -ne 0 ]; then
    kubectl --namespace "$namespace" get pods,events --output wide || true
    kubectl --namespace "$namespace" logs --selector app.kubernetes.io/instance="$release" --all-containers || true
  fi
  if [ -n "$forwarding" ]; then kill "$forwarding" 2>/dev/null || true; fi
  if [ "$keep" != --keep ]; then kind delete cluster --name "$cluster"; fi
  rm -rf "$folder"
  exit "$status"
}
trap finish EXIT

say() { printf '\n== %s\n' "$*"; }

say "images"
version=$(sed -n 's/^appVersion: //p' "$chart/Chart.yaml")
for target in postgres mlflow serving; do
  docker build --quiet --file deployments/Dockerfile --target "$target" --build-context "wheels=$wheels" \
    --tag "pneumonia-$target:$version" .
done

say "cluster"
kind create cluster --name "$cluster" --wait 120s
for target in postgres mlflow serving; do
  kind load docker-image --name "$cluster" "pneumonia-$target:$version"
done

say "install"
"$python" deployments/scripts/write_env.py "$folder/cluster.env"
kubectl create namespace "$namespace"
# the strictest of Kubernetes' own pod security levels, which the chart keeps
kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted
"$python" deployments/kubernetes/write_secrets.py "$folder/cluster.env" service |
  kubectl apply --namespace "$namespace" -f -
# a small node; kind has no metrics server, without which nothing scales
values=(--set serving.autoscaling.enabled=false --set serving.replicas=2
  --set serving.resources.requests.cpu=250m --set serving.resources.limits.cpu=1)
helm install "$release" "$chart" --namespace "$namespace" "${values[@]}"
kubectl --namespace "$namespace" rollout status deployment/pneumonia-mlflow --timeout 600s

say "a champion of phantoms"
kubectl --namespace "$namespace" port-forward service/pneumonia-mlflow 5000:5000 &
forwarding=$!
for _ in $(seq 60); do
  if curl --silent --fail --output /dev/null http://127.0.0.1:5000/health; then break; fi
  sleep 1
done
MLFLOW_TRACKING_PASSWORD=$(sed -n 's/^MLFLOW_PIPELINE_PASSWORD=//p' "$folder/cluster.env")
export MLFLOW_TRACKING_PASSWORD
export MLFLOW_TRACKING_URI=http://127.0.0.1:5000 MLFLOW_TRACKING_USERNAME=pipeline
"$python" flows/pipeline.py --data phantom --set "work=$folder/work"

say "ready, and tested"
kubectl --namespace "$namespace" rollout status deployment/pneumonia-serving --timeout 300s
helm test "$release" --namespace "$namespace" --logs

say "upgrade: the migrations run, the new pods answer"
helm upgrade "$release" "$chart" --namespace "$namespace" "${values[@]}" --set serving.settings.serving\\.queue=32 \
  --wait --timeout 10m
helm test "$release" --namespace "$namespace" --logs

say "and back"
helm rollback "$release" 1 --namespace "$namespace" --wait --timeout 10m
helm test "$release" --namespace "$namespace" --logs
say "done"
