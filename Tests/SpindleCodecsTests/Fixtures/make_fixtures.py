#!/usr/bin/env python3
"""Makes the gzip files beside it. The tests know their contents; see GzipInflaterTests.swift."""
import gzip
import os
import zlib

folder = os.path.dirname(os.path.abspath(__file__))


def text(first, count):
    return b"".join(b"line %d of the fixture\n" % n for n in range(first, first + count))


def write(name, data):
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def named(data):
    """A member whose header carries an extra field, a file name, a comment and a CRC."""
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = raw.compress(data) + raw.flush()
    header = b"\x1f\x8b\x08\x1e\x00\x00\x00\x00\x02\x03" + b"\x04\x00" + b"AB\x00\x00"
    header += b"name.txt\x00" + b"a comment\x00"
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    trailer = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return header + body + trailer


write("one.gz", gzip.compress(text(0, 100), mtime=0))
write(
    "members.gz",
    gzip.compress(text(0, 50), mtime=0)
    + gzip.compress(b"", mtime=0)
    + gzip.compress(text(50, 30), 1, mtime=0)
    + named(text(80, 20)),
)
write("empty.gz", gzip.compress(b"", mtime=0))
write("zeros.gz", gzip.compress(bytes(64 << 20), 9, mtime=0))
write("stored.gz", gzip.compress(text(0, 100), 0, mtime=0))
write("one.zlib", zlib.compress(text(0, 100)))
