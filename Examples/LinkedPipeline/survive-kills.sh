#!/usr/bin/env bash
# Runs the example in an empty directory, kills it ten times, and lets it end.
set -euo pipefail
example=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for round in 1 2 3 4 5 6 7 8 9 10; do
  "$example" >/dev/null 2>&1 &
  child=$!
  sleep "0.0$((round * 7 % 9 + 1))"
  kill -9 "$child" 2>/dev/null || true
  wait "$child" 2>/dev/null || true
done
result=$("$example")
echo "$result"
[ "$result" = "readings applied: 100000" ]
