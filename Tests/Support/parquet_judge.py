#!/usr/bin/env python3
"""The judge of SpindleParquet from outside: pyarrow and DuckDB.

    parquet_judge.py write DIRECTORY SAMPLE [--soak]
        writes files with every option that both have, and manifest.json with what they hold
    parquet_judge.py read DIRECTORY
        compares the files that DIRECTORY/expected.json describes with what both read and tell;
        one finding a line; exit code 2 when there is one
    parquet_judge.py page DIRECTORY PAGE
        runs the examples of a page of the documentation in DIRECTORY, and prints the rows and
        columns of each result

One process does many files: starting one costs a second.
"""
import json
import os
import random
import re
import sys
import traceback

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parquet_canon import digest, kind, logical, one_array
from parquet_matrix import Matrix
from parquet_pages import check_pages


class Judge:
    def __init__(self, directory):
        self.directory, self.findings = directory, []
        self.duck = duckdb.connect(config={"threads": 1})
        self.duck.execute("SET arrow_lossless_conversion = true")

    def run(self):
        with open(os.path.join(self.directory, "expected.json")) as file:
            entries = json.load(file)["files"]
        for entry in entries:
            try:
                self.judge(entry)
            except Exception as problem:
                place = traceback.extract_tb(problem.__traceback__)[-1]
                self.finding(entry, f"{type(problem).__name__}: {str(problem).splitlines()[0]} "
                             f"(line {place.lineno} of {os.path.basename(place.filename)})")
        for finding in self.findings:
            print(finding)
        print(f"{len(entries)} files judged, {len(self.findings)} findings")
        return 2 if self.findings else 0

    def finding(self, entry, what):
        self.findings.append(f"{entry['file']}: {what}")

    def equal(self, entry, what, found, expected):
        if found != expected:
            self.finding(entry, f"{what} is {found!r}, expected {expected!r}")

    def judge(self, entry):
        path = os.path.join(self.directory, entry["file"])
        file = pq.ParquetFile(path, page_checksum_verification=True)
        table = self.by_pyarrow(entry, file)
        self.metadata(entry, file.metadata)
        self.statistics(entry, file.metadata, table)
        with open(path, "rb") as raw:
            check_pages(raw.read(), table, entry, lambda what: self.finding(entry, what))
        self.filters(entry, path, table)
        self.by_duckdb(entry, path, file, table)
        self.blooms(entry, path, table)

    def by_pyarrow(self, entry, file):
        self.equal(entry, "the number of rows", file.metadata.num_rows, entry["rows"])
        names = [column["name"] for column in entry["columns"]]
        self.equal(entry, "the columns", file.schema.names, names)
        table = file.read()
        for index, column in enumerate(entry["columns"]):
            told = file.schema.column(index)
            name, values = column["name"], table.column(index)
            self.equal(entry, f"the kind of {name}", kind(told), column["kind"])
            self.equal(entry, f"the logical type of {name}", logical(told), column["logical"])
            self.equal(entry, f"optional {name}", told.max_definition_level == 1, column["optional"])
            self.equal(entry, f"the nulls of {name}", values.null_count, column["nulls"])
            self.equal(entry, f"pyarrow's digest of {name}", digest(values, column["kind"]),
                       column["digest"])
        groups = [file.read_row_group(index) for index in range(file.metadata.num_row_groups)]
        if groups and not pa.concat_tables(groups).equals(table) and not has_nan(table):
            self.finding(entry, "the row groups are not the whole")
        return table

    def metadata(self, entry, metadata):
        if not metadata.created_by.startswith("spindle"):
            self.finding(entry, f"created by {metadata.created_by!r}")
        pairs = {key.decode(): value.decode() for key, value in (metadata.metadata or {}).items()}
        if "keyValues" in entry:
            self.equal(entry, "key-value metadata", pairs, entry["keyValues"])
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            if "sorting" in entry:
                sorting = [[s.column_index, s.descending, s.nulls_first]
                           for s in group.sorting_columns]
                self.equal(entry, "the sorting columns", sorting, entry["sorting"])
            for number in range(group.num_columns):
                chunk = group.column(number)
                if "codec" in entry:
                    self.equal(entry, "the codec", chunk.compression, entry["codec"])
                if "pageIndex" in entry:
                    self.equal(entry, "whether there is an offset index", chunk.has_offset_index,
                               entry["pageIndex"])

    def statistics(self, entry, metadata, table):
        """pyarrow's view of the statistics of each column chunk against the rows."""
        first = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            for index, column in enumerate(entry["columns"]):
                where = f"of {column['name']} in row group {number}"
                told = group.column(index).statistics
                values = one_array(table.column(index).slice(first, group.num_rows))
                if told is None:
                    self.finding(entry, f"pyarrow knows no statistics {where}")
                    continue
                self.equal(entry, f"the null count {where}", told.null_count, values.null_count)
                if pa.types.is_floating(values.type):
                    values = values.filter(pc.invert(pc.is_nan(values)))
                if pa.types.is_fixed_size_binary(values.type):
                    values = values.cast(pa.binary())
                span = pc.min_max(values).as_py()
                if column["logical"] == "other":
                    continue
                self.equal(entry, f"whether there are bounds {where}", told.has_min_max,
                           span["min"] is not None)
                if not told.has_min_max:
                    continue
                least, most, low, high = (
                    value.encode() if isinstance(value, str) else value
                    for value in (told.min, told.max, span["min"], span["max"]))
                if isinstance(low, bytes):
                    # Long ones are cut: a beginning from below, something greater from above.
                    is_least, is_most = low.startswith(least), most >= high
                else:
                    is_least, is_most = least == low, most == high
                if not is_least:
                    self.finding(entry, f"the least {where} is {least!r}, found {low!r}")
                if not is_most:
                    self.finding(entry, f"the greatest {where} is {most!r}, found {high!r}")
            first += group.num_rows

    def filters(self, entry, path, table):
        """A row of the middle is found again by its first integer column, whatever is pruned."""
        for column in entry["columns"]:
            if column["kind"] not in ("int32", "int64") or table.num_rows == 0:
                continue
            name = column["name"]
            value = table.column(name)[table.num_rows // 2]
            if not value.is_valid:
                continue
            expected = pc.sum(pc.equal(table.column(name), value)).as_py()
            found = pq.read_table(path, filters=pc.field(name) == value)
            self.equal(entry, f"rows that pyarrow finds by {name}", found.num_rows, expected)
            if column["logical"] in ("none", "integer(32,signed)", "integer(64,signed)"):
                found = self.duck.execute(
                    f"SELECT count(*) FROM '{path}' WHERE \"{name}\" = ?", [value.as_py()]).fetchall()[0]
                self.equal(entry, f"rows that DuckDB finds by {name}", found[0], expected)
            return

    def by_duckdb(self, entry, path, file, table):
        read = self.duck.sql(f"SELECT * FROM '{path}'").to_arrow_table()
        self.equal(entry, "DuckDB's number of rows", read.num_rows, entry["rows"])
        for index, column in enumerate(entry["columns"]):
            mine = one_array(table.column(index))
            theirs = one_array(read.column(index))
            name = f"DuckDB's {column['name']}"
            if pa.types.is_temporal(mine.type) and mine.type != theirs.type:
                # DuckDB has microseconds where it has no type for the unit.
                theirs = theirs.cast(mine.type)
            self.equal(entry, "nulls of " + name, theirs.null_count, column["nulls"])
            self.equal(entry, "the digest of " + name, digest(theirs, column["kind"]),
                       column["digest"])
        rows = self.duck.execute(
            "SELECT path_in_schema, sum(num_values)::BIGINT, sum(stats_null_count)::BIGINT, "
            "min(try_cast(stats_min_value AS HUGEINT)), max(try_cast(stats_max_value AS HUGEINT)), "
            f"min(compression) FROM parquet_metadata('{path}') GROUP BY ALL").fetchall()
        told = {row[0]: row[1:] for row in rows}
        for index, column in enumerate(entry["columns"]):
            if entry["rows"] == 0:
                continue
            values, nulls, least, most, codec = told[column["name"]]
            self.equal(entry, f"the values of {column['name']} for DuckDB", values, entry["rows"])
            self.equal(entry, f"the null count of {column['name']} for DuckDB", nulls,
                       column["nulls"])
            if column["kind"] in ("int32", "int64") and column["logical"].startswith(("none", "int")):
                span = pc.min_max(one_array(table.column(index))).as_py()
                self.equal(entry, f"the least {column['name']} for DuckDB", least, span["min"])
                self.equal(entry, f"the greatest {column['name']} for DuckDB", most, span["max"])
        rows = self.duck.execute(
            f"SELECT name, repetition_type FROM parquet_schema('{path}') WHERE type IS NOT NULL"
        ).fetchall()
        self.equal(entry, "DuckDB's schema", rows,
                   [(column["name"], "OPTIONAL" if column["optional"] else "REQUIRED")
                    for column in entry["columns"]])

    def blooms(self, entry, path, table):
        """No value that is there is excluded; of those that are not most are."""
        for name in entry.get("blooms", []) if entry["rows"] > 0 else []:
            told = self.duck.execute(
                f"SELECT count(*) FROM parquet_metadata('{path}') WHERE path_in_schema = ? AND "
                "bloom_filter_offset IS NULL", [name]).fetchall()[0][0]
            self.equal(entry, f"row groups without a bloom filter of {name}", told, 0)
            kind_of = self.duck.execute(f"SELECT typeof(\"{name}\") FROM '{path}' LIMIT 1").fetchone()[0]
            count = pq.ParquetFile(path).metadata.row_group(0).num_rows
            values = [row[0] for row in self.duck.execute(
                f"SELECT DISTINCT \"{name}\"::VARCHAR AS v FROM (SELECT \"{name}\" FROM '{path}' "
                f"LIMIT {count}) WHERE v IS NOT NULL ORDER BY v").fetchall()]
            generator = random.Random(1)
            for value in generator.sample(values, min(4, len(values))):
                if self.excludes(path, name, value, kind_of):
                    self.finding(entry, f"the bloom filter of {name} excludes {value!r}, which is there")
            absent = ABSENT.get(kind_of)
            if absent is None or len(values) == 0:
                continue
            excluded = sum(self.excludes(path, name, absent(n), kind_of) for n in range(10))
            if excluded < 8:
                self.finding(entry, f"the bloom filter of {name} excludes {excluded} of 10")

    def excludes(self, path, name, value, kind_of):
        return self.duck.execute(
            f"SELECT bloom_filter_excludes FROM parquet_bloom_probe('{path}', '{name}', "
            f"CAST(? AS {kind_of})) ORDER BY row_group_id", [value]).fetchall()[0][0]


# Values that no sample has, as texts that DuckDB casts.
ABSENT = {
    "INTEGER": lambda n: str(10**9 + 7919 * n), "UINTEGER": lambda n: str(10**9 + 7919 * n),
    "BIGINT": lambda n: str(10**9 + 7919 * n), "UBIGINT": lambda n: str(10**9 + 7919 * n),
    "FLOAT": lambda n: str(n + 0.0625), "DOUBLE": lambda n: str(n + 0.0625),
    "VARCHAR": lambda n: f"absent {n}", "BLOB": lambda n: f"absent {n}",
    "JSON": lambda n: f'{{"n":-{n}}}', "DATE": lambda n: f"{1700 + n}-01-01",
    "UUID": lambda n: f"00000000-0000-0000-0000-0000000000{n + 10}",
    "TIMESTAMP": lambda n: f"{1900 + n}-01-01", "TIMESTAMP_NS": lambda n: f"{1900 + n}-01-01",
    "TIMESTAMP WITH TIME ZONE": lambda n: f"{1900 + n}-01-01 00:00:00+00",
}


def has_nan(table):
    return any(pa.types.is_floating(column.type) for column in table.columns)


def run_page(directory, page):
    import pandas
    import polars
    names = {"pandas": pandas, "polars": polars, "pyarrow": pa}
    with open(page, encoding="utf-8") as file:
        text = file.read()
    os.chdir(directory)
    for language, code in re.findall(r"^```(sql|python)\n(.*?)^```$", text, re.M | re.S):
        if language == "sql":
            print("DuckDB", *duckdb.sql(code).shape)
            continue
        for line in code.splitlines():
            print(line.split(".")[0], *eval(line, names).shape)


def main(arguments):
    if arguments[:1] == ["write"] and len(arguments) in (3, 4):
        Matrix(arguments[1], "--soak" in arguments).write(arguments[2])
    elif arguments[:1] == ["read"] and len(arguments) == 2:
        return Judge(arguments[1]).run()
    elif arguments[:1] == ["page"] and len(arguments) == 3:
        run_page(*arguments[1:])
    else:
        print(__doc__, file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
