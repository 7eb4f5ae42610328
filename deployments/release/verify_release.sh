#!/usr/bin/env bash
# verify_release.sh files OWNER/REPOSITORY TAG    downloads a release and verifies it: checksums, signature, provenance
# verify_release.sh images OWNER/REPOSITORY TAG   verifies the signatures of its images in GitHub's registry
# Both ask whether the release workflow of that repository made them from that tag. Needs cosign; for files gh, logged in.
set -euo pipefail
usage() { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[ $# = 3 ] || usage
what=$1 repository=$2 tag=$3
[[ $repository =~ ^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$ && $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+((a|b|rc)[0-9]+)?$ ]] || usage
made_by=(
  --certificate-oidc-issuer https://token.actions.githubusercontent.com
  --certificate-identity "https://github.com/$repository/.github/workflows/release.yml@refs/tags/$tag"
)
case $what in
  files)
    folder=$(mktemp --directory)
    trap 'rm -rf "$folder"' EXIT
    gh release download "$tag" --repo "$repository" --dir "$folder"
    cd "$folder"
    cosign verify-blob "${made_by[@]}" --bundle SHA256SUMS.sigstore.json SHA256SUMS
    sha256sum --check --strict SHA256SUMS
    for file in *.whl *.tar.gz *.cdx.json; do
      gh attestation verify "$file" --repo "$repository" --source-ref "refs/tags/$tag" \
        --signer-workflow "$repository/.github/workflows/release.yml"
    done
    ;;
  images)
    owner=${repository%%/*}
    for image in serving mlflow airflow postgres; do
      cosign verify "${made_by[@]}" "ghcr.io/${owner,,}/pneumonia-$image:${tag#v}" >/dev/null
      echo "pneumonia-$image:${tag#v}: made and signed by the release workflow of $repository"
    done
    ;;
  *) usage ;;
esac
