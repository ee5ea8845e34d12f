"""Damage to bytes: a pure function of the bytes and a random stream."""

from __future__ import annotations

import random

# What parsers stumble over: marks of encodings, quotes, brackets, huge and special numbers.
TOKENS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\r", b"\n", b"\x1b[31m",
    b'"', b"'", b'"""', b"[", b"]", b"[[", b"{", b"}", b",", b"=", b"#", b"\\", b"\\u0000",
    b"nan", b"-inf", b"1e999", b"null", b"true", b"-1", b"9" * 30, b"2024-01-01", b"../", b"/",
    b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\x00\x00\x00", "é".encode(), "\u2028".encode(),
)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """`data` after one to sixteen random changes."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8, 16))):
        _change(damaged, rng)
    return bytes(damaged)


def _change(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    length = rng.choice((1, 1, 2, 4, rng.randrange(1, 64)))
    match rng.randrange(8):
        case 0 if at < len(data):
            data[at] = rng.randrange(256)
        case 1 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 2:
            data[at : at + length] = b""
        case 3:
            data[at:at] = data[at : at + length]
        case 4:
            data[at:at] = rng.choice(TOKENS)
        case 5:
            token = rng.choice(TOKENS)
            data[at : at + len(token)] = token
        case 6:
            other = rng.randrange(len(data) + 1)
            data[at : at + length] = data[other : other + length]
        case 7 if rng.random() < 0.3:
            del data[at:]
