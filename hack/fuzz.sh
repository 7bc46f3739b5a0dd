#!/usr/bin/env bash
# Fuzzes the targets of the module one after the other, to the end, and then reports all that failed together.
#   hack/fuzz.sh [TIME [REGEXP]]   each for TIME (30s); REGEXP picks among lines such as ./scaler FuzzMetadata
# What fails is kept in the package's testdata/fuzz: fix it, and commit it as a seed. GOMAXPROCS=1 leaves the other cores alone.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s} pick=${2:-.}
targets=$(git grep --untracked -E '^func Fuzz\w+' -- '*_test.go' | sed -E 's#^(.*)/[^/]*:func (Fuzz\w+).*#./\1 \2#' | grep -E -- "$pick" | sort) ||
  { echo "hack/fuzz.sh: no target matches $pick" >&2; exit 2; }
all=$(wc -l <<<"$targets") n=0 failed=()
echo "==> $all fuzz targets, $time each"
while read -r package target; do
  n=$((n + 1))
  echo "==> $n/$all $package $target"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 3s "$package" </dev/null || failed+=("$package $target")
done <<<"$targets"
if [ ${#failed[@]} -gt 0 ]; then
  printf '%d of %d targets failed:\n' ${#failed[@]} "$all"
  printf '    %s\n' "${failed[@]}"
  exit 1
fi
