"""Walks every page of a file and compares checksums, statistics and the page index with the rows."""
import struct
import zlib

import pyarrow as pa
import pyarrow.compute as pc

from parquet_canon import little_endian, one_array
from parquet_thrift import Reader, footer

# The older forms of the logical types, by LogicalTypes.md.
CONVERTED = {
    "string": 0, "date": 6, "timestamp(ms,utc)": 9, "timestamp(ms,local)": 9,
    "timestamp(us,utc)": 10, "timestamp(us,local)": 10, "json": 19,
    **{f"integer({bits},{sign})": 11 + n for n, (sign, bits) in enumerate(
        (sign, bits) for sign in ("unsigned", "signed") for bits in (8, 16, 32, 64))}}
NUMBERS = {"int32": "<i", "int64": "<q", "float": "<f", "double": "<d"}


class Bounds:
    """Least and greatest of some rows, in the order that the format has for the column."""

    def __init__(self, values, column):
        self.column = column
        self.values = little_endian(one_array(values), column["kind"])
        self.is_unsigned = column["logical"].endswith("unsigned)")
        if column["kind"] == "boolean" or column["logical"] == "other":
            return
        if column["kind"].startswith("fixed"):
            self.values = self.values.cast(pa.binary())
        if self.is_unsigned:
            self.values = self.values.view(pa.uint32() if column["kind"] == "int32" else pa.uint64())

    def decode(self, raw):
        kind = self.column["kind"]
        if kind == "boolean":
            return raw[0]
        if kind in NUMBERS:
            code = NUMBERS[kind]
            return struct.unpack(code.upper() if self.is_unsigned else code, raw)[0]
        return raw

    def span(self, rows):
        """(least, greatest) of some rows without nulls and NaN, None when nothing is left."""
        values = self.values.slice(rows.start, len(rows))
        if pa.types.is_floating(values.type):
            values = values.filter(pc.invert(pc.is_nan(values)))
        found = pc.min_max(values)
        least, most = found["min"].as_py(), found["max"].as_py()
        return None if least is None else (least, most)

    def nulls(self, rows):
        return self.values.slice(rows.start, len(rows)).null_count

    def faults(self, low, high, rows, exact):
        """What is wrong with a stated least and greatest."""
        span = self.span(rows)
        if span is None:
            return [] if low is None and high is None else ["bounds of rows without a value"]
        if low is None or high is None:
            return ["no bounds"]
        low, high = self.decode(low), self.decode(high)
        found = []
        if self.column["kind"].startswith("fixed:"):
            width = int(self.column["kind"][6:])
            found += [f"a bound of {len(raw)} bytes, the type has {width}"
                      for raw in (low, high) if len(raw) != width]
        if self.column["kind"] in ("bytes",) or self.column["kind"].startswith("fixed"):
            if low > span[0] or exact[0] and low != span[0]:
                found.append(f"the least is {low[:40]!r}, found {span[0][:40]!r}")
            if high < span[1] or exact[1] and high != span[1]:
                found.append(f"the greatest is {high[:40]!r}, found {span[1][:40]!r}")
        else:
            if low != span[0] or high != span[1]:
                found.append(f"the bounds are {low!r} to {high!r}, found {span}")
            if isinstance(low, float):
                if low == 0 and struct.pack("<d", low) != struct.pack("<d", -0.0):
                    found.append("the least is +0.0")
                if high == 0 and struct.pack("<d", high) != struct.pack("<d", 0.0):
                    found.append("the greatest is -0.0")
        return found


def pages(data, chunk):
    """The pages of a column chunk: (header, offset, bytes of header and body, body)."""
    at = chunk.get(11) or chunk[9]
    end = at + chunk[7]
    while at < end:
        reader = Reader(data, at)
        header = reader.struct()
        body = data[reader.at:reader.at + header[3]]
        yield header, at, reader.at - at + header[3], body
        at = reader.at + header[3]
    if at != end:
        raise ValueError(f"the pages end at {at}, the chunk at {end}")


def check_pages(data, table, entry, finding):
    metadata = footer(data)
    orders = metadata.get(7, [])
    if len(orders) != len(entry["columns"]) or any(list(order) != [1] for order in orders):
        finding(f"the column orders are {orders}")
    for column, element in zip(entry["columns"], metadata[2][1:]):
        if element.get(6) != CONVERTED.get(column["logical"]):
            finding(f"column {column['name']}: its converted type is {element.get(6)}")
    bounds = [Bounds(table.column(i), c) for i, c in enumerate(entry["columns"])]
    first = 0
    for number, group in enumerate(metadata[4]):
        rows = range(first, first + group[3])
        for index, chunk in enumerate(group[1]):
            name = entry["columns"][index]["name"]
            for fault in check_chunk(data, chunk, bounds[index], rows, entry):
                finding(f"row group {number}, column {name}: {fault}")
        if group[2] != sum(chunk[3][6] for chunk in group[1]):
            finding(f"row group {number}: its bytes are not the sum of its columns'")
        first += group[3]


def check_chunk(data, chunk, bounds, rows, entry):
    meta = chunk[3]
    statistics = meta.get(12)
    if statistics is None:
        yield "no statistics"
    else:
        if statistics.get(3) != bounds.nulls(rows):
            yield f"{statistics.get(3)} nulls, found {bounds.nulls(rows)}"
        if bounds.column["logical"] != "other":
            exact = (statistics.get(8, True), statistics.get(7, True))
            yield from bounds.faults(statistics.get(6), statistics.get(5), rows, exact)
    walked, row = [], rows.start
    for header, at, size, body in pages(data, meta):
        if entry.get("pageCRC", True):
            if 4 not in header:
                yield f"the page at {at} has no checksum"
            elif header[4] & 0xFFFFFFFF != zlib.crc32(body):
                yield f"the checksum of the page at {at} is wrong"
        told = header.get(5) or header.get(8)
        if told is None:
            continue
        if "dataPage" in entry and entry["dataPage"] != (2 if 8 in header else 1):
            yield f"the page at {at} is of another version"
        walked.append((at, size, range(row, row + told[1])))
        if 8 in header and (told[3] != told[1] or told[2] != bounds.nulls(walked[-1][2])):
            yield f"the page at {at} counts {told[3]} rows, {told[2]} nulls"
        row += told[1]
    if row != rows.stop or meta[5] != len(rows):
        yield f"its pages hold {row - rows.start} rows, it states {meta[5]}, of {len(rows)}"
    if 4 in chunk:
        index = Reader(data, chunk[4]).struct()
        found = [(page[1], page[2], page[3]) for page in index[1]]
        if found != [(at, size, page.start - rows.start) for at, size, page in walked]:
            yield f"the offset index says {found[:3]}, found {walked[:3]}"
    if 6 in chunk:
        yield from check_column_index(Reader(data, chunk[6]).struct(), bounds, walked)
    elif entry.get("pageIndex") and bounds.column["logical"] != "other" \
            and all(bounds.span(page) or bounds.nulls(page) == len(page) for _, _, page in walked):
        yield "no column index"


def check_column_index(index, bounds, walked):
    if not len(index[1]) == len(index[2]) == len(index[3]) == len(walked):
        yield f"a column index of {len(index[1])} pages, found {len(walked)}"
        return
    last = None
    for number, (_, _, page) in enumerate(walked):
        nulls = bounds.nulls(page)
        if 5 in index and index[5][number] != nulls:
            yield f"page {number}: {index[5][number]} nulls, found {nulls}"
        if index[1][number] != (nulls == len(page)):
            yield f"page {number}: a null page is {index[1][number]}"
        if index[1][number]:
            continue
        low, high = index[2][number], index[3][number]
        for fault in bounds.faults(low, high, page, (False, False)):
            yield f"page {number}: {fault}"
        low, high = bounds.decode(low), bounds.decode(high)
        if last is not None:
            if index[4] == 1 and (low < last[0] or high < last[1]):
                yield f"page {number}: the order is not ascending"
            if index[4] == 2 and (low > last[0] or high > last[1]):
                yield f"page {number}: the order is not descending"
        last = (low, high)
