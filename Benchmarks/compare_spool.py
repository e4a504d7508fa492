#!/usr/bin/env python3
"""Runs the spool's jobs and the same jobs written straight on RocksDB's C++ API, in turn.

Prints tables of medians and ratios, with the goals beside them. Both sides get the same options,
sizes and counts; the runs alternate, because the machine's speed drifts. Usage:

    compare_spool.py [--repeat N] [--dir DIR] [--only PART] [--quick] > Benchmarks/Results/spool.md
"""
import argparse
import os

from common import SPINDLE, commit, lines, machine, median, raw_program

RAW = raw_program("raw_spool")
SIZES = [256, 1024, 4096, 65536]


class Comparison:
    def __init__(self, options):
        self.options = options

    def ours(self, job, size, *more):
        command = [SPINDLE, "bench", "spool", "--job", job, "--value-bytes", str(size), "--dir",
                   self.options.dir, "--json", *more]
        # 2: the memory job found more than its bound; the table says so.
        return lines(command, allowed=(0, 2))[0]

    def raw(self, job, size, *more):
        return lines([RAW, job, "--value-bytes", str(size), "--dir", self.options.dir, *more])[0]

    def pairs(self, ours, raw):
        """Runs both sides in turn."""
        mine, theirs = [], []
        for _ in range(self.options.repeat):
            mine.append(self.ours(*ours))
            theirs.append(self.raw(*raw))
        return mine, theirs

    # ---- Speed

    def speed_runs(self):
        """Job, size, callers, options of ours, job and options of the raw program, goal."""
        quick = self.options.quick
        few = ["--ops", "20000", "--seconds", "1"] if quick else []
        for size in SIZES:
            goal = ">= 0.95" if size <= 4096 else ""
            yield "store", size, 1, few, "store", few, goal
        for size in SIZES[:3]:
            # The base is one caller of RocksDB, whatever the number of ours.
            goal = ">= 2, of one caller" if size <= 1024 else ""
            yield "store", size, 64, few, "store", few, goal
        for tasks in [1, 16, 64]:
            for size in SIZES[:3]:
                goal = {(1, size): ">= 0.9", (64, 1024): ">= 2", (64, 4096): ">= 1.5"}.get(
                    (tasks, size), "")
                yield "synced", size, tasks, few, "synced", few, goal
        for size in SIZES:
            yield "load-borrowed", size, 1, few, "load-borrowed", few, ">= 0.95"
            yield "load", size, 1, few, "load-copied", few, ">= 0.85"
        drop = ["--drop-caches"] if os.geteuid() == 0 else []
        for size in SIZES:
            yield "load-cold", size, 1, few, "load-cold", few, ""
            if drop:
                yield "load-cold", size, 1, few + drop, "load-cold", few + drop, ""
        entries = ["--ops", "20000" if quick else "1000000"]
        yield "enumerate", 500, 1, entries, "enumerate", entries, ">= 0.95"
        yield "enumerate", 500, 8, entries, "enumerate", entries, ""
        yield "remove", 1024, 1, few, "remove", few, ""

    def print_speed(self):
        print("## Speed\n")
        print("| job | bytes | callers | Spindle ops/s | RocksDB ops/s | ratio | goal | p50 | "
              "p50 raw | p99 | p99 raw | fsync/op | fsync/op raw | memory |")
        print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
        for job, size, tasks, our_options, raw_job, raw_options, goal in self.speed_runs():
            # Only a job whose baseline has as many callers says so to the raw program.
            threads = ["--threads", str(tasks)] if raw_job == "synced" else []
            mine, theirs = self.pairs(
                (job, size, "--tasks", str(tasks), *our_options),
                (raw_job, size, *threads, *raw_options))
            name = job if raw_job == job else f"{job} / {raw_job}"
            cache = mine[0].get("pageCache")
            if cache:
                name += f", page cache {cache}"
            speed, base = median(mine, "opsPerSecond"), median(theirs, "opsPerSecond")
            syncs = [median(rows, lambda row: row["fsyncs"] / max(row["ops"], 1))
                     for rows in (mine, theirs)]
            memory = ""
            if "memoryBytes" in mine[0]:
                memory = f"{median(mine, 'memoryBytes') / 2**20:.0f} MiB"
            print(f"| {name} | {size} | {tasks} | {speed:,.0f} | {base:,.0f} | "
                  f"{speed / base:.2f} | {goal} | {median(mine, 'p50us'):.1f} | "
                  f"{median(theirs, 'p50us'):.1f} | {median(mine, 'p99us'):.1f} | "
                  f"{median(theirs, 'p99us'):.1f} | {syncs[0]:.3f} | {syncs[1]:.3f} | {memory} |",
                  flush=True)
        print()

    # ---- Bytes under churn

    def print_churn(self):
        print("## Bytes written under churn\n")
        print("Stores and removals in turn, 16 KiB each, the removed one drawn at random from the "
              "live set. Written a byte: bytes that the kernel counted as written to the disk for "
              "each payload byte stored. Held: the directory's size at the end.\n")
        print("| live set | blob files | Spindle ops/s | RocksDB ops/s | written a byte | "
              "written a byte raw | goal | by the engine's count | held | held raw |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        few = ["--ops", "20000"] if self.options.quick else []
        lives = [(16, "<= 1.3"), (125, "<= 1.5"), (1024, "<= 2.2")]
        for live, goal in lives[:1] if self.options.quick else lives:
            for blobs in [[], ["--blobs"]]:
                options = ["--live-bytes", str(live << 20), *few, *blobs]
                mine, theirs = self.pairs(("churn", 16384, *options), ("churn", 16384, *options))

                def share(rows, key):
                    return median(rows, lambda row: row[key] / row["storedBytes"])
                print(f"| {live} MiB | {'on' if blobs else 'off'} | "
                      f"{median(mine, 'opsPerSecond'):,.0f} | "
                      f"{median(theirs, 'opsPerSecond'):,.0f} | {share(mine, 'kernelBytes'):.2f} | "
                      f"{share(theirs, 'kernelBytes'):.2f} | {goal} | "
                      f"{share(mine, 'engineBytes'):.2f} | "
                      f"{median(mine, 'diskBytes') / 2**20:,.0f} MiB | "
                      f"{median(theirs, 'diskBytes') / 2**20:,.0f} MiB |", flush=True)
        print()

    # ---- Compression

    def print_compression(self):
        print("## Compression before the write, word salad\n")
        print("| job | bytes | compression | ops/s | p50 | p99 | written a byte |")
        print("|---|---|---|---|---|---|---|")
        few = ["--ops", "20000", "--seconds", "1"] if self.options.quick else []
        churn = ["--ops", "20000"] if self.options.quick else []
        jobs = [("store", 4096, few), ("store", 65536, few), ("load", 4096, few),
                ("load", 65536, few), ("churn", 16384, churn)]
        for job, size, options in jobs:
            rows = {name: [] for name in ["none", "lz4", "zstd"]}
            for _ in range(self.options.repeat):
                for name in rows:
                    rows[name].append(self.ours(
                        job, size, "--payload", "words", "--compression", name, *options))
            for name, found in rows.items():
                written = ""
                if job == "churn":
                    share = median(found, lambda row: row["kernelBytes"] / row["storedBytes"])
                    written = f"{share:.2f}"
                print(f"| {job} | {size} | {name} | {median(found, 'opsPerSecond'):,.0f} | "
                      f"{median(found, 'p50us'):.1f} | {median(found, 'p99us'):.1f} | "
                      f"{written} |", flush=True)
        print()

    # ---- Bounds

    def print_bounds(self):
        print("## Bounds\n")
        print("| what | measured | goal |")
        print("|---|---|---|")
        rows = [self.ours("gate", 1024) for _ in range(self.options.repeat)]
        print(f"| A-G-12: asking whether the spool takes writes | {median(rows, 'p50us') * 1000:.1f} ns | "
              "< 20 ns |", flush=True)
        count = 50_000 if self.options.quick else 1_000_000
        rows = [self.ours("enumerate", 500, "--tasks", "8", "--ops", str(count))
                for _ in range(self.options.repeat)]
        print(f"| A-E-10: walking {count:,} messages of 500 bytes, 8 readers | "
              f"{median(rows, 'seconds'):.1f} s, "
              f"{median(rows, 'memoryBytes') / 2**20:.0f} MiB more memory | < 10 s |", flush=True)
        count = 50_000 if self.options.quick else 2_000_000
        rows = [self.ours("memory", 1024, "--ops", str(count))
                for _ in range(self.options.repeat)]
        print(f"| peak of resident memory after {count:,} stores of 1 KiB | "
              f"{median(rows, 'memoryBytes') / 2**20:.0f} MiB | "
              f"<= {rows[0]['memoryBoundBytes'] / 2**20:.0f} MiB: memtables, caches and 100 MB |",
              flush=True)
        print()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["speed", "churn", "compression", "bounds"])
    options = parser.parse_args()
    comparison = Comparison(options)
    parts = {"speed": comparison.print_speed, "churn": comparison.print_churn,
             "compression": comparison.print_compression, "bounds": comparison.print_bounds}
    print("# The spool beside plain RocksDB\n")
    print(f"Machine: {machine()}. Commit {commit()}. Command: `make bench-spool`. Medians of "
          f"{options.repeat} runs, both sides in turn with the same options; times in "
          "microseconds. RocksDB's side does the same job: the same record, checksums, durability, "
          "gets and puts. The ratio is Spindle's operations a second over plain RocksDB's.\n")
    for name, part in parts.items():
        if options.only in (None, name):
            part()


main()
