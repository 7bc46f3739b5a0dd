#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time (default 30s).
set -euo pipefail
cd "$(dirname "$0")/.."
for pkg in $(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do
  for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$pkg"/*_test.go | sed 's/func //' | sort -u); do
    echo "==> $pkg $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-30s}" "./$pkg"
  done
done
