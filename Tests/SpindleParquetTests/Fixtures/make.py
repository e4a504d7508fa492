"""Makes the files of this directory. Each row's values follow from its number, so that
FixtureTests.swift knows them; see `row` there.

    python make.py            with pyarrow 26 and duckdb 2 installed
"""

import pathlib

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
ROWS = 300


def nullable(index, value, every):
    return None if index % every == 0 else value


def table(rows=ROWS, first=0):
    numbers = range(first, first + rows)
    return pa.table(
        {
            "flag": pa.array([nullable(i, i % 3 == 0, 11) for i in numbers], pa.bool_()),
            "small": pa.array([nullable(i, i * 7 - 1000, 5) for i in numbers], pa.int32()),
            "big": pa.array([i * i * 1_000_003 - 5 for i in numbers], pa.int64()),
            "single": pa.array([nullable(i, i / 4, 6) for i in numbers], pa.float32()),
            "double": pa.array([i / 8 - 3 for i in numbers], pa.float64()),
            "tag": pa.array([nullable(i, f"tag {i % 10}", 7) for i in numbers], pa.string()),
            "text": pa.array([nullable(i, "x" * (i % 40) + str(i), 13) for i in numbers],
                             pa.string()),
            "fixed": pa.array([nullable(i, bytes([i % 256, 1, 2, 3]), 9) for i in numbers],
                              pa.binary(4)),
            "time": pa.array([i * 1_000_000_007 for i in numbers], pa.timestamp("ns", "UTC")),
        },
        schema=pa.schema(
            [
                pa.field("flag", pa.bool_()),
                pa.field("small", pa.int32()),
                pa.field("big", pa.int64(), nullable=False),
                pa.field("single", pa.float32()),
                pa.field("double", pa.float64(), nullable=False),
                pa.field("tag", pa.string()),
                pa.field("text", pa.string()),
                pa.field("fixed", pa.binary(4)),
                pa.field("time", pa.timestamp("ns", "UTC"), nullable=False),
            ]
        ),
    )


def write(name, table=None, **options):
    options = {
        "row_group_size": 120,
        "data_page_size": 256,
        "write_batch_size": 16,
        "write_page_index": True,
        "write_page_checksum": True,
        "compression": "none",
        "store_schema": False,
        **options,
    }
    pq.write_table(globals()["table"]() if table is None else table, HERE / name, **options)


def main():
    for codec in ["none", "snappy", "gzip", "zstd", "lz4"]:
        for version in ["1.0", "2.0"]:
            write(f"{codec}-v{version[0]}.parquet", compression=codec, data_page_version=version)
    plain = {"use_dictionary": False}
    write("plain.parquet", **plain)
    for version in ["1.0", "2.0"]:
        write(
            f"delta-v{version[0]}.parquet",
            column_encoding={
                "flag": "RLE" if version == "2.0" else "PLAIN",
                "small": "DELTA_BINARY_PACKED",
                "big": "DELTA_BINARY_PACKED",
                "single": "BYTE_STREAM_SPLIT",
                "double": "BYTE_STREAM_SPLIT",
                "tag": "DELTA_LENGTH_BYTE_ARRAY",
                "text": "DELTA_BYTE_ARRAY",
                "fixed": "DELTA_BYTE_ARRAY",
                "time": "BYTE_STREAM_SPLIT",
            },
            data_page_version=version,
            **plain,
        )
    write("split.parquet",
          column_encoding={"small": "BYTE_STREAM_SPLIT", "fixed": "BYTE_STREAM_SPLIT"}, **plain)
    write("fallback.parquet", dictionary_pagesize_limit=64)
    write("int96.parquet", use_deprecated_int96_timestamps=True)
    write("version1.parquet", table=table().drop(["time"]), version="1.0")
    write("bare.parquet", write_page_index=False, write_page_checksum=False,
          write_statistics=False)
    write("empty.parquet", table=table(0))
    nested = table().select(["big"])
    nested = nested.append_column(
        "list", pa.array([[i, i + 1] for i in range(ROWS)], pa.list_(pa.int32())))
    nested = nested.append_column(
        "pair", pa.array([{"a": i, "b": str(i)} for i in range(ROWS)],
                         pa.struct([("a", pa.int32()), ("b", pa.string())])))
    nested = nested.append_column("double", table()["double"])
    write("nested.parquet", table=nested)
    source = table()
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.register("source", source)
    for version in ["v1", "v2"]:
        path = HERE / f"duckdb-{version}.parquet"
        connection.execute(
            f"copy source to '{path}' (format parquet, compression zstd, "
            f"parquet_version {version}, row_group_size 2048)")


main()
