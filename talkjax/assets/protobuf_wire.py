"""Protocol buffers' wire format: the fields of a serialized message, without its definition."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Field = tuple[int, int, "memoryview | int"]


class DamagedMessageError(Exception):
    """Not a serialized message."""


def varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for k in range(10):
        if at >= len(data):
            raise DamagedMessageError("it ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return value, at
    raise DamagedMessageError("a number is too long")


def fields(data: memoryview) -> Iterator[Field]:
    """(number, wire type, value) of each field of a message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = varint(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, at = varint(data, at)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise DamagedMessageError(f"field {number} has wire type {wire}")
        if number == 0 or at + size > len(data):
            raise DamagedMessageError("a field is longer than the file")
        yield number, wire, data[at : at + size]
        at += size


def message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise DamagedMessageError("a number stands where a message belongs")
    return value


def text(value: memoryview | int) -> str:
    return bytes(message(value)).decode("utf-8")
