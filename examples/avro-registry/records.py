#!/usr/bin/env python3
"""Writes records.jsonl: orders in Avro, as a producer with a Schema Registry serializer sends them.

A value is a zero byte, the schema's id in four bytes, and the fields one after the other without names: see the Avro
specification, "Binary Encoding". A producer of yours has a library for it; these few lines show what travels.
"""

import base64
import json


def long(n):
    n = (n << 1) ^ (n >> 63)
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def sized(data):
    return long(len(data)) + data


def order(n):
    email = f"c{n}@example.com" if n % 3 else None
    cents = 1999 + 350 * n
    items = [f"item-{n}-{i}" for i in range(n % 3)]
    return b"".join([
        b"\x00" + (1).to_bytes(4, "big"),
        long(n),
        sized(f"Customer {n}".encode()),
        long(0) if email is None else long(1) + sized(email.encode()),
        long(n % 3),
        sized(cents.to_bytes(cents.bit_length() // 8 + 1, "big", signed=True)),
        long(1_772_445_600_000 + n * 1_000),
        (long(len(items)) + b"".join(sized(item.encode()) for item in items) if items else b"") + long(0),
    ])


def main():
    with open("records.jsonl", "w", encoding="utf-8") as file:
        for n in range(10):
            value = base64.b64encode(order(n)).decode()
            file.write(json.dumps({"key": f"customer-{n % 4}", "valueBase64": value}) + "\n")


if __name__ == "__main__":
    main()
