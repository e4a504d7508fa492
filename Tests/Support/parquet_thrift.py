"""Reads Thrift's compact protocol into dictionaries of field numbers: an independent look at the
structures of a Parquet file that pyarrow and DuckDB do not show, such as the page index."""
import struct


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def zigzag(self):
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def value(self, kind):
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return struct.unpack("b", bytes([self.byte()]))[0]
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind == 7:
            self.at += 8
            return struct.unpack("<d", self.data[self.at - 8:self.at])[0]
        if kind == 8:
            count = self.varint()
            self.at += count
            return bytes(self.data[self.at - count:self.at])
        if kind in (9, 10):
            head = self.byte()
            count, element = head >> 4, head & 15
            if count == 15:
                count = self.varint()
            if element in (1, 2):
                return [self.byte() == 1 for _ in range(count)]
            return [self.value(element) for _ in range(count)]
        if kind == 12:
            return self.struct()
        raise ValueError(f"field type {kind} at byte {self.at}")

    def struct(self):
        fields, number = {}, 0
        while True:
            head = self.byte()
            if head == 0:
                return fields
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            fields[number] = self.value(head & 15)


def zigzag(value):
    """An integer as it is written."""
    value = value << 1 ^ value >> 63
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(written) + bytes([value])


def footer(data):
    length = int.from_bytes(data[-8:-4], "little")
    return Reader(data[-8 - length:-8]).struct()
