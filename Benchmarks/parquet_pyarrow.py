#!/usr/bin/env python3
"""The jobs of `spindle bench parquet` with pyarrow on one thread, and the files that both sides read.

    parquet_pyarrow.py make-flights SOURCE FILE     SOURCE: a directory with flights.csv[.zip]
    parquet_pyarrow.py make-synthetic ROWS FILE
    parquet_pyarrow.py write|read|columns|filter FILE [--compression zstd|lz4] [--dir DIR]

Prints one JSON object a run: rows, seconds, the bytes of the file, and for reads the bytes that the
columns take in memory.
"""
import argparse
import io
import json
import os
import sys
import time
import zipfile

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

pa.set_cpu_count(1)
pa.set_io_thread_count(1)
# What SpindleParquet writes by default is asked for here, too.
WRITING = dict(row_group_size=1 << 20, write_page_index=True, write_page_checksum=True)


def flights(source):
    path = os.path.join(source, "flights.csv")
    if os.path.exists(path):
        raw = open(path, "rb")
    else:
        with zipfile.ZipFile(path + ".zip") as archive:
            raw = io.BytesIO(archive.read("flights.csv"))
    options = pa.csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    table = pa.csv.read_csv(raw, convert_options=options)
    at = table.schema.get_field_index("time_hour")
    return table.set_column(at, "time", table.column(at).cast(pa.timestamp("us", "UTC")))


def synthetic(rows, first):
    """Rising times with jitter, four tags of 10 to 10,000 values, and six doubles: two that walk with
    two decimals, two as full of digits as they come, one of few values, one mostly missing."""
    def uniform(seed):
        return pc.random(rows, initializer=seed + first)

    def tag(prefix, count, seed):
        words = pa.array([f"{prefix}-{number:05}" for number in range(count)])
        return words.take(pc.floor(pc.multiply(uniform(seed), count)).cast(pa.int32()))

    def walk(seed):
        steps = pc.round(pc.multiply(pc.subtract(uniform(seed), 0.5), 2), 2)
        return pc.round(pc.add(pc.cumulative_sum(steps), 20), 2)

    steps = pc.add(pc.floor(pc.multiply(uniform(1), 2000)).cast(pa.int64()), 9000)
    times = pc.add(pc.cumulative_sum(steps), 1_357_035_300_000_000 + first * 10_050)
    sparse = pc.if_else(pc.less(uniform(10), 0.1), uniform(11), None)
    return pa.table({
        "time": times.cast(pa.timestamp("us", "UTC")),
        "region": tag("region", 10, 2), "rack": tag("rack", 100, 3),
        "host": tag("host", 1000, 4), "sensor": tag("sensor", 10_000, 5),
        "temperature": walk(6), "humidity": walk(7),
        "pressure": pc.add(pc.multiply(uniform(8), 50), 980), "noise": uniform(9),
        "level": pc.floor(pc.multiply(uniform(12), 8)), "gust": sparse})


def make_synthetic(rows, path):
    writer = None
    for first in range(0, rows, 1 << 20):
        table = synthetic(min(1 << 20, rows - first), first)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="lz4")
        writer.write_table(table)
    writer.close()


def span(path):
    """The times that one row in a hundred has, from the middle of the sorted ones."""
    times = pq.read_table(path, columns=["time"], use_threads=False).column(0).cast(pa.int64())
    low, high = pc.quantile(times, [0.5, 0.51], interpolation="lower").to_pylist()
    return low, high


def write(path, options):
    target = os.path.join(options.dir, f"pyarrow-bench-{os.getpid()}.parquet")
    file, seconds, rows, writer = pq.ParquetFile(path), 0, 0, None
    try:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            begin = time.perf_counter()
            if writer is None:
                choices = {key: value for key, value in WRITING.items() if key != "row_group_size"}
                writer = pq.ParquetWriter(target, table.schema, compression=options.compression,
                                          compression_level=1 if options.compression == "zstd" else None,
                                          **choices)
            writer.write_table(table, row_group_size=WRITING["row_group_size"])
            seconds += time.perf_counter() - begin
            rows += table.num_rows
        begin = time.perf_counter()
        writer.close()
        seconds += time.perf_counter() - begin
        if options.keep:
            os.replace(target, options.keep)
            target = options.keep
        return rows, seconds, os.path.getsize(target), 0
    finally:
        if not options.keep and os.path.exists(target):
            os.remove(target)


def read(path, columns=None, filters=None):
    """By row groups, so that a big file's columns are not all held at once."""
    size = os.path.getsize(path)
    begin = time.perf_counter()
    if filters is not None:
        table = pq.read_table(path, columns=columns, filters=filters, use_threads=False)
        return table.num_rows, time.perf_counter() - begin, size, table.nbytes
    file = pq.ParquetFile(path)
    rows = memory = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=columns, use_threads=False)
        rows, memory = rows + table.num_rows, memory + table.nbytes
    return rows, time.perf_counter() - begin, size, memory


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    parser.add_argument("file")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--compression", default="zstd")
    parser.add_argument("--columns", default="")
    parser.add_argument("--from", dest="low", type=int)
    parser.add_argument("--to", dest="high", type=int)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--keep", default="")
    options = parser.parse_args()
    if options.job == "make-flights":
        pq.write_table(flights(options.file), options.target, compression="lz4")
        return
    if options.job == "make-synthetic":
        return make_synthetic(int(options.file), options.target)
    if options.job == "span":
        print(json.dumps(dict(zip(("low", "high"), span(options.file)))))
        return
    if options.job == "write":
        result = write(options.file, options)
    elif options.job == "read":
        result = read(options.file)
    elif options.job == "columns":
        result = read(options.file, columns=options.columns.split(","))
    else:
        kind = pq.read_schema(options.file).field("time").type
        low, high = (pa.scalar(edge, pa.int64()).cast(kind) for edge in (options.low, options.high))
        result = read(options.file, filters=(pc.field("time") >= low) & (pc.field("time") < high))
    rows, seconds, size, memory = result
    print(json.dumps({"job": options.job, "rows": rows, "seconds": seconds, "fileBytes": size,
                      "memoryBytes": memory}))


if __name__ == "__main__":
    sys.exit(main())
