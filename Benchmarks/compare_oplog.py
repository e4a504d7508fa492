#!/usr/bin/env python3
"""Runs the op-log's jobs, the same jobs on RocksDB's C++ API, and the same log in SQLite, in turn.

Prints a table of medians with the least and the greatest ratio, each goal marked as met or missed,
and what limits those that were missed. All sides get the same sizes and counts; the runs alternate,
because the machine's speed drifts. Usage:

    compare_oplog.py [--repeat N] [--dir DIR] [--quick] > Benchmarks/Results/oplog.md
"""
import argparse
import os
import sqlite3

from common import SPINDLE, commit, lines, machine, median, raw_program, spread, values

RAW = raw_program("raw_oplog")
SQLITE = raw_program("sqlite_oplog")

# Job, entries a commit, callers, callers of the base in RocksDB, goal against it, goal against
# SQLite.
RUNS = [
    ("apply", 1, 1, 1, 0.8, None),
    ("apply", 1, 16, 1, 1.5, None),
    ("apply", 256, 1, 1, 0.8, 4),
    ("exec", 1, 1, 1, None, None),
    ("exec", 1, 16, 1, None, None),
    ("synced", 1, 1, 1, None, None),
    ("synced", 1, 16, 16, None, None),
    ("read", 256, 1, 1, 0.8, None),
    ("cursors", 1, 1, 1, None, None),
]


class Comparison:
    def __init__(self, options):
        self.options = options
        self.few = ["--seconds", "1"] if options.quick else []
        # (job, entries a commit, callers) to the runs of each side.
        self.runs = {}

    def ours(self, job, batch, callers):
        return lines([SPINDLE, "bench", "oplog", "--job", job, "--batch", str(batch), "--tasks",
                      str(callers), "--dir", self.options.dir, "--json", *self.few])

    def theirs(self, program, job, batch, callers):
        return lines([program, job, "--batch", str(batch), "--threads", str(callers), "--dir",
                      self.options.dir, *self.few])

    def measure(self, job, batch, callers, raw_callers):
        sides = {"ours": [], "raw": [], "ceiling": [], "sqlite": []}
        for _ in range(self.options.repeat):
            sides["ours"] += self.ours(job, batch, callers)
            sides["raw"] += self.theirs(RAW, job, batch, raw_callers)
            if job == "apply" and callers > 1:
                sides["ceiling"] += self.theirs(RAW, job, callers, 1)
            if job == "read":
                sides["ceiling"] += self.theirs(RAW, "read-handed", batch, 1)
            sides["sqlite"] += self.theirs(SQLITE, job, batch, raw_callers)
        self.runs[job, batch, callers] = sides
        return sides

    def ratios(self, run, side, base):
        """Of one repeat each: the sides of a repeat ran right after each other."""
        sides = self.runs[run]
        return [a / b for a, b in zip(values(sides[side], "opsPerSecond"),
                                      values(sides[base], "opsPerSecond"))]


def verdict(goal, found, note=""):
    if goal is None:
        return ""
    met = sorted(found)[len(found) // 2] >= goal
    return f">= {goal:g}{note}: {'met' if met else '**missed**'}"


def table(comparison):
    print("| job | entries a commit | callers | Spindle /s | RocksDB /s | ratio | goal | "
          "SQLite /s | ratio | goal | p50 | p50 raw | p99 | p99 raw | fsync/entry |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for job, batch, callers, raw_callers, goal, sqlite_goal in RUNS:
        sides = comparison.measure(job, batch, callers, raw_callers)
        run = (job, batch, callers)
        raw, sqlite = (comparison.ratios(run, "ours", base) for base in ("raw", "sqlite"))
        speed = {name: median(rows, "opsPerSecond") for name, rows in sides.items() if rows}
        note = " of one caller" if callers != raw_callers else ""
        syncs = median(sides["ours"], lambda row: row["fsyncs"] / max(row["ops"], 1))
        print(f"| {job} | {batch} | {callers} | {speed['ours']:,.0f} | {speed['raw']:,.0f} | "
              f"{spread(raw)} | {verdict(goal, raw, note)} | {speed['sqlite']:,.0f} | "
              f"{spread(sqlite)} | {verdict(sqlite_goal, sqlite)} | "
              f"{median(sides['ours'], 'p50us'):.1f} | {median(sides['raw'], 'p50us'):.1f} | "
              f"{median(sides['ours'], 'p99us'):.1f} | {median(sides['raw'], 'p99us'):.1f} | "
              f"{syncs:.3f} |", flush=True)


def ceilings(comparison):
    """What plain RocksDB itself reaches of the goals, under what Spindle promises its callers."""
    crowd, page, read = ("apply", 1, 16), ("apply", 256, 1), ("read", 256, 1)
    shared = comparison.ratios(crowd, "ceiling", "raw")
    sqlite = comparison.ratios(page, "raw", "sqlite")
    handed = comparison.ratios(read, "ceiling", "raw")
    print("\n## Ceilings\n")
    print("| what | RocksDB alone, in C++ | goal |")
    print("|---|---|---|")
    print(f"| 16 entries a commit beside 1 entry a commit, one thread | {spread(shared)} | 1.5 |")
    print(f"| 256 entries a commit beside SQLite | {spread(sqlite)} | 4 |")
    print(f"| pages walked by another thread and awaited | {spread(handed)} | 0.8 |")
    print()
    ours = {run: sorted(comparison.ratios(run, "ours", base))[comparison.options.repeat // 2]
            for run, base in ((crowd, "raw"), (page, "sqlite"), (read, "raw"))}
    bound = {crowd: max(shared), page: max(sqlite), read: max(handed)}
    if ours[crowd] < 1.5:
        print(f"16 callers reach {ours[crowd]:.2f}. One commit for 16 entries saves RocksDB "
              f"itself at most a factor of {bound[crowd]:.2f} with nobody to wake and to answer, "
              "because the reads and the insertions of each entry stay. What goes beyond it can "
              f"only come from the other of the {os.cpu_count()} processors: entries of one log "
              "are recorded one after the other, so callers' own work is all that runs there.\n")
    if ours[page] < 4:
        limit = ("no code above RocksDB meets this goal" if bound[page] < 4
                 else "RocksDB leaves room for this goal")
        print(f"256 entries a commit reach {ours[page]:.2f} of SQLite's speed. The same gets, puts "
              f"and hashes written straight on RocksDB reach {bound[page]:.2f} at best: {limit}. "
              "In 256 entries the cost of a commit is gone, SQLite finds a row's place once for "
              "check and insertion, and its page cache holds the whole table.\n")
    if ours[read] < 0.8:
        print(f"Reads reach {ours[read]:.2f}. A page may have to come from the disk, so a thread of "
              "the store walks it while the caller's task is suspended. RocksDB's own program "
              f"reaches {bound[read]:.2f} at best when it hands each page to another thread and "
              "waits for it. The rest is Spindle's: the rows are copied out of the blocks on that "
              "thread and decoded on the caller's, an array for each key and value, and the task "
              "is resumed by way of the executor.\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    print("# The op-log beside plain RocksDB and SQLite\n")
    print(f"Machine: {machine(options.dir)}, SQLite {sqlite3.sqlite_version}. Commit {commit()}. "
          f"Command: `make bench-oplog`. Medians of {options.repeat} runs, all sides in turn; "
          "ratios are medians of those of each run, in brackets the least and the greatest; times "
          "in microseconds.\n")
    print("An entry sets one of 10,000 cells to 100 bytes: its row, the cell, the clock's register "
          "and the link of its peer's hash chain are one commit, and its index must be free. "
          "RocksDB's side does the same writes and two SHA-256, and reads whether each index is "
          "free and what its cell holds; it leaves out what checks the clock, wakes watchers and "
          "serves many callers. Spindle knows which indices are free as long as nobody else wrote "
          "to the log, and reads the cell alone. A page that is read is 256 owned entries on both "
          "sides, with the same read-ahead. SQLite's side has one table of "
          "entries clustered on (peer, index), one of cells and one row for the clock, in WAL mode "
          "with `synchronous=NORMAL` and prepared statements (`FULL` where synced). The ratio is "
          "Spindle's entries a second over theirs.\n")
    comparison = Comparison(options)
    table(comparison)
    ceilings(comparison)


main()
