#!/usr/bin/env bash
# The steps of a release. RELEASING.md says when a person runs one; .github/workflows/release.yaml runs the others.
#   hack/release.sh prepare v1.2.3   write the version into the manifests and the changelog, for the release's commit
#   hack/release.sh check v1.2.3     fail if the tree is not prepared for this version
#   hack/release.sh files v1.2.3     put binaries, install.yaml and the notes into dist/
#   hack/release.sh image v1.2.3     build and push the image for two processors; its digest and SBOMs go into dist/
#   hack/release.sh sums v1.2.3      write dist/SHA256SUMS
#   hack/release.sh publish v1.2.3   make the GitHub release
set -euo pipefail
cd "$(dirname "$0")/.."
step=${1:-} version=${2:-}
if ! [[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]]; then
  echo "hack/release.sh: give a step and a version such as v1.2.3; got '$step $version'" >&2
  exit 2
fi
image=ghcr.io/prefect-keda/prefect-keda
kustomization=manifests/base/kustomization.yaml
heading="## [${version#v}]"
# The image holds the time of the commit, so that building it again gives the same layers.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

prepare() {
  if grep -qF "$heading" CHANGELOG.md; then
    echo "CHANGELOG.md has $version already" >&2
    exit 1
  fi
  sed -i "s/newTag: .*/newTag: $version/" "$kustomization"
  go generate ./install
  sed -i "s/^## \[Unreleased\]$/&\n\n$heading - $(date -u +%F)/" CHANGELOG.md
  check
  echo "prepared $version: read CHANGELOG.md, then commit"
}

check() {
  local failed=0
  grep -qF "newTag: $version" "$kustomization" && grep -qF "image: $image:$version" install/base.yaml ||
    { echo "the manifests name another image than $image:$version" >&2; failed=1; }
  grep -qF "$heading - " CHANGELOG.md || { echo "CHANGELOG.md has no section '$heading - DATE'" >&2; failed=1; }
  [ $failed = 0 ] || { echo "run hack/release.sh prepare $version and commit before you tag" >&2; exit 1; }
}

files() {
  rm -rf dist
  mkdir -p dist
  for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do
    local out=bin/release/$platform
    GOOS=${platform%/*} GOARCH=${platform#*/} VERSION=$version hack/build.sh "$out"
    cp "$out/prefect-keda" "dist/prefect-keda-${platform/\//-}"
  done
  # The base as it is, with the API of a Prefect Server in the cluster: users edit that line.
  go run ./cmd/prefect-keda install --backend server --api http://prefect-apollo.prefect:4200 >dist/install.yaml
  awk -v heading="$heading" 'index($0, "## [") == 1 { on = index($0, heading) == 1; next } on' CHANGELOG.md >dist/notes.md
}

# Each processor's image is made in its own folder of binaries and pushed by digest; then both get one name.
image() {
  local digests=()
  docker buildx create --name release --driver docker-container >/dev/null
  for arch in amd64 arm64; do
    docker buildx build --builder release --platform "linux/$arch" --build-arg "VERSION=$version" --provenance=mode=max --sbom=true \
      --output "type=image,name=$image,push=true,push-by-digest=true,name-canonical=true" \
      --metadata-file "bin/release/$arch.json" -f Dockerfile "bin/release/linux/$arch"
    digests+=("$image@$(jq -r '."containerimage.digest"' "bin/release/$arch.json")")
  done
  docker buildx imagetools create -t "$image:$version" "${digests[@]}"
  docker buildx imagetools inspect "$image:$version" --format '{{.Manifest.Digest}}' >dist/image.digest
  for arch in amd64 arm64; do
    docker buildx imagetools inspect "$image:$version" --format "{{json (index .SBOM \"linux/$arch\").SPDX}}" >"dist/image-linux-$arch.spdx.json"
  done
}

sums() { (cd dist && rm -f SHA256SUMS && sha256sum -- prefect-keda-* install.yaml *.spdx.json >SHA256SUMS); }

publish() {
  local kind=()
  if [[ $version == *-* ]]; then kind=(--prerelease); fi
  gh release create "$version" --verify-tag --title "$version" --notes-file dist/notes.md "${kind[@]}" \
    dist/prefect-keda-* dist/install.yaml dist/*.spdx.json dist/SHA256SUMS
}

case $step in
  prepare | check | files | image | sums | publish) "$step" ;;
  *) echo "hack/release.sh: there is no step '$step'; see the head of the script" >&2; exit 2 ;;
esac
