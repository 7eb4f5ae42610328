"""Damaged and hostile files give an answer or a refusal, in memory that stays as it is."""

from __future__ import annotations

import struct
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import dicom, jpeg
from tests.support.mutated import CORPUS, mutated
from tests.support.serving import film, mirror, pixels_of, server_of

MIB = 2**20
FILMS = [film(), film(1), jpeg(pixels_of(film())), dicom(pixels_of(film(1)))]
HALF = [*FILMS * (len(CORPUS) // len(FILMS)), *CORPUS]
"""As many files that are answered as other pictures."""

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_mutated_files_are_answered_or_refused(client: Any) -> None:
    statuses = Counter[int]()
    for number in range(2_000):
        response = client.post("/v1/predict", content=mutated(number, HALF), headers={"Content-Type": "image/png"})
        statuses[response.status_code] += 1
        assert response.status_code in (200, 422), number
    assert min(statuses[200], statuses[422]) > 10  # most of what is damaged is no radiograph any more


@pytest.mark.nightly
def test_fifty_thousand_mutated_files_in_flat_memory(exports: Path, tmp_path: Path) -> None:
    mirror(tmp_path / "work", exports, 1)
    with server_of(tmp_path / "work") as server:
        statuses = {server.post("/v1/predict", mutated(number, HALF))[0] for number in range(2_000, 4_000)}
        before = server.resident()
        statuses |= {server.post("/v1/predict", mutated(number, HALF))[0] for number in range(4_000, 50_000)}
        assert statuses == {200, 422}
        assert server.resident() - before < 48 * MIB


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(side: int) -> bytes:
    """A PNG that declares side x side pixels, and holds as many zeros."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    deflater = zlib.compressobj(9)
    pixels = b"".join(deflater.compress(bytes(MIB)) for _ in range(side * side // MIB)) + deflater.flush()
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_000, 20_000])
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/v1/explain?view=image"])
def test_a_decompression_bomb_is_refused_at_once(client: Any, side: int, path: str) -> None:
    content = bomb(side)
    assert len(content) < MIB
    headers = {"Content-Type": "image/png"}
    client.post(path, content=film(), headers=headers)  # what is imported once
    began = time.process_time()
    response = client.post(path, content=content, headers=headers)
    assert time.process_time() - began < 0.1
    assert response.status_code == 422
    assert "decompression bomb" in response.json()["reason"]
