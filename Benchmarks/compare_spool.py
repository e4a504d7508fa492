#!/usr/bin/env python3
"""Runs the spool's jobs and the same jobs written straight on RocksDB's C++ API, in turn.

Prints a page: first every goal with what was measured and whether it was met, then the tables of
medians and ratios. Both sides get the same options, sizes and counts; the runs alternate, because
the machine's speed drifts. Progress goes to stderr. Usage:

    compare_spool.py [--repeat N] [--dir DIR] [--only PART] [--quick] > Benchmarks/Results/spool.md

Exit 0 ok, 1 a run failed, 2 a bound was exceeded. A missed goal of speed or size does not fail the
run; the page says it.
"""
import argparse
import os
import sys
import time

from common import SPINDLE, commit, lines, machine, median, raw_program, spread, values
from spool_goals import CHURN_GOALS, COALESCED, REASONS, Goals, speed_runs

RAW = raw_program("raw_spool")
MIB = 2**20
DEFAULT_REPEAT = 3


class Table:
    def __init__(self, *columns):
        self.rows = [columns, ["---"] * len(columns)]

    def add(self, *cells):
        self.rows.append([str(cell) for cell in cells])
        print("  " + " | ".join(self.rows[-1]), file=sys.stderr, flush=True)

    def __str__(self):
        return "\n".join("| " + " | ".join(row) + " |" for row in self.rows)


class Comparison:
    def __init__(self, options):
        self.options = options
        self.goals = Goals()

    # ---- Runs

    def ours(self, job, size, *more):
        command = [SPINDLE, "bench", "spool", "--job", job, "--value-bytes", str(size), "--dir",
                   self.options.dir, "--json", *more]
        # 2: the memory job found more than its bound; `bounds` judges that.
        return lines(command, allowed=(0, 2))[0]

    def raw(self, job, size, *more):
        return lines([RAW, job, "--value-bytes", str(size), "--dir", self.options.dir, *more])[0]

    def in_turn(self, *runs, rounds=None):
        """The rows of each run, which are functions; all are called once a round."""
        found = [[] for _ in runs]
        for _ in range(rounds or self.options.repeat):
            for rows, run in zip(found, runs):
                rows.append(run())
        return found

    def few(self, size, *usual):
        """Options for the counts of a run."""
        if not self.options.quick:
            return list(usual)
        return ["--ops", "10000" if size <= 4096 else "1000", "--seconds", "1"]

    # ---- Speed

    def speed(self):
        table = Table("job", "bytes", "callers", "Spindle ops/s", "RocksDB ops/s", "ratio", "goal",
                      "", "ceiling", "p50", "p50 raw", "p99", "p99 raw", "fsync/op",
                      "fsync/op raw")
        for run in speed_runs(drops_caches=os.geteuid() == 0):
            options = self.few(run.size, *run.options) + run.flags
            threads = ["--threads", str(run.callers)] if run.job == "synced" else []
            runs = [
                lambda: self.ours(run.job, run.size, "--tasks", str(run.callers), *options),
                lambda: self.raw(run.raw_job, run.size, *threads, *options)]
            if run.ceiling:
                runs.append(lambda: self.raw(run.ceiling[0], run.size, *options, *run.ceiling[1:]))
            mine, theirs, *above = self.in_turn(*runs)
            ratios = self.ratios(mine, theirs)
            ratio = median(mine, "opsPerSecond") / median(theirs, "opsPerSecond")
            ceiling = ""
            if above:
                share = median(above[0], "opsPerSecond") / median(theirs, "opsPerSecond")
                ceiling = f"{share:.2f}"
            syncs = [median(rows, lambda row: row["fsyncs"] / max(row["ops"], 1))
                     for rows in (mine, theirs)]
            verdict = ""
            if run.goal:
                verdict = self.goals.speed(run, ratio, ceiling)
            if run.most_syncs:
                self.goals.at_most(f"{run.name}: fsyncs an operation", syncs[0], run.most_syncs,
                                   "{:.4f}", REASONS["fsyncs"])
            table.add(run.job_name, run.size, run.callers,
                      f"{median(mine, 'opsPerSecond'):,.0f}",
                      f"{median(theirs, 'opsPerSecond'):,.0f}",
                      self.with_spread(ratio, ratios), run.goal_text, verdict, ceiling,
                      *(f"{median(rows, key):.1f}" for key in ("p50us", "p99us")
                        for rows in (mine, theirs)),
                      *(f"{share:.3f}" for share in syncs))
        return f"""## Speed

The ratio is Spindle's operations a second over plain RocksDB's: that of the medians, and in
brackets the least and the greatest of the runs in pairs. The ceiling is the same ratio for plain
RocksDB doing what Spindle has to do by its promises: for many buffered callers, one caller writing
{COALESCED} records a batch; for cold loads and for synced stores of one caller, each call handed to
another thread and awaited, because a caller's own thread must not wait for the disk; for the same
reason the records of a walk are handed to another thread, too, and hot loads ask memory alone.

{table}
"""

    @staticmethod
    def ratios(mine, theirs):
        return [a["opsPerSecond"] / b["opsPerSecond"] for a, b in zip(mine, theirs)]

    @staticmethod
    def with_spread(ratio, ratios):
        if len(ratios) == 1:
            return f"{ratio:.2f}"
        return f"{ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})"

    # ---- Bytes under churn

    def churn(self):
        table = Table("live set", "payload", "compression", "blob files", "write buffers",
                      "Spindle ops/s",
                      "RocksDB ops/s", "ratio", "written a byte", "written a byte raw", "goal", "",
                      "engine's count", "held", "held raw", "held at most", "")
        lives = [16, 125, 1024]
        # Payload, compression, blob files, MiB of the write buffers.
        kinds = [("random", "none", "off", 256), ("random", "none", "on", 256),
                 ("random", "none", "on", 512), ("words", "lz4", "off", 256),
                 ("words", "zstd", "off", 256)]
        few = ["--ops", "20000"] if self.options.quick else []
        for live in lives[:1] if self.options.quick else lives:
            for payload, compression, blobs, buffers in kinds:
                options = ["--live-bytes", str(live * MIB), "--payload", payload, "--compression",
                           compression, "--write-buffer-bytes", str(buffers * MIB), *few,
                           *(["--blobs"] if blobs == "on" else [])]
                mine, theirs = self.in_turn(lambda: self.ours("churn", 16384, *options),
                                            lambda: self.raw("churn", 16384, *options),
                                            rounds=1)
                shares = [values(rows, lambda row: row["kernelBytes"] / row["storedBytes"])
                          for rows in (mine, theirs)]
                counted = median(mine, lambda row: row["engineBytes"] / row["storedBytes"])
                held = [median(rows, "diskBytes") / MIB for rows in (mine, theirs)]
                most_held = 2 * live + buffers
                goal, is_met, holds = "", "", ""
                if payload == "random":
                    what = (f"churn, {live} MiB live, blob files {blobs}, write buffers of "
                            f"{buffers} MiB")
                    goal = f"<= {CHURN_GOALS[live]}"
                    is_met = self.goals.churn(what, shares, CHURN_GOALS[live])
                    holds = self.goals.at_most(
                        what + ": MiB on the disk", held[0], most_held, "{:,.0f}",
                        f"plain RocksDB holds {held[1]:,.0f}")
                table.add(f"{live} MiB", payload, compression, blobs, f"{buffers} MiB",
                          f"{median(mine, 'opsPerSecond'):,.0f}",
                          f"{median(theirs, 'opsPerSecond'):,.0f}",
                          spread(self.ratios(mine, theirs)), spread(shares[0]), spread(shares[1]),
                          goal, is_met, f"{counted:.2f}", f"{held[0]:,.0f} MiB", f"{held[1]:,.0f} MiB",
                          f"{most_held:,} MiB" if holds else "", holds)
        return f"""## Bytes written under churn

Stores and removals in turn, 16 KiB each, the removed one drawn at random from the live set; as many
as make 8 times the write buffers, at least 4 times the live set. One run each: the bytes hardly
differ from run to run. Written a byte: bytes that the kernel counted as written to the disk for
each payload byte stored, before compression. Held: the directory's size at the end. 256 MiB is the
default of the write buffers; what is removed while it is in them is never written again, so larger
ones write less and take more memory. Random payloads cannot be compressed; words are a text of
2,048 different ones. Both sides compress the same way before the write, zstd at level 1; both keep
a payload as it is that would not become 1/16 smaller.

{table}
"""

    # ---- Compression

    def compression(self):
        table = Table("job", "bytes", "compression", "Spindle ops/s", "RocksDB ops/s", "ratio",
                      "p50", "p50 raw", "p99", "p99 raw")
        for job, raw_job in [("store", "store"), ("load", "load-copied")]:
            for size in [4096, 65536]:
                for name in ["none", "lz4", "zstd"]:
                    options = ["--payload", "words", "--compression", name,
                               *self.few(size, "--ops", "50000" if size == 4096 else "8192",
                                         "--seconds", "3")]
                    mine, theirs = self.in_turn(lambda: self.ours(job, size, *options),
                                                lambda: self.raw(raw_job, size, *options))
                    table.add(job, size, name, f"{median(mine, 'opsPerSecond'):,.0f}",
                              f"{median(theirs, 'opsPerSecond'):,.0f}",
                              spread(self.ratios(mine, theirs)),
                              *(f"{median(rows, key):.1f}" for key in ("p50us", "p99us")
                                for rows in (mine, theirs)))
        return f"""## Compression before the write, words

The caller's thread compresses and decompresses. The bytes that compression saves are in the table
above.

{table}
"""

    # ---- Bounds

    def bounds(self):
        quick = self.options.quick
        goals = self.goals
        table = Table("what", "measured", "bound", "")

        def add(what, measured, bound, is_met):
            table.add(what, measured, bound, goals.bound(what, measured, bound, is_met))

        rows, = self.in_turn(lambda: self.ours("gate", 1024))
        times = values(rows, lambda row: row["p50us"] * 1000)
        add("A-G-12: asking whether the spool takes writes", spread(times, "{:.1f}") + " ns",
            "< 20 ns", median(rows, "p50us") * 1000 < 20)

        count = 50_000 if quick else 1_000_000
        rows, = self.in_turn(
            lambda: self.ours("enumerate", 500, "--tasks", "8", "--ops", str(count)))
        growth = [bytes / MIB for bytes in values(rows, "memoryBytes")]
        add(f"A-E-10: walking {count:,} messages of 500 bytes, 8 readers",
            spread(values(rows, "seconds"), "{:.1f}") + " s", "< 10 s",
            median(rows, "seconds") < 10)
        # 4,096 messages wait in the channel at most; the rest is the walk's own.
        add("A-E-10: growth of resident memory meanwhile", spread(growth, "{:.0f}") + " MiB",
            "< 64 MiB, the channel's bound of bytes", sorted(growth)[len(growth) // 2] < 64)

        count = 50_000 if quick else 2_000_000
        rows, = self.in_turn(lambda: self.ours("memory", 1024, "--ops", str(count)))
        most = rows[0]["memoryBoundBytes"]
        add(f"peak of resident memory after {count:,} stores of 1 KiB",
            spread([bytes / MIB for bytes in values(rows, "memoryBytes")], "{:.0f}") + " MiB",
            f"<= {most / MIB:.0f} MiB: memtables, caches and 100 MB",
            max(values(rows, "memoryBytes")) <= most)

        count = 100_000 if quick else 1_000_000
        rows, = self.in_turn(lambda: self.ours("ingress", 1024, "--ops", str(count)))
        idle, beside = median(rows, "idleP99us"), median(rows, "p99us")
        add(f"p99 of stores of 1 KiB while {count:,} messages are enumerated",
            f"{beside:.1f} us, {beside / idle:.2f} times that alone, {idle:.1f} us", "< 2 times",
            beside < 2 * idle)

        command = [SPINDLE, "bench", "store", "--job", "beside", "--value-bytes", "1024", "--dir",
                   self.options.dir, "--json", "--seconds", "1" if quick else "3"]
        rows, = self.in_turn(lambda: {row["job"]: row["p50us"] for row in lines(command)})
        alone, synced = median(rows, "beside-alone"), median(rows, "beside-synced")
        # As without it is what the goal says; runs of the same thing differ by so much.
        goals.at_most("p50 of buffered stores of 1 KiB beside a synced writer, times that alone",
                      synced / alone, 1.15, "{:.2f}",
                      f"{synced:.1f} us, and {alone:.1f} us alone; both append to the same log")
        return f"""## Bounds

A bound that is exceeded fails the run.

{table}
"""


def page(options):
    began = time.monotonic()
    comparison = Comparison(options)
    parts = {"bounds": comparison.bounds, "speed": comparison.speed, "churn": comparison.churn,
             "compression": comparison.compression}
    sections = [part() for name, part in parts.items() if options.only in (None, name)]
    minutes = (time.monotonic() - began) / 60
    runs = "One run of each" if options.repeat == 1 else f"Medians of {options.repeat} runs"
    if options.repeat > 1:
        runs += ", with the least and the greatest in brackets"
    quick = " These runs were shortened (`--quick`): the figures say little." * options.quick
    command = ("make bench-spool" if options.repeat == DEFAULT_REPEAT
               else f"Benchmarks/compare_spool.py --repeat {options.repeat}")
    print(f"""# The spool beside plain RocksDB

Machine: {machine(options.dir)}. Commit {commit()}. Command: `{command}`, {minutes:.0f}
minutes. {runs}, both sides in turn with the same options; times in microseconds. RocksDB's side
does the same job: the same record, checksums, durability, gets and puts.{quick}

{comparison.goals}""")
    print("\n".join(sections), end="")
    return comparison.goals.failed_bounds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=DEFAULT_REPEAT)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["bounds", "speed", "churn", "compression"])
    options = parser.parse_args()
    exceeded = page(options)
    if exceeded:
        sys.stdout.flush()
        for line in exceeded:
            print(f"compare_spool.py: exceeded: {line}", file=sys.stderr)
        sys.exit(2)


main()
