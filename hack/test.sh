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
parts=(unit verify conformance cluster e2e demo-small)
echo "==> every test there is, in ${#parts[@]} parts: ${parts[*]}"
for name in "${parts[@]}"; do part make "$name"; done
printf '==> every test passed, in %d min\n' $(((SECONDS - start + 59) / 60))
