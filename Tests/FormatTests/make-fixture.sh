#!/bin/sh
# Makes a fixture store with the spindle program of this version:
#     Tests/FormatTests/make-fixture.sh .build/release/spindle Tests/FormatTests/Fixtures/store-v1
# A fixture that is committed is never made again: later versions must open it as it is.
set -eu
program=$1
store=$2
[ ! -e "$store" ] || { echo "make-fixture: $store exists already" >&2; exit 1; }
seq 1 20 | while read -r n; do
  echo "room,floor=$((n % 3)) celsius=2$n.5,people=${n}i,open=t,note=\"n $n\" ${n}000000000"
done | "$program" ingest --store "$store" --producer fixture --batch 8 -
printf 'first message' | "$program" spool put --store "$store" -
printf '' | "$program" spool put --store "$store" -
printf '\000\001\002\377' | "$program" spool put --store "$store" --name other -
rm -f "$store/BALLAST" "$store"/rocks/LOG* "$store/rocks/LOCK"
"$program" check --store "$store"
rm -f "$store"/rocks/LOG* "$store/rocks/LOCK"
du -sk "$store"
