#!/usr/bin/env bash
# Builds the static binaries into a folder (bin by default). The same code, version and Go make the same bytes in any
# folder, clone or archive: no paths, no build id, nothing that git says beside the version.
# Further arguments name those to build. For images, which need Linux binaries on any machine:  GOOS=linux hack/build.sh bin/linux
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-bin}
cmds=("${@:2}")
[ ${#cmds[@]} -gt 0 ] || cmds=(prefect-keda prefect1-api)
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}
mkdir -p "$out"
for cmd in "${cmds[@]}"; do
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$version" -o "$out/$cmd" "./cmd/$cmd"
  echo "built $out/$cmd ($(du -h "$out/$cmd" | cut -f1))"
done
