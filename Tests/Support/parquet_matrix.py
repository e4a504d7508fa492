"""The files that pyarrow and DuckDB write for SpindleParquet to read."""
import datetime
import decimal
import functools
import gzip
import itertools
import json
import os
import random
import re
import struct

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from parquet_canon import digest, kind, logical

CODECS = ["none", "snappy", "lz4", "zstd", "gzip"]
PATTERNS = {
    "none": lambda row, count: False,
    "all": lambda row, count: True,
    "third": lambda row, count: row % 3 == 1,
    "runs": lambda row, count: row // 37 % 2 == 0,
    "ends": lambda row, count: row in (0, count - 1),
    "random": lambda row, count: (row + count) * 2654435761 % 2**32 < 0.4 * 2**32,
}
INT32 = [0, 1, -1, 2**31 - 1, -2**31, 7, 7, 7, 1000, -1000]
INT64 = [0, 1, -1, 2**63 - 1, -2**63, 7, 7, 7, 10**12, -10**12]
WORDS = ["", "a", "b", "flight", "flights", "\u00e9t\u00e9", "\U0001f680", "N14228", "x" * 70,
         "same", "same", "same", "zz\u0000z"]


def floats(generator, count, code):
    """Doubles or floats by their bits, with every special one."""
    width = struct.calcsize(code)
    special = [struct.pack(code, v) for v in (0.0, -0.0, 1.0, -1.5, float("inf"), float("-inf"))]
    special += [struct.pack(code, float("nan")), b"\x01" + bytes(width - 3) + b"\xf8\x7f" if width == 8
                else b"\x01\x00\xc0\x7f", b"\x01" + bytes(width - 1)]
    rows = [generator.choice(special) if generator.random() < 0.3
            else struct.pack(code, generator.choice([generator.gauss(0, 1e3), 21.5, 22.0]))
            for _ in range(count)]
    return b"".join(rows)


@functools.lru_cache
def validity(count, pattern):
    """Bits of the rows that are there; None when all are."""
    is_null = PATTERNS[pattern]
    bits, nulls = bytearray((count + 7) // 8), 0
    for row in range(count):
        if is_null(row, count):
            nulls += 1
        else:
            bits[row // 8] |= 1 << row % 8
    return pa.py_buffer(bytes(bits)) if nulls else None


def with_nulls(values, pattern):
    """The same values with nulls, whose slots keep what they hold."""
    bits = validity(len(values), pattern)
    if bits is None:
        return values
    if isinstance(values.type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(values.type, with_nulls(values.storage, pattern))
    if pa.types.is_dictionary(values.type):
        indices = with_nulls(values.indices, pattern)
        return pa.DictionaryArray.from_arrays(indices, values.dictionary)
    return pa.Array.from_buffers(values.type, len(values), [bits] + values.buffers()[1:])


def integers(generator, count, bits, signed, extreme):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    special = [0, 1, low, high, 7, 7, 7]
    return [generator.choice(special) if generator.random() < extreme
            else max(low, min(high, generator.randrange(-50, 1000))) for _ in range(count)]


@functools.lru_cache
def columns(count, seed, extreme=0.3):
    """A column of each type of the scope and of those beside it."""
    generator = random.Random(seed)
    made = {"bool": pa.array([generator.random() < 0.3 for _ in range(count)], pa.bool_())}
    for bits in (8, 16, 32, 64):
        made[f"i{bits}"] = pa.array(integers(generator, count, bits, True, extreme), f"int{bits}")
        made[f"u{bits}"] = pa.array(integers(generator, count, bits, False, extreme), f"uint{bits}")
    for name, code, kind_of in (("f32", "<f", pa.float32()), ("f64", "<d", pa.float64())):
        made[name] = pa.Array.from_buffers(
            kind_of, count, [None, pa.py_buffer(floats(generator, count, code))])
    start = 1_357_035_300_000
    rising = list(itertools.accumulate(generator.randrange(0, 100_000) for _ in range(count)))
    for unit, scale in (("ms", 1), ("us", 1000), ("ns", 1_000_000)):
        for zone in ("UTC", None):
            made[f"ts_{unit}_{zone or 'local'}"] = pa.array(
                [(start + step) * scale for step in rising], pa.timestamp(unit, zone))
    made["date"] = pa.array([generator.randrange(-40_000, 40_000) for _ in range(count)], pa.date32())
    made["string"] = pa.array([generator.choice(WORDS) for _ in range(count)], pa.string())
    made["unique"] = pa.array([f"key {generator.random()}" for _ in range(count)], pa.string())
    made["large"] = pa.array([generator.choice(WORDS) for _ in range(count)], pa.large_string())
    made["coded"] = pa.array([generator.choice(WORDS) for _ in range(count)], pa.string()).cast(
        pa.dictionary(pa.int16(), pa.string()))
    made["binary"] = pa.array([generator.randbytes(generator.randrange(9)) for _ in range(count)],
                              pa.binary())
    made["fixed5"] = pa.array([generator.choice([b"abcde", b"\xff" * 5, bytes(5)])
                               for _ in range(count)], pa.binary(5))
    made["uuid"] = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([generator.randbytes(16) for _ in range(count)], pa.binary(16)))
    made["json"] = pa.ExtensionArray.from_storage(
        pa.json_(), pa.array([json.dumps({"n": generator.randrange(9)}) for _ in range(count)],
                             pa.string()))
    made["time_ms"] = pa.array([generator.randrange(86_400_000) for _ in range(count)], pa.time32("ms"))
    made["time_us"] = pa.array([generator.randrange(86_400_000_000) for _ in range(count)],
                               pa.time64("us"))
    made["decimal"] = pa.array([decimal.Decimal(generator.randrange(-10**8, 10**8)).scaleb(-2)
                                for _ in range(count)], pa.decimal128(9, 2))
    made["half"] = pa.array([float(generator.randrange(-9, 9)) for _ in range(count)], pa.float16())
    made["unknown"] = pa.nulls(count, pa.null())
    return made


def table(count, pattern="none", seed=1, names=None, required=False, extreme=0.3):
    made = columns(count, seed, extreme)
    names = names or list(made)
    arrays = [with_nulls(made[name], pattern) for name in names]
    fields = [pa.field(name, values.type, nullable=not required or name == "unknown")
              for name, values in zip(names, arrays)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def encodings(name):
    """The encodings that pyarrow can be asked for on a column of `table`."""
    if name == "bool":
        return ["PLAIN", "RLE"]
    if name[0] in "iu" and name[1:].isdigit() or name.startswith(("ts_", "time_", "date")):
        return ["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"]
    if name in ("f32", "f64", "half"):
        return ["PLAIN", "BYTE_STREAM_SPLIT"]
    if name in ("fixed5", "uuid", "decimal"):
        return ["PLAIN", "DELTA_BYTE_ARRAY", "BYTE_STREAM_SPLIT"]
    if name in ("unknown", "coded"):
        return ["PLAIN"]
    return ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"]


class Matrix:
    """Writes files into a directory and keeps what they hold."""

    def __init__(self, directory, soak):
        self.directory, self.soak, self.entries = directory, soak, []
        self.turn = itertools.count()
        self.duck = duckdb.connect(config={"threads": 1})
        self.duck.execute("SET arrow_lossless_conversion = true")

    def path(self, name):
        return os.path.join(self.directory, name + ".parquet")

    def describe(self, name):
        """What pyarrow reads back: the expectation for Swift."""
        file = pq.ParquetFile(self.path(name))
        schema, told, nested = file.schema, [], []
        flat = {}
        for index in range(len(schema)):
            column = schema.column(index)
            top = column.path.split(".")[0]
            if column.max_repetition_level or column.path != top:
                nested += [] if top in nested else [top]
            else:
                flat[top] = column
        for top, column in flat.items():
            values = self.values(name, file, top)
            told.append({
                "name": top, "kind": kind(column), "logical": logical(column),
                "optional": column.max_definition_level == 1,
                "nulls": values.null_count, "digest": digest(values, kind(column))})
        metadata = file.metadata
        self.entries.append({
            "file": name + ".parquet", "rows": metadata.num_rows,
            "rowGroups": metadata.num_row_groups, "columns": told, "nested": nested})

    def values(self, name, file, column):
        """A column as pyarrow reads it, or DuckDB where pyarrow cannot read what DuckDB wrote: the
        delta blocks of 32-bit integers that are far apart."""
        try:
            return file.read(columns=[column]).column(column)
        except OSError:
            if not name.startswith("duckdb-"):
                raise
            return self.duck.sql(
                f'SELECT "{column}" FROM \'{self.path(name)}\'').to_arrow_table().column(column)

    def arrow(self, name, data, **options):
        pq.write_table(data, self.path(name), **options)
        self.describe(name)
        # What is read back is only believed where it is what was written.
        schema = pq.read_schema(self.path(name))
        for column in self.entries[-1]["columns"]:
            of = column["name"]
            if schema.field(of).type == data.schema.field(of).type \
                    and digest(data.column(of), column["kind"]) != column["digest"]:
                raise SystemExit(f"pyarrow does not read back {of} of {name}")

    def copy(self, name, data, options):
        self.duck.register("source", data)
        self.duck.execute(f"COPY (SELECT * FROM source) TO '{self.path(name)}' (FORMAT parquet{options})")
        self.duck.unregister("source")
        self.describe(name)

    def refused(self, name, why):
        """A file that is to be refused, with a word that the error must hold."""
        self.entries.append({"file": name + ".parquet", "refused": why})

    def next(self, among):
        return among[next(self.turn) % len(among)]

    def write(self, sample):
        self.types()
        self.encoded()
        self.pages()
        self.odd()
        self.nested()
        self.from_duckdb()
        self.flights(sample)
        with open(os.path.join(self.directory, "manifest.json"), "w") as file:
            json.dump({"files": self.entries}, file)

    def types(self):
        sizes = [0, 1, 8, 100, 1000] + ([2, 7, 9, 63, 64, 65, 1024, 20_000] if self.soak else [])
        for count, pattern, version in itertools.product(sizes, PATTERNS, ("1.0", "2.0")):
            if count == 0 and pattern != "none":
                continue
            data = table(count, pattern, seed=count)
            for codec in CODECS if self.soak else [self.next(CODECS)]:
                for dictionary in (True, False) if self.soak else [self.next((True, False, True))]:
                    self.arrow(f"types-{count}-{pattern}-v{version[0]}-{codec}-{dictionary}", data,
                               data_page_version=version, compression=codec,
                               use_dictionary=dictionary)
        for version in ("1.0", "2.0"):
            self.arrow(f"required-v{version[0]}", table(500, required=True),
                       data_page_version=version, compression=self.next(CODECS))
        for version in ("1.0", "2.4"):
            self.arrow(f"format-{version}", table(300, "third", extreme=0), version=version,
                       coerce_timestamps="us", allow_truncated_timestamps=True)

    def encoded(self):
        """Each column with each encoding, in small pages and row groups."""
        names = list(columns(1, 1))
        for turn in range(3):
            chosen = {name: encodings(name)[turn % len(encodings(name))] for name in names}
            for pattern, version, size in itertools.product(
                    ("none", "random", "runs"), ("1.0", "2.0"), (257, 1500)):
                for codec in CODECS if self.soak else [self.next(CODECS)]:
                    self.arrow(
                        f"encoded-{turn}-{pattern}-v{version[0]}-{size}-{codec}",
                        table(size, pattern, seed=turn + size), use_dictionary=False,
                        column_encoding=chosen, data_page_version=version, compression=codec,
                        data_page_size=200, write_batch_size=50, row_group_size=400)

    def pages(self):
        """The page index, checksums, bloom filters, dictionaries that grow too large."""
        for version, codec in itertools.product(("1.0", "2.0"), CODECS):
            data = table(1200, "random", seed=5)
            self.arrow(f"pages-v{version[0]}-{codec}", data, data_page_version=version,
                       compression=codec, write_page_index=True, write_page_checksum=True,
                       data_page_size=300, write_batch_size=40, row_group_size=500,
                       dictionary_pagesize_limit=400,
                       bloom_filter_options={"string": {"ndv": 50, "fpp": 0.01},
                                             "i64": {"ndv": 1000, "fpp": 0.01}})
        long = pa.table({"s": ["", "x" * 100_000, None, "y" * 70_000, "z"] * 5})
        for version, encoding in itertools.product(
                ("1.0", "2.0"), ("PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY")):
            self.arrow(f"long-v{version[0]}-{encoding}", long, data_page_version=version,
                       use_dictionary=False, column_encoding=encoding, compression="zstd")
        rising = pa.table({
            "n": pa.array(range(20_000), pa.int64()), "even": pa.array([1] * 20_000, pa.int64()),
            "s": pa.array([f"row {n:08}" for n in range(20_000)])})
        self.arrow("rising", rising, write_page_index=True, row_group_size=7000,
                   dictionary_pagesize_limit=1000, max_rows_per_page=1000)
        self.arrow("rising-delta", rising, use_dictionary=False, row_group_size=7000,
                   column_encoding={"n": "DELTA_BINARY_PACKED", "even": "DELTA_BINARY_PACKED",
                                    "s": "DELTA_BYTE_ARRAY"}, data_page_version="2.0")

    def odd(self):
        times = pa.table({
            "t": pa.array([0, 1, -1, None, 1_357_035_300_000_000_000, 2**62, -2**62] * 30,
                          pa.timestamp("ns")),
            "n": pa.array(range(210))})
        for version, dictionary in itertools.product(("1.0", "2.0"), (True, False)):
            self.arrow(f"int96-v{version[0]}-{dictionary}", times, data_page_version=version,
                       use_deprecated_int96_timestamps=True, use_dictionary=dictionary)
        self.arrow("spark", times, flavor="spark")
        self.arrow("no-statistics", table(200, "third"), write_statistics=False)
        self.arrow("no-arrow-schema", table(200, "third"), store_schema=False)
        self.arrow("decimal-as-integer", table(200, "third", names=["decimal"]),
                   store_decimal_as_integer=True)
        self.arrow("sorted", pa.table({"n": range(1000)}),
                   sorting_columns=[pq.SortingColumn(0)], row_group_size=300)
        mixed = table(1000, "third", names=["i64", "f64", "string", "unique", "ts_us_UTC", "time_ms"])
        self.arrow("mixed", mixed, compression={"i64": "snappy", "string": "gzip", "f64": "lz4"},
                   use_dictionary=["string"], write_statistics=["i64", "string"],
                   use_byte_stream_split=["f64"], row_group_size=400)
        self.arrow("levels", mixed, compression="zstd", compression_level=19,
                   write_time_adjusted_to_utc=True, data_page_version="2.0")
        self.arrow("milliseconds", table(300, "third", extreme=0), coerce_timestamps="ms",
                   allow_truncated_timestamps=True)
        falling = pa.table({"s": [None] * 3 + [f"{n // 7:03}" for n in range(700, 0, -1)],
                            "n": list(range(703))})
        self.arrow("falling", falling, row_group_size=300, write_page_index=True,
                   sorting_columns=[pq.SortingColumn(0, descending=True, nulls_first=True),
                                    pq.SortingColumn(1)])
        self.arrow("blooms", table(500, "third", names=[
            "i32", "u32", "i64", "f32", "f64", "string", "unique", "binary", "fixed5", "uuid", "date"]),
            bloom_filter_options={name: {"ndv": 500, "fpp": 0.05} for name in (
                "i32", "u32", "i64", "f32", "f64", "string", "unique", "binary", "fixed5", "date")})
        self.arrow("content-chunks", table(1000, "third"), use_content_defined_chunking=True)
        pq.write_table(table(10, names=["i64"]), self.path("brotli"), compression="brotli")
        self.refused("brotli", "BROTLI")

    def nested(self):
        data = pa.table({
            "before": pa.array(range(100)),
            "list": pa.array([None if n % 7 == 0 else list(range(n % 4)) for n in range(100)],
                             pa.list_(pa.int64())),
            "middle": pa.array([f"m{n % 5}" for n in range(100)]),
            "struct": pa.array([{"x": n, "y": str(n)} for n in range(100)]),
            "map": pa.array([[("k", n)] for n in range(100)], pa.map_(pa.string(), pa.int64())),
            "after": pa.array([n * 0.5 if n % 3 else None for n in range(100)])})
        for version in ("1.0", "2.0"):
            pq.write_table(data, self.path(f"nested-v{version[0]}"), data_page_version=version,
                           row_group_size=40)
            self.describe(f"nested-v{version[0]}")
        pq.write_table(data.select(["list"]), self.path("only-nested"))
        self.describe("only-nested")

    def from_duckdb(self):
        names = [name for name in columns(1, 1)
                 if name not in ("ts_ns_UTC", "unknown", "half", "coded", "fixed5")]
        codecs = ["uncompressed", "snappy", "lz4_raw", "zstd", "gzip"]
        options = ["", ", ROW_GROUP_SIZE 2048", ", DICTIONARY_SIZE_LIMIT 3",
                   ", STRING_DICTIONARY_PAGE_SIZE_LIMIT 100", ", WRITE_BLOOM_FILTER false",
                   ", BLOOM_FILTER_FALSE_POSITIVE_RATIO 0.001", ", KV_METADATA {a: 'b'}",
                   ", FIELD_IDS 'auto'", ", ROW_GROUP_SIZE_BYTES 30000"]
        for version, codec, pattern in itertools.product(
                ("V1", "V2"), codecs, ("none", "random", "all") if not self.soak else PATTERNS):
            for count in (0, 1, 3000) if not self.soak else (0, 1, 2, 100, 3000, 30_000):
                if not self.soak and count < 3000 and codec != "zstd":
                    continue
                data = table(count, pattern, seed=count, names=names)
                for option in options if self.soak else [self.next(options)]:
                    self.copy(f"duckdb-{version}-{codec}-{pattern}-{count}-{next(self.turn)}", data,
                              f", PARQUET_VERSION {version}, CODEC '{codec}'{option}")
        for version in ("V1", "V2"):
            self.duck.execute(
                "COPY (SELECT range AS n, range * 7 % 1000 AS m, 'row ' || range AS s, "
                "range::DOUBLE / 8 AS d, range % 3 = 0 AS b, DATE '2013-01-01' + (range::INTEGER % 365)"
                f" AS day FROM range(30000)) TO '{self.path('duckdb-range-' + version)}' "
                f"(FORMAT parquet, PARQUET_VERSION {version}, ROW_GROUP_SIZE 10000)")
            self.describe("duckdb-range-" + version)
        self.duck.execute(
            "COPY (SELECT range AS n, [range, 1] AS l, {'a': range} AS s FROM range(50)) "
            f"TO '{self.path('duckdb-nested')}' (FORMAT parquet)")
        self.describe("duckdb-nested")
        for level in (1, 22):
            self.copy(f"duckdb-level-{level}", table(3000, "random", names=names),
                      f", CODEC 'zstd', COMPRESSION_LEVEL {level}")
        self.duck.execute("SET force_mbedtls_unsafe = true")
        self.duck.execute("PRAGMA add_parquet_key('k', '0123456789abcdef')")
        for name, option, word in (
                ("duckdb-brotli", "CODEC 'brotli'", "BROTLI"),
                ("duckdb-encrypted", "ENCRYPTION_CONFIG {footer_key: 'k'}", "encrypted")):
            self.duck.execute(f"COPY (SELECT range AS n FROM range(50)) TO '{self.path(name)}' "
                              f"(FORMAT parquet, {option})")
            self.refused(name, word)

    def flights(self, sample):
        for name, count in (("flights-2013-01", 27_004), ("weather-2013", 26_115)):
            data = line_protocol(os.path.join(sample, name + ".lp.gz"))
            if data.num_rows != count:
                raise SystemExit(f"{name}: {data.num_rows} rows, expected {count}")
            self.arrow(name, data, compression="zstd", data_page_version="2.0",
                       write_page_index=True, row_group_size=10_000)
            self.arrow(name + "-plain", data, compression="snappy", use_dictionary=False)
            self.copy(name + "-duckdb", data, ", CODEC 'zstd', PARQUET_VERSION V2")


def line_protocol(path):
    """The sample's line protocol as a table. It holds no escapes but those of spaces in tags."""
    rows, kinds, tags = [], {}, []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            head, fields, time = re.match(r"((?:\\.|[^\\ ])+) (.*) (-?\d+)$", line).groups()
            row = {"time": int(time)}
            for tag in re.split(r"(?<!\\),", head)[1:]:
                key, value = tag.split("=", 1)
                row[key] = value.replace("\\", "")
                if key not in tags:
                    tags.append(key)
            for field in fields.split(","):
                key, value = field.split("=", 1)
                if value[0] == '"':
                    kinds[key], row[key] = pa.string(), value[1:-1]
                elif value[-1] == "i":
                    kinds[key], row[key] = pa.int64(), int(value[:-1])
                else:
                    kinds[key], row[key] = pa.float64(), float(value)
            rows.append(row)
    schema = pa.schema([pa.field("time", pa.timestamp("ns", "UTC"), nullable=False)]
                       + [pa.field(tag, pa.string()) for tag in tags]
                       + [pa.field(key, kinds[key]) for key in kinds])
    return pa.table({field.name: pa.array([row.get(field.name) for row in rows], field.type)
                     for field in schema}, schema=schema)
