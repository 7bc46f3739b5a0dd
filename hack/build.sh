#!/usr/bin/env bash
# Builds the static binaries into a folder (bin by default). Reproducible: no paths, no build id.
# For images, which need Linux binaries on any machine:  GOOS=linux hack/build.sh bin/linux
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-bin}
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}
mkdir -p "$out"
for cmd in prefect-keda prefect1-api; do
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -buildid= -X main.version=$version" -o "$out/$cmd" "./cmd/$cmd"
  echo "built $out/$cmd ($(du -h "$out/$cmd" | cut -f1))"
done
