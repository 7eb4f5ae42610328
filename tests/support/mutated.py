"""Damage files in the ways in which disks, networks and attackers do, the same way for the same number."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from tests.support.dicom_cases import CASES
from tests.support.images import LOSSLESS, LOSSY

CORPUS: list[bytes] = [*LOSSLESS.values(), *LOSSY.values(), *(case.content for case in CASES.values())]

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_PIECES = (
    b"\xff\xd9", b"\xff\xd8", b"\xff\xda", b"\xff\xc0", b"\xff\xc3", b"\xfe\xff\xdd\xe0", b"\xfe\xff\x00\xe0", b"IDAT",
    b"PLTE", b"tRNS", b"SQ\0\0", b"UN\0\0", b"OW\0\0", b"\x28\0\x00\x30", b"\xe0\x7f\x10\0", b"\xff\xff\xff\xff",
    b"nan ", b"1e999", b"-0\\\\", b"1.2.840.10008.1.2.1.99", b"\0" * 64,
)  # fmt: skip


def mutated(number: int, corpus: Sequence[bytes] = CORPUS) -> bytes:
    """A file of the corpus with one to four changes; half of them in its first 700 bytes, where the headers are."""
    rng = np.random.default_rng(number)
    content = bytearray(corpus[int(rng.integers(len(corpus)))])
    for _ in range(int(rng.integers(1, 5))):
        end = min(len(content), 700) if rng.random() < 0.5 else len(content)
        at = int(rng.integers(0, max(end, 1)))
        _change(content, at, rng, corpus)
    return bytes(content)


def _change(content: bytearray, at: int, rng: np.random.Generator, corpus: Sequence[bytes]) -> None:
    kind = int(rng.integers(8))
    span = int(rng.integers(1, 64))
    if kind == 0 and at < len(content):
        content[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        content[at : at + span] = rng.bytes(span)
    elif kind == 2:
        del content[at : at + span]
    elif kind == 3:
        content[at:at] = content[at : at + span] * int(rng.integers(1, 4))
    elif kind == 4:
        number = int(rng.choice(np.array(_NUMBERS, dtype=np.uint64)))
        size = 4 if number > 0xFFFF else int(rng.choice([2, 4]))
        content[at : at + size] = (
            struct.pack("<L", number)[:size] if rng.random() < 0.7 else struct.pack(">L", number)[-size:]
        )
    elif kind == 5:
        piece = _PIECES[int(rng.integers(len(_PIECES)))]
        content[at : at + (len(piece) if rng.random() < 0.7 else 0)] = piece
    elif kind == 6:
        other = corpus[int(rng.integers(len(corpus)))]
        start = int(rng.integers(0, len(other)))
        content[at : at + span] = other[start : start + span]
    elif rng.random() < 0.3:
        del content[at:]
