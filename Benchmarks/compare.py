#!/usr/bin/env python3
"""Runs the store's jobs and the same jobs written straight on RocksDB's C++ API, in turn.

Prints a table of medians and ratios. Both sides get the same options, sizes and counts; the runs
alternate, because the machine's speed drifts. Usage:

    compare.py [--repeat N] [--dir DIR] [--job JOB] [--quick] > Benchmarks/Results/store.md
"""
import argparse

from common import SPINDLE, commit, lines, machine, median, raw_program

RAW = raw_program("raw_store")


def runs(quick):
    sizes = [256, 1024, 4096, 65536]
    for job in ["inline", "group", "conditional"]:
        for size in [256] if quick else sizes:
            yield job, size, 1
    for threads in [1, 64] if quick else [1, 16, 64]:
        for size in [1024] if quick else sizes[:3]:
            yield "synced", size, threads
    yield "beside", 256, 1


def measure(job, size, threads, directory):
    ours = lines([SPINDLE, "bench", "store", "--job", job, "--value-bytes", str(size),
                  "--tasks", str(threads), "--dir", directory, "--json"])
    raw = [RAW, job, "--value-bytes", str(size), "--dir", directory]
    if job == "synced":
        raw += ["--threads", str(threads)]
    raw = lines(raw)
    return {row["job"]: row for row in ours}, {row["job"]: row for row in raw}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--job", help="only this job")
    options = parser.parse_args()
    print("# The store beside plain RocksDB\n")
    print(f"Machine: {machine()}. Commit {commit()}. Command: `make bench-store`. Medians of "
          f"{options.repeat} runs, both sides in turn with the same options; times in "
          "microseconds. The ratio is Spindle's operations a second over plain RocksDB's.\n")
    print("| job | bytes | callers | Spindle ops/s | RocksDB ops/s | ratio | p50 | p50 raw | "
          "p99 | p99 raw | fsync/op | fsync/op raw |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for job, size, threads in runs(options.quick):
        if options.job not in (None, job):
            continue
        ours, raw = {}, {}
        for _ in range(options.repeat):
            first, second = measure(job, size, threads, options.dir)
            for name, row in first.items():
                ours.setdefault(name, []).append(row)
            for name, row in second.items():
                raw.setdefault(name, []).append(row)
        for name in ours:
            mine, theirs = ours[name], raw[name]
            speed, base = median(mine, "opsPerSecond"), median(theirs, "opsPerSecond")
            syncs = [median(rows, lambda row: row["fsyncs"] / max(row["ops"], 1))
                     for rows in (mine, theirs)]
            print(f"| {name} | {size} | {threads} | {speed:,.0f} | {base:,.0f} | "
                  f"{speed / base:.2f} | {median(mine, 'p50us'):.1f} | "
                  f"{median(theirs, 'p50us'):.1f} | {median(mine, 'p99us'):.1f} | "
                  f"{median(theirs, 'p99us'):.1f} | {syncs[0]:.3f} | {syncs[1]:.3f} |", flush=True)


main()
