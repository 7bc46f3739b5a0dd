#!/usr/bin/env bash
# The steps of a release. RELEASING.md says when a person runs one; .github/workflows/release.yaml runs the others.
#   hack/release.sh prepare v1.2.3   write the version into the manifests and the changelog, for the release's commit
#   hack/release.sh check v1.2.3     fail if the tree is not prepared for this version
#   hack/release.sh files v1.2.3     put binaries, their SBOMs and licenses, install.yaml and the notes into dist/
#   hack/release.sh image v1.2.3     make the image for two processors of those binaries; it goes into dist/image, its digests beside it
#   hack/release.sh push v1.2.3      push dist/image
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
supply() { go -C hack/supply run . "$@"; }

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
    supply sbom -version "$version" -to "$PWD/dist/prefect-keda-${platform/\//-}.cdx.json" "$PWD/$out/prefect-keda"
  done
  supply licenses -to "$PWD/dist/THIRD_PARTY_LICENSES"
  # The base as it is, with the API of a Prefect Server in the cluster: users edit that line.
  go run ./cmd/prefect-keda install --backend server --api http://prefect-apollo.prefect:4200 >dist/install.yaml
  awk -v heading="$heading" 'index($0, "## [") == 1 { on = index($0, heading) == 1; next } on' CHANGELOG.md >dist/notes.md
}

# Nothing but the binaries, the licenses and the version decides the image's digest.
image() {
  supply image -version "$version" -to "$PWD/dist/image" "$PWD"/bin/release/linux/{amd64,arm64}/prefect-keda
  echo "made $image:$version, $(cat dist/image.digest)"
}

push() { go tool -modfile=hack/supply/go.mod crane push --index dist/image "$image:$version"; }

sums() { (cd dist && rm -f SHA256SUMS && sha256sum -- prefect-keda-* THIRD_PARTY_LICENSES install.yaml >SHA256SUMS); }

publish() {
  local kind=()
  if [[ $version == *-* ]]; then kind=(--prerelease); fi
  gh release create "$version" --verify-tag --title "$version" --notes-file dist/notes.md "${kind[@]}" \
    dist/prefect-keda-* dist/THIRD_PARTY_LICENSES dist/install.yaml dist/SHA256SUMS
}

case $step in
  prepare | check | files | image | push | sums | publish) "$step" ;;
  *) echo "hack/release.sh: there is no step '$step'; see the head of the script" >&2; exit 2 ;;
esac
