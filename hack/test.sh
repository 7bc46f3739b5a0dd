#!/usr/bin/env bash
# Runs all tests, the cheapest first, so that mistakes show early. Each part says what it does.
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
export SHUFFLE=on # all of them, though their results may be cached
part() {
  local began=$SECONDS
  "$@"
  printf '    %s took %d s\n' "$*" $((SECONDS - began))
}
before=(unit verify page)
after=(e2e pools demo-small chaos-small)
parts=("${before[@]}" conformance cluster "${after[@]}")
echo "==> all tests, in ${#parts[@]} parts: ${parts[*]}"
for name in "${before[@]}"; do part make "$name"; done

# The one mostly waits for the real Prefect, and the other mostly compiles.
echo "==> conformance, beside the cluster's making; what it prints comes after that"
log=$(mktemp)
set -m # a process group of its own, to be ended as one
part make conformance >"$log" 2>&1 &
conformance=$!
set +m
trap 'kill -- -"$conformance" 2>/dev/null || true; rm -f "$log"' EXIT
part make cluster
wait "$conformance" || { cat "$log"; exit 1; }
cat "$log"

for name in "${after[@]}"; do part make "$name"; done
printf '==> every test passed, in %d min\n' $(((SECONDS - start + 59) / 60))
