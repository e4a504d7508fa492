# Spindle's commands. `make run` and `make test` work as the very first command on a fresh
# Debian 12 machine with Swift; both install what is missing.

# rocksdb, lz4, zstd and zlib are linked; g++ builds the comparison programs of benchmarks and tests;
# python3 checks the README; mount, for the tests of a full disk, is in util-linux.
PACKAGES := librocksdb-dev liblz4-dev libzstd-dev zlib1g-dev g++ pkg-config git python3 util-linux
STORE    ?= spindle-data
SPINDLE  := .build/release/spindle
SAMPLE   := Examples/nycflights13

.PHONY: help setup run test check bench soak clean

help:
	@echo "make run    build in release and ingest the sample data into ./$(STORE)"
	@echo "make test   run all tests"
	@echo "make check  formatting, rules of the repository, examples"
	@echo "make bench  the store beside plain RocksDB"
	@echo "make soak   the long versions of the crash tests"
	@echo "make clean  remove what the others made"

# Installs the Debian packages that are missing, by name; asks nothing when all are there.
setup:
	@command -v swift >/dev/null || { echo "make: swift is not on the PATH; install Swift 6.3 or later" >&2; exit 1; }
	@missing=""; for package in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q "install ok installed" \
	    || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; fi

run: setup
	swift build -c release --product spindle
	@echo
	@echo "== the weather of 2013"
	$(SPINDLE) ingest --store '$(STORE)' --producer weather-2013 $(SAMPLE)/weather-2013.lp.gz
	@echo
	@echo "== the flights of January 2013"
	$(SPINDLE) ingest --store '$(STORE)' --producer flights-2013-01 $(SAMPLE)/flights-2013-01.lp.gz
	@echo
	@echo "== how far each producer is"
	$(SPINDLE) oplog cursors --store '$(STORE)'
	@echo
	@echo "== the ten series with the most points"
	$(SPINDLE) series --store '$(STORE)' --limit 10
	@echo
	@echo "Next: run it again and see that nothing is applied twice;"
	@echo "      $(SPINDLE) check --store '$(STORE)'"
	@echo "      $(SPINDLE) oplog read --store '$(STORE)' --limit 3"
	@echo "      $(SPINDLE) --help"

test: setup
	swift build --build-tests
	swift test --skip-build

check: setup
	.ci/check

bench: setup
	$(MAKE) -C Benchmarks/Raw
	swift build -c release --product spindle
	mkdir -p Benchmarks/Results
	Benchmarks/compare.py | tee Benchmarks/Results/store.md

soak: setup
	swift build -c release --product spindle
	SPINDLE_SOAK=1 SPINDLE_PROGRAM=$(CURDIR)/$(SPINDLE) swift test

clean:
	rm -rf .build $(STORE) Benchmarks/Raw/build Examples/LinkedPipeline/.build
