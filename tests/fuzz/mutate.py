"""Damage bytes: the same generator of random numbers makes the same damage."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable

#: Numbers at the edges of what fields hold.
INTEGERS = (
    0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**62, 2**63 - 1, -(2**63),
)  # fmt: skip
FLOATS = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e-45, 1e38, 1e300)
TOKENS = (
    *b"nan inf -inf NaN Infinity -1 0 1e400 1e200 1e-400 1e999 4294967296 99999999999999999999 0x10 1_0".split(),
    *b"1,5 1.5.5 --1 1e + none null true END , ; \" ' ( ) [ ] { } < > /> & &#0; ../ a/b ..".split(),
    b"", b"\t", b"\n", b"\r\n", b"\0", b"file: . 0", b"9" * 400, b"[" * 80, b'{"a":' * 70, b"\xe9",
    "\u0663".encode(), "\ufeff".encode(),
)  # fmt: skip
_WORD = re.compile(rb"[A-Za-z_]+|[-+]?\d[\d.eE+-]*")

Change = Callable[[bytearray, random.Random, bytes], None]


def _place(data: bytearray, rng: random.Random) -> int:
    """Choose a place, half of the time in the first bytes, where headers are."""
    return rng.randrange(max(1, len(data) if rng.random() < 0.5 else min(1000, len(data))))


def _flip(data: bytearray, rng: random.Random, other: bytes) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, rng: random.Random, other: bytes) -> None:
    at, size = _place(data, rng), rng.choice((1, 1, 2, 4, 8))
    data[at : at + size] = rng.randbytes(size)


def _insert(data: bytearray, rng: random.Random, other: bytes) -> None:
    at = _place(data, rng)
    data[at:at] = rng.choice((rng.randbytes(rng.randint(1, 9)), bytes(rng.choice((1, 4, 64))), b" ", b"\n"))


def _delete(data: bytearray, rng: random.Random, other: bytes) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 1, 2, 4, 12, 100))]


def _integer(data: bytearray, rng: random.Random, other: bytes) -> None:
    at, value = _place(data, rng), rng.choice(INTEGERS)
    size, order = rng.choice((1, 2, 4, 4, 8)), rng.choice(("little", "big"))
    at -= at % rng.choice((1, size))
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)


def _float(data: bytearray, rng: random.Random, other: bytes) -> None:
    at, code = _place(data, rng), rng.choice(["<f", ">f", "<d"])
    at -= at % rng.choice((1, 4))
    value = rng.choice(FLOATS)
    packed = struct.pack(code, min(value, 3e38) if value > 3e38 and value != float("inf") else value)
    data[at : at + len(packed)] = packed


def _splice(data: bytearray, rng: random.Random, other: bytes) -> None:
    """Put a piece of another good file, or of this one, elsewhere."""
    source = other if rng.random() < 0.5 else bytes(data)
    start = rng.randrange(max(1, len(source)))
    piece = source[start : start + rng.choice((4, 16, 64, 300))]
    at = _place(data, rng)
    data[at : at + (len(piece) if rng.random() < 0.5 else 0)] = piece


def _cut(data: bytearray, rng: random.Random, other: bytes) -> None:
    del data[_place(data, rng) :]


def _token(data: bytearray, rng: random.Random, other: bytes) -> None:
    """Replace a word or number, or put one between."""
    words = [match.span() for match in _WORD.finditer(data, 0, 20000)]
    token = rng.choice(TOKENS)
    if words and rng.random() < 0.8:
        start, end = rng.choice(words)
        if rng.random() < 0.3:
            first, last = rng.choice(words)
            token = bytes(data[first:last])
        data[start:end] = token
    else:
        at = _place(data, rng)
        data[at:at] = token


def _line(data: bytearray, rng: random.Random, other: bytes) -> None:
    """Repeat, drop or exchange a line."""
    lines = bytes(data).split(b"\n")
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(3)
    if what == 0:
        lines.insert(to, lines[at])
    elif what == 1:
        del lines[at]
    else:
        lines[at], lines[to] = lines[to], lines[at]
    data[:] = b"\n".join(lines)


BINARY: tuple[Change, ...] = (_flip, _replace, _insert, _delete, _integer, _integer, _float, _splice, _cut)
TEXT: tuple[Change, ...] = (_token, _token, _token, _line, _flip, _insert, _delete, _splice, _cut)


def mutate(data: bytes, rng: random.Random, others: list[bytes], *, text: float) -> bytes:
    """Return damaged bytes.

    Parameters
    ----------
    data : bytes
        Of a good file.
    rng : random.Random
        Decides everything.
    others : list of bytes
        Good files that pieces are taken from.
    text : float
        Share of changes that are made to words and lines.
    """
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        change = rng.choice(TEXT if rng.random() < text else BINARY)
        change(result, rng, rng.choice(others))
    return bytes(result)
