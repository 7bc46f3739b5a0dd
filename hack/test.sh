#!/usr/bin/env bash
# Everything, cheapest first, so that what is wrong shows early. Each part says what it does.
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
part() {
  local began=$SECONDS
  "$@"
  printf '    %s took %d s\n' "$*" $((SECONDS - began))
}
part make unit
part make verify
part make conformance
part make cluster
part make e2e
part make demo-small
printf '==> every test passed, in %d min\n' $(((SECONDS - start + 59) / 60))
