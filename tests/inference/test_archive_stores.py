"""Archives in S3 and in Google Cloud Storage: each file has one row, a killed run resumes, and every refusal helps."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
from PIL import Image

from pneumonia.config.schema import Config
from pneumonia.data.object_store import RemotePlace
from pneumonia.data.phantom.dataset import render
from pneumonia.data.places import open_file, open_place
from pneumonia.errors import ConfigError, DataError
from pneumonia.imaging.radiograph import UnreadableRadiograph
from pneumonia.inference import archive
from pneumonia.inference.archive_run import run_scoring
from tests.support import exports
from tests.support.object_stores import ObjectStore

COUNT = 20


def pictures() -> dict[str, bytes]:
    """Phantoms by name, one file that is broken, one that is empty, and what is no image."""
    found = {}
    for at in range(COUNT):
        content = io.BytesIO()
        Image.fromarray(render(at % 2, np.random.default_rng(at), 64)).save(content, "PNG")
        found[f"study {at % 3}/image {at}" + (".png" if at % 4 else "")] = content.getvalue()
    broken = {"study 1/broken.png": b"\x89PNG\r\n\x1a\nand then nothing", "study 2/empty.png": b""}
    return found | broken | {"readme.txt": b"no image", ".hidden/image.png": b"nobody misses it"}


IMAGES = COUNT + 2


@pytest.fixture(params=["s3_server", "gcs_server"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    found: ObjectStore = request.getfixturevalue(request.param)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem(found.scheme).clear_instance_cache()
    return found


@pytest.fixture
def bucket(store: ObjectStore, tmp_path: Path) -> str:
    url = store.make_bucket(f"archive-{abs(hash(tmp_path)):x}")
    files, root = fsspec.url_to_fs(url)
    files.pipe({f"{root}/in/{name}": content for name, content in pictures().items()})
    return url


@pytest.fixture
def config(tmp_path: Path, weights: Path) -> Config:
    exports.provide(tmp_path / "work", weights)
    return Config(work=str(tmp_path / "work"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exports.weights(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same files on this machine."""
    for name, content in pictures().items():
        file = tmp_path / "local" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "local"


def test_the_result_is_that_of_a_folder_of_this_machine_also_after_a_stop(
    bucket: str, folder: Path, config: Config, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PART", 5)
    here = run_scoring(config, folder.as_uri(), str(tmp_path / "here.parquet"), str(weights))
    said: list[str] = []
    publish, written = RemotePlace.publish, 0

    def stopped(self: RemotePlace, name: str, *rest: object) -> None:
        nonlocal written
        written += 1
        if written == 3:
            raise KeyboardInterrupt
        publish(self, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(RemotePlace, "publish", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_scoring(config, f"{bucket}/in", f"{bucket}/results/out.parquet", str(weights))
    parts = open_place(f"{bucket}/results/out.parquet.parts")
    assert sum(name.startswith("part-") for name in parts.names()) == 2
    there = run_scoring(config, f"{bucket}/in/", f"{bucket}/results/out.parquet", str(weights), on_words=said.append)
    assert written == 3 + 3 + 1, "two parts were not scored again"
    place, name = open_file(f"{bucket}/results/out.parquet")
    rows = pq.read_table(io.BytesIO(place.fetch(name))).to_pylist()
    assert there == here
    assert sum(there.values()) == len(rows) == IMAGES
    shown = [row | {"reason": ""} for row in rows]
    assert shown == [row | {"reason": ""} for row in pq.read_table(tmp_path / "here.parquet").to_pylist()]
    assert {row["file"] for row in rows if row["code"]} >= {"study 1/broken.png", "study 2/empty.png"}
    assert said == [
        "passed over, because they are not JPEG, PNG or DICOM: 1 (readme.txt); 1 hidden or of an operating system"
    ]
    assert parts.names() == set()


def test_what_is_missing_is_named_with_its_address(
    store: ObjectStore, config: Config, weights: Path, tmp_path: Path
) -> None:
    missing = f"{store.scheme}://no-such-bucket-{store.scheme}/in"
    with pytest.raises(DataError, match=rf"{missing}: (there is no such bucket or folder|holds nothing)"):
        run_scoring(config, missing, str(tmp_path / "never.parquet"), str(weights))


def test_an_object_that_is_gone_costs_one_row_and_a_server_that_is_gone_ends_the_run(
    bucket: str, store: ObjectStore, config: Config, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = RemotePlace.survey

    def then_removed(self: RemotePlace) -> object:
        found = survey(self)
        self._files.rm_file(self._path("study 1/image 1.png"))
        return found

    monkeypatch.setattr(RemotePlace, "survey", then_removed)
    run_scoring(config, f"{bucket}/in", str(tmp_path / "out.parquet"), str(weights))
    rows = {row["file"]: row for row in pq.read_table(tmp_path / "out.parquet").to_pylist()}
    assert "does not exist any more" in rows["study 1/image 1.png"]["reason"]
    assert len(rows) == IMAGES


ODD = (
    "/from the root.jpeg", "twice//x.jpeg", "a b.jpeg", "100%.jpeg", "a%20b.jpeg", "what?.jpeg", "n#1.jpeg",
    "R\u00f6ntgen/\u00e9.jpeg", "Ro\u0308ntgen.jpeg", "a+b&c=d.jpeg", "star*[1].jpeg", "back\\slash.jpeg",
)  # fmt: skip
LITTER = ("folder/", "folder/.hidden.jpeg", "./dot.jpeg")


def test_every_key_is_a_name_of_its_own(store: ObjectStore, tmp_path: Path) -> None:
    place = open_place(store.make_bucket(f"odd-{abs(hash(tmp_path)):x}") + "/in")
    assert isinstance(place, RemotePlace)
    for name in (*ODD, *LITTER):
        place._files.pipe_file(place._path(name), name.encode())
    found = place.survey()
    assert set(found.images) == set(ODD)
    assert (found.others, found.litter) == ((), len(LITTER))
    assert {name: place.read(name).decode() for name in found.images} == {name: name for name in ODD}
    parts = place.child("out[1]*.parts")
    assert parts.create("part", "one")
    parts.remove()
    assert parts.names() == set()
    assert "star*[1].jpeg" in place.names(), "a name is no pattern"


def test_a_key_that_the_library_takes_for_a_version_costs_one_row_and_an_empty_object_none(
    s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    place = open_place(s3_server.make_bucket("versions") + "/in")
    odd = "scan?versionId=3"
    for key, content in ((odd, b"x"), ("_SUCCESS", b"")):
        requests.put(f"{s3_server.address}/versions/in/{quote(key)}", content, timeout=30).raise_for_status()
    found = place.survey()
    assert (found.images, found.others) == ((odd,), ("_SUCCESS",))
    with pytest.raises(UnreadableRadiograph, match="takes for an object's version"):
        place.read(odd)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "names no bucket"),
        ("nonsense://bucket/folder", "is no address that can be used"),
        ("file://server/share", "names a machine; mount its share"),
        ("ftp://127.0.0.1:1/in", "cannot be used"),
        ("ftp://user:secret@127.0.0.1:1/in", "holds a user or a password; leave them out"),
        ("s3://user:secret@hospital/2026", "holds a user or a password; leave them out"),
        ("s3://user:se/secret@hospital/2026", "holds a user or a password; leave them out"),
        ("gs://secret@hospital/2026", "holds a user or a password; leave them out"),
        ("gs://me:secret@x/y", "holds a user or a password; leave them out"),
        ("https://me:secret@127.0.0.1:1/x", "holds a user or a password; leave them out"),
        ("s3://hospital/2026?token=secret", r"s3://hospital/2026: has a query \(\?\)"),
        ("s3://secret@hospital?a=b", r"s3://\*\*\*@hospital: has a query"),
        ("https://127.0.0.1:1/x", r"no connection to 127\.0\.0\.1:1"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_secret(
    url: str, words: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises((ConfigError, DataError), match=words) as caught:
        open_place(url).survey()
    assert "secret" not in str(caught.value) + caplog.text + "".join(capfd.readouterr())


def test_a_server_that_is_away_is_one_message_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"gs://x/y: no connection to 127\.0\.0\.1:1 \(Connection refused\)"):
        open_place("gs://x/y").survey()
    assert time.monotonic() - begun < 20
    logging.getLogger("gcsfs").error("what it says of the same error")
    assert caplog.text + "".join(capfd.readouterr()) == ""


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> Iterator[object]:
        raise ImportError("Install s3fs to access S3", name="s3fs")

    monkeypatch.setattr(fsspec, "url_to_fs", absent)
    with pytest.raises(ConfigError, match=r"s3://bucket/in: .*s3fs.*pneumonia\[storage\]"):
        open_place("s3://bucket/in")
