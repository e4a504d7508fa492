# Spindle's commands. `make run` and `make test` work as the very first command on a fresh
# Debian 12 machine with Swift; both install what is missing.

# rocksdb, lz4, zstd and zlib are linked; g++ builds the comparison programs of benchmarks and tests;
# python3 checks the README and, with pyarrow and DuckDB in an environment of its own, the Parquet
# files; mount, for the tests of a full disk, is in util-linux.
PACKAGES := librocksdb-dev liblz4-dev libsnappy-dev libzstd-dev zlib1g-dev g++ pkg-config git \
  python3 python3-venv util-linux
STORE    ?= spindle-data
SPINDLE  := .build/release/spindle
SAMPLE   := Examples/nycflights13

# The suites that the sanitizers run: all but those that start the uninstrumented command line.
# What runs Python or bounds a process's memory cannot be run so. On 2 processors a build takes 4
# minutes and more, and the tests 11: too long to be run with each change.
SANITIZED := ^(SpindleCoreTests|SpindleIOTests|SpindleRocksTests|SpindleCodecsTests|SpindleFormatsTests|SpindleParquetTests|SpindleStoreTests|SpindleSpoolTests|SpindleOpLogTests|SpindlePipelineTests)\.
UNSANITIZED := InteropTests|MemoryBeyondTheLimits
SANITIZERS := $(CURDIR)/Tests/Sanitizers
# How many tests run at a time, for 2 processors. All at once, with their processes, they would wait
# for memory and processors until those that wait for an event give up.
FEW_AT_A_TIME := SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=8
# The compiler that came with Swift.
CLANG = $(shell dirname "$$(readlink -f "$$(command -v swift)")")/clang

.PHONY: help setup run test check bench bench-store bench-spool bench-oplog soak clean \
  oplog-seeds fuzz-oplog fuzz-parquet parquet-flips parquet-venv bench-parquet \
  test-thread test-address test-undefined

help:
	@echo "make run    build in release and ingest the sample data into ./$(STORE)"
	@echo "make test   run all tests"
	@echo "make check  formatting, rules of the repository, examples"
	@echo "make bench  store, spool and op-log beside plain RocksDB; also bench-store, bench-spool,"
	@echo "            bench-oplog (beside SQLite too); bench-parquet (beside pyarrow)"
	@echo "make test-thread, test-address, test-undefined"
	@echo "            the tests of everything that has threads or unsafe lines"
	@echo "make soak   the long versions of the crash tests"
	@echo "make oplog-seeds   replicas converge after 10,000 random runs, in memory and on disk"
	@echo "make fuzz-oplog    a minute each of damaged segments, rows and exports; FUZZ_SEED=N repeats one"
	@echo "make fuzz-parquet  a minute of damaged Parquet files; FUZZ_SEED=N repeats one"
	@echo "make parquet-flips 100,000 damaged bytes in Parquet files"
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

# The programs that judge the Parquet files, in the versions that are written down.
VENV := .build/venv
JUDGES := Tests/Support/requirements.txt

parquet-venv: setup
	@cmp -s $(JUDGES) $(VENV)/requirements.txt || { \
	  python3 -m venv $(VENV) && $(VENV)/bin/pip install -q --disable-pip-version-check -r $(JUDGES) \
	  && cp $(JUDGES) $(VENV)/requirements.txt; }

test: setup parquet-venv
	swift build --build-tests
	$(FEW_AT_A_TIME) swift test --skip-build

check: setup
	.ci/check

bench: bench-store bench-spool bench-oplog bench-parquet

bench-store bench-spool bench-oplog: bench-%: setup
	$(if $(filter oplog,$*),$(MAKE) setup PACKAGES="libssl-dev libsqlite3-dev")
	$(MAKE) -C Benchmarks/Raw $(if $(filter oplog,$*),oplog)
	swift build -c release --product spindle
	mkdir -p Benchmarks/Results
	bash -o pipefail -c \
	  'Benchmarks/compare$(if $(filter store,$*),,_$*).py | tee Benchmarks/Results/$*.md'

bench-parquet: setup parquet-venv
	swift build -c release --product spindle
	mkdir -p Benchmarks/Results
	$(VENV)/bin/python Benchmarks/compare_parquet.py | tee Benchmarks/Results/parquet.md

# Builds the tests with a sanitizer in a place of its own and runs them. The child processes of the
# tests report into files too; a report fails the run, whatever the tests say.
#   1: name of the place  2: options of the build  3: variables for the tests' processes
define sanitize
	rm -f .build/$(1)/report.*
	$(3) SWIFT_BACKTRACE=enable=no $(FEW_AT_A_TIME:8=4) \
	  swift test --skip-build $(2) \
	  --scratch-path .build/$(1) --filter '$(SANITIZED)' --skip '$(UNSANITIZED)'
	@if ls .build/$(1)/report.* >/dev/null 2>&1; then \
	  head -n 60 .build/$(1)/report.*; echo "make: the sanitizer reported" >&2; exit 1; fi
endef

test-thread: setup
	swift build --build-tests --sanitize=thread --scratch-path .build/thread
	$(CLANG) -O1 -Wall -Wextra -Werror -shared -fPIC \
	  $(SANITIZERS)/MutexOrder.c -o .build/thread/libMutexOrder.so -ldl
	$(call sanitize,thread,--sanitize=thread,TSAN_OPTIONS="suppressions=$(SANITIZERS)/thread.txt \
	  log_path=$(CURDIR)/.build/thread/report" LD_PRELOAD=$(CURDIR)/.build/thread/libMutexOrder.so)

# What was suppressed is not told: it would come into the report's file.
test-address: setup
	swift build --build-tests --sanitize=address --scratch-path .build/address
	$(call sanitize,address,--sanitize=address,ASAN_OPTIONS="print_suppressions=0 \
	  suppressions=$(SANITIZERS)/address.txt log_path=$(CURDIR)/.build/address/report" \
	  LSAN_OPTIONS="suppressions=$(SANITIZERS)/leaks.txt")

# Swift has no such sanitizer on Linux and traps on its own overflows; this one is for the C and C++
# of the package and what its headers compile into Swift. vptr needs type information, which
# librocksdb is built without.
UNDEFINED_RUNTIME = $(shell $(CLANG) -print-resource-dir)/lib/linux
UNDEFINED = $(foreach word,-fsanitize=undefined -fno-sanitize=vptr -fno-omit-frame-pointer, \
  -Xcc $(word)) -Xlinker -rpath -Xlinker $(UNDEFINED_RUNTIME) \
  -Xlinker $(UNDEFINED_RUNTIME)/libclang_rt.ubsan_standalone-$(shell uname -m).so

test-undefined: setup
	swift build --build-tests $(UNDEFINED) --scratch-path .build/undefined
	$(call sanitize,undefined,,UBSAN_OPTIONS="print_stacktrace=1 \
	  log_path=$(CURDIR)/.build/undefined/report")

soak: setup parquet-venv
	swift build -c release --product spindle
	SPINDLE_SOAK=1 SPINDLE_PROGRAM=$(CURDIR)/$(SPINDLE) swift test

# Each seed is a run of replicas in memory, and of processors on disk. A failure prints the line that
# runs its seed again.
oplog-seeds: setup
	SPINDLE_OPLOG_SEEDS=10000 swift test --filter 'SpindleOpLogTests\.(Stored)?ConvergenceTests'

# A run that failed is repeated with the seed that it printed: make fuzz-oplog FUZZ_SEED=N
fuzz-oplog: setup
	swift build --build-tests
	SPINDLE_FUZZ_SECONDS=60 SPINDLE_FUZZ_SEED=$(FUZZ_SEED) \
	  swift test --skip-build --filter SpindleOpLogTests.OpLogFuzzTests

fuzz-parquet: setup
	swift build --build-tests
	SPINDLE_FUZZ_SECONDS=60 SPINDLE_FUZZ_SEED=$(FUZZ_SEED) \
	  swift test --skip-build --filter 'SpindleParquetTests\.(ParquetFuzzTests|DamagedScanTests)'

parquet-flips: setup
	SPINDLE_PARQUET_FLIPS=100000 swift test --filter SpindleParquetTests.HostileFileTests

clean:
	rm -rf .build $(STORE) Benchmarks/Raw/build Examples/LinkedPipeline/.build
