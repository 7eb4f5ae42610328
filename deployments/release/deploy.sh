#!/usr/bin/env bash
# deploy.sh TAG REGISTRY [OPTION OF HELM…]: brings a release into the cluster of the current context, and tests it.
# The chart is installed there already, and its service has a champion: a first installation has none and never gets ready.
# The tag decides which images run, and no digest of an earlier release; digests of this one may be among the options.
# Helm takes a failed upgrade back itself. Where the upgrade succeeds and the smoke test (helm test: is the service ready
# and of this release, and does it score a phantom?) fails, this script goes back to the revision before. It ends with 0 only where the tag is
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

for program in helm kubectl; do
  command -v "$program" >/dev/null || { echo "$program: is not installed here" >&2; exit 2; }
done
# the last revision, its state, and the one that is in place; an upgrade that was cut off leaves the last one pending
complaint=$(mktemp) # helm warns there as well, of a kubeconfig that others may read for instance
trap 'rm -f "$complaint"' EXIT
if ! said=$(helm history "$release" "${where[@]}" --output json 2>"$complaint"); then
  case $(cat "$complaint") in
    *"release: not found"*) echo "$release is not installed there; install it by hand first: docs/kubernetes.md" >&2; exit 2 ;;
    *) cat "$complaint" >&2; echo "helm cannot say what is installed there, for the reason above; nothing was changed" >&2; exit 1 ;;
  esac
fi
read -r last state before < <(python3 -c 'import json, sys
every = sorted(json.loads(sys.argv[1]), key=lambda each: each["revision"])
print(every[-1]["revision"], every[-1]["status"], *[each["revision"] for each in every if each["status"] == "deployed"][-1:])
' "$said" 2>/dev/null) || { echo "helm history prints no list of revisions: $said" >&2; exit 1; }
if [ "$state" != deployed ]; then
  back="helm rollback $release ${before:-} ${where[*]} --wait"
  [ -n "$before" ] || back="helm uninstall $release ${where[*]}, and install it by hand: docs/kubernetes.md"
  echo "revision $last of $release is $state: a deployment is running, was cut off or has failed. If none is running any more, go back, then deploy again: $back" >&2
  exit 2
fi

helm upgrade "$release" "$root/deployments/kubernetes/pneumonia" "${where[@]}" --atomic --wait --timeout "$timeout" \
  --reset-then-reuse-values --values "$root/deployments/kubernetes/by-tag-values.yaml" \
  --set-string "image.registry=$registry" --set-string "image.tag=$version" "$@"
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
