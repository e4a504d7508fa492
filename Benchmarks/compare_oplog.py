#!/usr/bin/env python3
"""Runs the op-log's jobs, the same jobs on RocksDB's C++ API, and the same log in SQLite, in turn.

Prints a table of medians and ratios, with the goals beside them. All sides get the same sizes and
counts; the runs alternate, because the machine's speed drifts. Usage:

    compare_oplog.py [--repeat N] [--dir DIR] [--quick] > Benchmarks/Results/oplog.md
"""
import argparse

from common import SPINDLE, commit, lines, machine, median, raw_program

RAW = raw_program("raw_oplog")
SQLITE = raw_program("sqlite_oplog")

# Job, entries a commit, callers, callers of the base in RocksDB, goal against it, goal against SQLite.
RUNS = [
    ("apply", 1, 1, 1, ">= 0.8", ""),
    ("apply", 1, 16, 1, ">= 1.5, of one caller", ""),
    ("apply", 256, 1, 1, ">= 0.8", ">= 4"),
    ("exec", 1, 1, 1, "", ""),
    ("exec", 1, 16, 1, "", ""),
    ("synced", 1, 1, 1, "", ""),
    ("synced", 1, 16, 16, "", ""),
    ("read", 256, 1, 1, ">= 0.8", ""),
    ("cursors", 1, 1, 1, "", ""),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    few = ["--seconds", "1"] if options.quick else []
    print("# The op-log beside plain RocksDB and SQLite\n")
    print(f"Machine: {machine()}. Commit {commit()}. Command: `make bench-oplog`. Medians of "
          f"{options.repeat} runs, all sides in turn; times in microseconds.\n")
    print("An entry sets one of 10,000 cells to 100 bytes: its row, the cell, the clock's register "
          "and the link of its peer's hash chain are one commit, and its index must be free. "
          "RocksDB's side does the same reads, writes and two SHA-256; it leaves out what checks "
          "the clock, wakes watchers and serves many callers. SQLite's side has one table of "
          "entries clustered on (peer, index), one of cells and one row for the clock, in WAL mode "
          "with `synchronous=NORMAL` and prepared statements (`FULL` where synced). The ratio is "
          "Spindle's entries a second over theirs.\n")
    print("| job | entries a commit | callers | Spindle /s | RocksDB /s | ratio | goal | "
          "SQLite /s | ratio | goal | p50 | p50 raw | p99 | p99 raw | fsync/entry |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for job, batch, tasks, threads, goal, sqlite_goal in RUNS:
        sides = {"ours": [], "raw": [], "sqlite": []}
        for _ in range(options.repeat):
            sides["ours"] += lines(
                [SPINDLE, "bench", "oplog", "--job", job, "--batch", str(batch), "--tasks",
                 str(tasks), "--dir", options.dir, "--json", *few])
            for name, program in [("raw", RAW), ("sqlite", SQLITE)]:
                sides[name] += lines(
                    [program, job, "--batch", str(batch), "--threads", str(threads), "--dir",
                     options.dir, *few])
        speed = {name: median(rows, "opsPerSecond") for name, rows in sides.items()}
        ours, raw = sides["ours"], sides["raw"]
        syncs = median(ours, lambda row: row["fsyncs"] / max(row["ops"], 1))
        print(f"| {job} | {batch} | {tasks} | {speed['ours']:,.0f} | {speed['raw']:,.0f} | "
              f"{speed['ours'] / speed['raw']:.2f} | {goal} | {speed['sqlite']:,.0f} | "
              f"{speed['ours'] / speed['sqlite']:.2f} | {sqlite_goal} | "
              f"{median(ours, 'p50us'):.1f} | {median(raw, 'p50us'):.1f} | "
              f"{median(ours, 'p99us'):.1f} | {median(raw, 'p99us'):.1f} | {syncs:.3f} |",
              flush=True)


main()
