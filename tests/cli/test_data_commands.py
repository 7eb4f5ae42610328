"""`pneumonia data fetch`, `phantom` and `audit`."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pneumonia.data import packing
from pneumonia.data.audit.report import AuditReport, audit
from tests.cli.console import call

CHECKS = set(AuditReport.model_fields)


@pytest.fixture
def data(phantoms: Path, tmp_path: Path) -> Path:
    """A data set that a test may spoil."""
    return Path(shutil.copytree(phantoms, tmp_path / "set" / "chest_xray"))


@pytest.fixture
def published(phantoms: Path, tmp_path: Path) -> Iterator[str]:
    """The address of an archive, on a server of this machine."""
    folder = tmp_path / "server"
    folder.mkdir()
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for image in phantoms.rglob("*.jpeg"):
            archive.write(image, Path("chest_xray") / image.relative_to(phantoms))
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/images.zip"
        server.shutdown()
        thread.join()


def test_phantoms_are_drawn_where_it_is_said() -> None:
    sizes = ("--train", "8", "--test", "8", "--size", "64", "--seed", "3")
    done = call("data", "phantom", "images", *sizes, "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    drawn = {"train": 8, "test": 8, "size": 64, "seed": 3, "shortcut": "none", "opacities": True}
    assert document == {"root": "images/chest_xray", **drawn}
    assert len(list(Path(document["root"]).rglob("*.jpeg"))) == 16
    again = call("data", "phantom", "images", *sizes)
    assert again.stdout == "8 + 8 phantoms in images/chest_xray\n"


def test_phantoms_go_to_the_work_folder_and_settings_say_how_many() -> None:
    small = ("--set", "phantom.train=8", "--set", "phantom.test=8", "--set", "phantom.size=64", "--set", "work=w")
    done = call("data", "phantom", *small, "--json")
    root = Path(json.loads(done.stdout)["root"])
    assert (root.parent.parent, root.name) == (Path("w/phantoms"), "chest_xray"), "in a folder named by its settings"
    assert len(list(root.rglob("*.jpeg"))) == 16


def test_phantoms_never_take_the_place_of_images(tmp_path: Path) -> None:
    (tmp_path / "mine" / "chest_xray").mkdir(parents=True)
    done = call("data", "phantom", "mine", "--train", "8", "--test", "8", "--size", "64")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "is not a folder of phantoms" in done.stderr


@pytest.mark.parametrize("given", [(), ("--set", "data.patient_fraction=0.05")])
def test_audit_looks_at_every_patient(data: Path, given: tuple[str, ...]) -> None:
    copied = sorted(data.glob("test/NORMAL/*"))[0]
    for train in sorted(data.glob("train/NORMAL/*"))[::3]:
        train.write_bytes(copied.read_bytes())
    done = call("data", "audit", str(data), "--json", *given)
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert len(document["duplicate_across_splits"]["examples"][0]["files"]) == 7
    assert "split unused" not in {row["part"] for row in document["counts"]["examples"]}


def test_audit_has_one_key_a_check(data: Path) -> None:
    done = call("data", "audit", str(data), "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert set(document) == CHECKS
    assert document["counts"]["count"] == 56
    assert all(finding["ok"] for finding in document.values() if finding["stops"])


def test_audit_of_what_the_pipeline_would_take(data: Path) -> None:
    """The folder may lie one above, or be named by a setting."""
    for arguments in ((str(data.parent),), ("--set", f"data.root={data}")):
        done = call("data", "audit", *arguments, "--json")
        assert (done.exit_code, json.loads(done.stdout)["counts"]["count"]) == (0, 56)


def test_audit_draws_phantoms_where_there_are_no_images() -> None:
    small = ("--set", "phantom.train=8", "--set", "phantom.test=8", "--set", "phantom.size=64")
    done = call("data", "audit", "--json", *small)
    assert (done.exit_code, json.loads(done.stdout)["counts"]["count"]) == (0, 16)


def test_audit_in_words(data: Path) -> None:
    done = call("data", "audit", str(data))
    assert done.exit_code == 0
    assert f"# Audit of {data}" in done.stdout
    for name in CHECKS:
        assert name.replace("_", " ") in done.stdout
    assert "Not a medical device" in done.stdout


def test_a_leak_ends_with_1(data: Path) -> None:
    image = next((data / "train" / "NORMAL").glob("*.jpeg"))
    shutil.copyfile(image, data / "test" / "NORMAL" / "IM-9999-0001.jpeg")
    done = call("data", "audit", str(data), "--json")
    assert done.exit_code == 1
    assert not json.loads(done.stdout)["duplicate_across_splits"]["ok"]
    assert "the pipeline would stop" in done.stderr
    assert "duplicate_across_splits" in done.stderr


def test_unreadable_images_are_a_finding(data: Path) -> None:
    (data / "train" / "NORMAL" / "IM-9998-0001.jpeg").touch()
    done = call("data", "audit", str(data), "--json")
    assert done.exit_code == 1, "the pipeline would stop at them"
    (row,) = json.loads(done.stdout)["unreadable"]["examples"]
    assert row["file"] == "train/NORMAL/IM-9998-0001.jpeg"
    skipped = call("data", "audit", str(data), "--json", "--set", "data.on_unreadable=skip")
    assert skipped.exit_code == 0, "the pipeline would leave them out"
    assert call("data", "audit", str(data), "--json", "--on-unreadable", "skip").stdout == skipped.stdout


def test_what_is_passed_over_is_a_finding(data: Path) -> None:
    quiet = json.loads(call("data", "audit", str(data), "--json").stdout)["passed_over"]
    assert (quiet["ok"], quiet["count"]) == (True, 0)
    (data / "train" / "NORMAL" / "notes.txt").touch()
    (data / "train" / "NORMAL" / ".DS_Store").touch()
    done = call("data", "audit", str(data), "--json")
    found = json.loads(done.stdout)["passed_over"]
    assert (done.exit_code, found["ok"], found["stops"]) == (0, False, False)
    assert (found["count"], found["examples"]) == (1, [{"file": "train/NORMAL/notes.txt"}])
    assert "train/NORMAL/notes.txt" in call("data", "audit", str(data)).stdout


def test_the_report_is_the_librarys(data: Path) -> None:
    from pneumonia.config.resolve import resolve

    config = resolve("fast", assignments=[f"data.root={data}"])
    packed = packing.pack(data, config.data, config.preprocess, Path(config.work))
    expected = audit(packed, config.data)
    done = call("data", "audit", str(data), "--json")
    assert json.loads(done.stdout) == expected.model_dump(mode="json")


def test_fetch_brings_images(published: str) -> None:
    done = call("data", "fetch", "mine", "--url", published, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"root": "mine/chest_xray"}
    assert len(list(Path("mine/chest_xray").rglob("*.jpeg"))) == 56
    again = call("data", "fetch", "mine", "--url", published)
    assert (again.exit_code, again.stdout) == (
        0,
        "images in mine/chest_xray; next: pneumonia data audit mine/chest_xray\n",
    )


def test_fetch_of_another_archive_is_refused(published: str) -> None:
    done = call("data", "fetch", "mine", "--url", published, "--sha256", "0" * 64)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"instead of {'0' * 64}" in done.stderr
    assert not Path("mine/chest_xray").exists()
