"""The canonical form of a column, which Swift and Python digest alike.

The digest is the CRC-32 of: the bits of the rows that are there (least significant bit first, no
bytes at all when no row is null), then the values. Values are little-endian with null slots zero;
a boolean is one byte; strings are their n + 1 offsets as 64-bit integers, then their bytes.
"""
import json
import zlib

import pyarrow as pa
import pyarrow.compute as pc

UNITS = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
KINDS = {"BOOLEAN": "boolean", "INT32": "int32", "INT64": "int64", "INT96": "int64",
         "FLOAT": "float", "DOUBLE": "double", "BYTE_ARRAY": "bytes"}
FIXED_WIDTHS = {"int32": 4, "int64": 8, "float": 4, "double": 8}


def kind(column):
    """How the column's values stand in memory. `column` is a pyarrow ColumnSchema."""
    if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
        return f"fixed:{column.length}"
    return KINDS[column.physical_type]


def logical(column):
    """The logical type as Swift spells it; "other" for those that SpindleParquet does not name."""
    if column.physical_type == "INT96":
        return "timestamp(ns,utc)"
    told = json.loads(column.logical_type.to_json())
    name = told["Type"]
    if name == "Timestamp":
        return f"timestamp({UNITS[told['timeUnit']]},{'utc' if told['isAdjustedToUTC'] else 'local'})"
    if name == "Int":
        return f"integer({told['bitWidth']},{'signed' if told['isSigned'] else 'unsigned'})"
    plain = {"String": "string", "JSON": "json", "UUID": "uuid", "Date": "date", "None": "none"}
    return plain.get(name, "other")


def one_array(values):
    """One array without an offset, of storage types only."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values


def little_endian(values, what):
    """An array whose buffers are the canonical values, save for what nulls hide."""
    kind_of = values.type
    if pa.types.is_null(kind_of):
        return pa.nulls(len(values), pa.int32())
    if what == "boolean":
        return values.cast(pa.uint8())
    if what == "bytes":
        return values.cast(pa.large_binary())
    if what in ("int32", "int64"):
        target = pa.int32() if what == "int32" else pa.int64()
        if pa.types.is_decimal(kind_of):
            unscaled = [None if v is None else int(v.scaleb(kind_of.scale)) for v in values.to_pylist()]
            return pa.array(unscaled, target)
        if pa.types.is_integer(kind_of) and kind_of.bit_width < target.bit_width:
            return values.cast(target)
        return values.view(target)
    if what.startswith("fixed:"):
        width = int(what[6:])
        if pa.types.is_decimal(kind_of):
            unscaled = [None if v is None else int(v.scaleb(kind_of.scale)) for v in values.to_pylist()]
            return pa.array([None if v is None else v.to_bytes(width, "big", signed=True)
                             for v in unscaled], pa.binary(width))
        if not pa.types.is_fixed_size_binary(kind_of):
            return values.view(pa.binary(width)) if not pa.types.is_binary(kind_of) \
                else values.cast(pa.binary(width))
    return values


def canonical_bytes(values, what):
    values = little_endian(one_array(values), what)
    count = len(values)
    form = bytearray()
    if values.null_count:
        bits = bytes(values.is_valid().buffers()[1])[:(count + 7) // 8]
        form += bits
        if count % 8:
            form[-1] &= (1 << count % 8) - 1
        zero = b"" if what == "bytes" else bytes(int(what[6:])) if what.startswith("fixed:") else 0
        values = pc.fill_null(values, pa.scalar(zero, values.type))
    # Rebased: neither an offset nor bytes before the first string.
    values = pa.concat_arrays([values, values[:0]])
    buffers = values.buffers()
    if what == "bytes":
        offsets = memoryview(buffers[1] or bytes(8))[:8 * (count + 1)] if count else bytes(8)
        end = int.from_bytes(bytes(offsets[-8:]), "little")
        form += offsets
        if end:
            form += memoryview(buffers[2])[:end]
    elif count:
        width = 1 if what == "boolean" else FIXED_WIDTHS.get(what) or int(what[6:])
        form += memoryview(buffers[1])[:count * width]
    return form


def digest(values, what):
    return zlib.crc32(canonical_bytes(values, what))
