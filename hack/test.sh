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
parts=(unit verify page conformance cluster e2e pools demo-small chaos-small)
echo "==> all tests, in ${#parts[@]} parts: ${parts[*]}"
for name in "${parts[@]}"; do part make "$name"; done
printf '==> every test passed, in %d min\n' $(((SECONDS - start + 59) / 60))
