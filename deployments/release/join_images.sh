#!/usr/bin/env bash
# join_images.sh NAME VERSION FOLDER: gives the images whose digests are the names of FOLDER's files, one for each kind of
# machine, one name with a version, and signs it without a key. Prints name=… and digest=…, a line each.
# Needs docker with buildx, logged in to the registry, and cosign. A version that is there is never replaced.
set -euo pipefail
[ $# = 3 ] || { echo "join_images.sh NAME VERSION FOLDER" >&2; exit 2; }
name=$1 version=$2 folder=$3
parts=()
for file in "$folder"/*; do
  digest=$(basename "$file")
  [[ $digest =~ ^[0-9a-f]{64}$ ]] || { echo "$file: is no digest of an image" >&2; exit 2; }
  parts+=("$name@sha256:$digest")
done
[ "${#parts[@]}" = 2 ] || { echo "$folder: holds ${#parts[@]} digests, and there are two kinds of machine" >&2; exit 2; }
if said=$(docker buildx imagetools inspect "$name:$version" 2>&1); then
  echo "$name:$version: is there already; a release is not made twice, so take a new version" >&2
  exit 2
fi
# a login that has ended or a network that is away says nothing of what the registry holds
if ! grep --quiet --line-regexp --extended-regexp ".*:${version//./\\.}: not found|.*(MANIFEST_UNKNOWN|manifest unknown).*" <<<"$said"; then
  echo "$said" >&2
  echo "$name:$version: whether it is there could not be found out, so that nothing was made; mend the above and run again" >&2
  exit 1
fi
docker buildx imagetools create --tag "$name:$version" "${parts[@]}" >&2
digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$name:$version")
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$name:$version: has no digest but '$digest'" >&2; exit 1; }
cosign sign --yes --recursive "$name@$digest" >&2
echo "name=$name"
echo "digest=$digest"
