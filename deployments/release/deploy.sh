#!/usr/bin/env bash
# deploy.sh TAG REGISTRY [OPTION OF HELM…]: brings a release into the cluster of the current context, and tests it.
# The chart is installed there already, and its service has a champion: a first installation has none and never gets ready.
# Helm takes a failed upgrade back itself. Where the upgrade succeeds and the smoke test (helm test: is the service ready,
# and does it score a phantom?) fails, this script goes back to the revision before. It ends with 0 only where the tag is
# in place and has passed. Needs helm and kubectl, from a checkout of the tag. NAMESPACE, RELEASE and TIMEOUT have
# defaults.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2s/^# //p' "$0" >&2; exit 2; }
tag=$1 registry=$2
shift 2
[[ $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+((a|b|rc)[0-9]+)?$ ]] || { echo "$tag: is no tag of a release" >&2; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
version=${tag#v}
[ "$(python3 "$root/deployments/release/versions.py" show)" = "$version" ] ||
  { echo "this checkout is not $tag; its chart would be another release's" >&2; exit 2; }
release=${RELEASE:-pneumonia} timeout=${TIMEOUT:-10m}
where=(--namespace "${NAMESPACE:-pneumonia}")

# the revision that is in place now
before=$(helm list "${where[@]}" --deployed --filter "^$release\$" --output json |
  python3 -c 'import json, sys; print(*(each["revision"] for each in json.load(sys.stdin)))')
[ -n "$before" ] || { echo "$release is not installed there; install it by hand first: docs/kubernetes.md" >&2; exit 2; }

helm upgrade "$release" "$root/deployments/kubernetes/pneumonia" "${where[@]}" --atomic --wait --timeout "$timeout" \
  --reset-then-reuse-values --set-string "image.registry=$registry" --set-string "image.tag=$version" "$@"
if helm test "$release" "${where[@]}" --timeout "$timeout"; then
  echo "$tag is in place and has passed its smoke test"
  exit 0
fi
# what the test has said, for whoever reads this; without it the way back is the same
kubectl logs "${where[@]}" --selector "app.kubernetes.io/instance=$release,app.kubernetes.io/component=test" --tail 100 >&2 || true
echo "$tag does not pass its smoke test: going back to revision $before" >&2
helm rollback "$release" "$before" "${where[@]}" --wait --timeout "$timeout"
echo "revision $before is in place again; $tag is not" >&2
exit 1
