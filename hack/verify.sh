#!/usr/bin/env bash
# Runs every check to its end, and then reports all failures together.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()

check() { # name, command...
  local name=$1 log
  shift
  log=$(mktemp)
  local start=$SECONDS
  if "$@" >"$log" 2>&1; then
    printf '    ok    %-12s %3ds\n' "$name" $((SECONDS - start))
  else
    printf '    FAIL  %-12s %3ds\n' "$name" $((SECONDS - start))
    sed 's/^/          /' "$log"
    failed+=("$name")
  fi
  rm -f "$log"
}

# Generators write into a copy, so a check never changes the tree it checks.
generated() {
  local copy
  copy=$(mktemp -d)
  git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy" &&
    (cd "$copy" && go generate ./...) &&
    for f in $(git ls-files '*generated.go'); do
      diff -u "$f" "$copy/$f" || { echo "stale: run 'make generate' and commit $f"; rm -rf "$copy"; return 1; }
    done
  rm -rf "$copy"
}

formatted() {
  local bad
  bad=$(git ls-files '*.go' | grep -v generated.go | xargs go tool -modfile=hack/tools/go.mod gofumpt -l)
  [ -z "$bad" ] || { echo "not formatted, run 'make fmt':"; echo "$bad"; return 1; }
}

# The tools have modules of their own, so that their dependencies never decide the versions of ours.
tidy() {
  local folder
  for folder in . hack/tools hack/tools/actionlint hack/monitoring hack/supply job/kubernetesrun/source/servers; do (cd "$folder" && go mod tidy -diff) || return; done
}

# Image, licenses and SBOM. What they are made of lies outside of that module, which Go's cache of test results does not see.
supply() { (cd hack/supply && go vet ./... && go test -count=1 ./...); }

# The database of known vulnerabilities grows while our code stays as it is, so it is asked each time.
database=https://vuln.go.dev
vulnerabilities() { go tool -modfile=hack/tools/go.mod govulncheck -db "$database" ./...; }

# Alerts and dashboard, with Prometheus' own engine.
# Go's cache of test results does not notice changes of files outside a module.
# The engine brings the SDKs of three clouds, so it is compiled in the quickest way.
monitoring() { (cd hack/monitoring && export GOFLAGS="-trimpath '-gcflags=all=-dwarf=false -l'" && go vet ./... && go test -count=1 ./...); }

echo "==> checks: format, generated, tidy, workflows, monitoring, supply, known vulnerabilities, lint (with nothing cached the linter alone takes minutes)"
check format formatted
check generated generated
check tidy tidy
check workflows go tool -modfile=hack/tools/actionlint/go.mod actionlint
check monitoring monitoring
check supply supply
if curl --silent --fail --max-time 5 --output /dev/null "$database/index/db.json"; then
  check govulncheck vulnerabilities
else
  echo "    none  govulncheck  $database cannot be reached from here; the workflow ci runs it"
fi
check lint go tool -modfile=hack/tools/go.mod golangci-lint run ./...

if [ ${#failed[@]} -gt 0 ]; then
  echo "checks failed: ${failed[*]}"
  exit 1
fi
