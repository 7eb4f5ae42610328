"""What a DICOM file says of its patient reaches no event, no log, no metric and no kept image."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pneumonia.config.service import ServingConfig
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.imaging.dicom_words import storable
from pneumonia.monitoring.events import read_window
from pneumonia.serving.keys import Keys
from pneumonia.serving.metrics import Metrics
from pneumonia.serving.monitoring import Monitoring
from pneumonia.serving.pool import Pool
from pneumonia.serving.service import Service
from tests.support.exports import phantoms
from tests.support.identified import PATIENT_ID, SECRETS, STUDY_UID, identified, leaked
from tests.support.serving import Still, client_of, recording_in, served


def service_that_keeps(exports: Path, work: Path) -> Service:
    config, metrics = ServingConfig(threads=1), Metrics()
    monitoring = Monitoring(recording_in(work, keep_images=True), metrics.monitoring)
    source = Still(served(exports), "no model is champion yet")
    return Service(config, source, Pool(1, 16), metrics, Keys(), monitoring)


def test_nothing_that_identifies_a_patient_is_recorded(
    exports: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    pixels = phantoms(4, 3).pixels[0]
    contents = [
        identified(pixels),
        identified(pixels, BodyPartExamined="CHEST", ViewPosition="PA"),
        identified(pixels, Modality="CT"),
        identified(pixels, BodyPartExamined="JANES"),
        identified(pixels, BodyPartExamined="CHEST", ViewPosition="LAT JANES"),
        identified(pixels)[:3000],
    ]
    service = service_that_keeps(exports, tmp_path)
    with client_of(service) as client:
        files = [
            ("files", (f"{SECRETS[1]}_{at}.dcm", content, "application/dicom")) for at, content in enumerate(contents)
        ]
        answers = client.post("/v1/predict", files=files).json()["results"]
        single = client.post("/v1/predict", content=contents[4], headers={"content-type": "application/dicom"})
        metrics = client.get("/metrics").text
        shown = client.get("/v1/monitor").text
    assert single.status_code == 422
    assert service.monitoring is not None
    digest = service.serving().model.export.model_digest
    rows = read_window(service.monitoring.database, digest, 100)
    assert len(rows) == len(contents) + 1
    assert [answer.get("code", "") for answer in answers][1] == ""
    assert rows[1]["image"] is not None  # an accepted one was kept
    pseudonyms = Pseudonyms(tmp_path)
    assert (rows[0]["patient"], rows[0]["study"]) == (pseudonyms.of(PATIENT_ID), pseudonyms.of(STUDY_UID))
    assert leaked(metrics) == []
    assert leaked(shown) == []
    assert leaked(caplog.text) == []
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        assert leaked(file.read_bytes()) == [], file
        assert leaked(str(file.relative_to(tmp_path))) == []
    checks = [json.loads(row["checks"]) for row in rows]
    assert {each.get("body_part") for each in checks} <= {"CHEST", "OTHER", None}
    assert all("age" not in each for each in checks)


@pytest.mark.parametrize(
    ("findings", "kept"),
    [
        ({"age": 63.0, "size": [3, 4]}, {"size": [3, 4]}),
        (
            {"modality": "CR", "body_part": "CHEST", "view": "PA"},
            {"modality": "CR", "body_part": "CHEST", "view": "PA"},
        ),
        ({"modality": "JD", "body_part": "DOE", "view": ""}, {"modality": "OTHER", "body_part": "OTHER", "view": ""}),
    ],
)
def test_words_of_no_list_are_not_stored(findings: dict[str, Any], kept: dict[str, Any]) -> None:
    assert storable(findings) == kept
