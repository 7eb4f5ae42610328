"""The service records what it answers, takes readers' words about it, and shows both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumonia.imaging.image_statistics import STATISTICS
from pneumonia.monitoring import loops, verdicts
from pneumonia.monitoring.events import embedding_of, find_event, read_window, statistics_of
from pneumonia.monitoring.loops import Wish
from pneumonia.records.drift import DriftTest, DriftVerdict
from pneumonia.records.evaluation import Metric
from pneumonia.serving.keys import Keys
from pneumonia.serving.service import Service
from tests.support.serving import NAME, client_of, film, served, service_with

KEYS = {name: hashlib.sha256(name.encode()).digest() for name in ("first", "second")}


def predict(client: Any, content: bytes | None = None, **headers: str) -> Any:
    return client.post("/v1/predict", content=content or film(), headers={"content-type": "image/png", **headers})


@pytest.fixture
def service(exports: Path, tmp_path: Path) -> Iterator[Service]:
    service = service_with(served(exports), work=tmp_path)
    yield service
    assert service.monitoring is not None
    service.monitoring.stop()


def rows_of(service: Service) -> Any:
    assert service.monitoring is not None
    service.monitoring.flush()
    digest = service.serving().model.export.model_digest
    return read_window(service.monitoring.database, digest, 1000)


def test_an_answer_is_recorded_without_name_or_pixel(service: Service) -> None:
    with client_of(service) as client:
        files = [("files", ("Jane Doe 1975.png", film(at), "image/png")) for at in range(2)]
        answer = client.post("/v1/predict", files=files, headers={"x-request-id": "r-1"}).json()
    rows = rows_of(service)
    assert [row["event_id"] for row in rows] == [each["event"] for each in answer["results"]]
    assert [(row["request_id"], row["position"]) for row in rows] == [("r-1", 0), ("r-1", 1)]
    model = service.serving().model
    for row, result in zip(rows, answer["results"], strict=True):
        assert (row["probability"], row["decision"]) == (result["probability"], result["decision"])
        assert 1 / (1 + np.exp(-row["margin"])) == pytest.approx(row["probability"])
        found = statistics_of(row, len(STATISTICS))
        assert np.isfinite(found).all()
        assert found[STATISTICS.index("width")] == pytest.approx(np.log(64))
        assert len(embedding_of(row, model.head.shape[1])) == model.head.shape[1]
        assert (row["version"], row["model_digest"]) == (model.version, model.export.model_digest)
        assert (row["image"], row["patient"], row["study"]) == (None, None, None)
        assert "Jane" not in str(dict(row))


def test_a_served_image_has_the_statistics_of_its_packing(service: Service) -> None:
    """Otherwise the reference and the stream would differ by how they are measured."""
    from tests.support.exports import phantoms

    with client_of(service) as client:
        predict(client)
    (row,) = rows_of(service)
    packed = phantoms(4, 3).statistics[0]
    pixels = slice(5, None)  # the file is another one
    assert statistics_of(row, len(STATISTICS))[pixels] == pytest.approx(packed[pixels], abs=1e-6)


def test_a_refusal_is_recorded_with_its_code(service: Service) -> None:
    with client_of(service) as client:
        refused = predict(client, b"no image at all")
    assert refused.status_code == 422
    (row,) = rows_of(service)
    assert row["event_id"] == refused.json()["event"]
    assert (row["code"], row["probability"], row["statistics"]) == ("unreadable", None, None)


def test_the_protocol_is_recorded_too(service: Service) -> None:
    import base64

    body = {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(film()).decode()]}]
    }
    with client_of(service) as client:
        assert client.post(f"/v2/models/{NAME}/infer", json=body).status_code == 200
    assert len(rows_of(service)) == 1


def test_two_readers_settle_a_label(exports: Path, tmp_path: Path) -> None:
    service = service_with(served(exports), Keys(list(KEYS.values())), work=tmp_path)
    with client_of(service) as client:
        given = predict(client, **{"x-api-key": "first"}).json()["results"][0]
        words = {"event": given["event"], "verdict": "disagree", "note": "both bases"}
        for name in ("first", "first", "second"):
            stored = client.post("/v1/feedback", json=words, headers={"x-api-key": name})
            assert stored.status_code == 200, stored.text
            assert stored.json()["label"] != given["decision"]
        shown = client.get("/v1/monitor", headers={"x-api-key": "first"}).json()
        assert shown["feedback"]["states"] == {"open": 0, "disputed": 0, "settled": 1}
        assert shown["feedback"]["verdicts"] == {"agree": 0, "disagree": 2, "unsure": 0}
        assert "first" not in stored.text
        named = client.post("/v1/feedback", json={**words, "reader": "me"}, headers={"x-api-key": "first"})
        assert (named.status_code, "names the reader" in named.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ({"event": "f" * 32, "verdict": "agree"}, 404, "no event"),
        ({"verdict": "agree"}, 422, "event"),
        ({"event": "EVENT", "verdict": "maybe"}, 422, "verdict"),
        ({"event": "EVENT", "verdict": "unsure", "label": "NORMAL"}, 422, "unsure"),
        ({"event": "EVENT", "verdict": "agree", "note": "x" * 2000}, 422, "note"),
        ({"event": "EVENT", "verdict": "agree", "patient": "Jane"}, 422, "patient"),
        ({"event": "EVENT", "verdict": "agree", "note": "a\0b"}, 422, "U+0000"),
        ("no object", 422, "body"),
    ],
)
def test_words_that_cannot_be_used_are_refused(service: Service, words: Any, status: int, said: str) -> None:
    with client_of(service) as client:
        event = predict(client).json()["results"][0]["event"]
        content = json.dumps(words).replace("EVENT", event)
        answer = client.post("/v1/feedback", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_a_database_that_is_away_costs_no_answer(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "monitoring"
    folder.mkdir()
    (folder / "events.db").mkdir()
    with client_of(service) as client:
        given = predict(client)
        assert given.status_code == 200
        words = {"event": given.json()["results"][0]["event"], "verdict": "agree"}
        assert client.post("/v1/feedback", json=words).status_code == 503
        assert client.get("/v1/monitor").status_code == 503
        text = client.get("/metrics").text
        assert "pneumonia_events_spooled 1.0" in text
        assert "pneumonia_event_database_up 0.0" in text
        (folder / "events.db").rmdir()
        assert client.post("/v1/feedback", json=words).status_code == 200
    assert len(rows_of(service)) == 1


def verdict_of(service: Service, **members: Any) -> DriftVerdict:
    model = service.serving().model
    test = DriftTest(name="probability", images=100, statistic=0.4, limit=0.2, score=2.0, words="moved")
    named: dict[str, Any] = {
        "name": model.name, "version": model.version, "model_digest": model.export.model_digest,
        "checked_at": "2026-11-26T03:00:00+00:00", "since": "2026-11-25T03:00:00+00:00",
        "until": "2026-11-26T03:00:00+00:00", "images": 100, "refused": 3, "first_event": "a", "last_event": "b",
        "alarm": True, "kind": "acquisition", "advice": "look at the device", "score": 2.0, "budget": 1.0,
        "tests": (test,), "reference_prevalence": 0.5,
        "estimated": {"accuracy": Metric(value=0.8, low=0.7, high=0.9)},
    }  # fmt: skip
    return DriftVerdict(**(named | members))


def test_what_was_found_is_shown(service: Service) -> None:
    monitoring = service.monitoring
    assert monitoring is not None
    verdicts.store_verdict(monitoring.database, "k1", verdict_of(service))
    begun = loops.begin(monitoring.database, Wish(NAME, "1", "acquisition", "retrain", "k1", "run"), 60, 0)
    assert begun.loop is not None
    monitoring.look()
    with client_of(service) as client:
        text = client.get("/metrics").text
        shown = client.get("/v1/monitor?hours=24").json()
    for line in (
        "pneumonia_drift_alarm 1.0", 'pneumonia_drift_kind{kind="acquisition"} 1.0',
        'pneumonia_drift_kind{kind="none"} 0.0',
        'pneumonia_drift_test_score{test="probability"} 2.0', "pneumonia_loop_running 1.0",
        'pneumonia_estimated_metric{bound="low",metric="accuracy"} 0.7',
    ):  # fmt: skip
        assert line in text
    assert f'trace_id="{begun.loop.trace_id}"' in text
    assert shown["drift"]["kind"] == "acquisition"
    assert shown["history"][0]["score"] == 2.0
    assert shown["loops"][0]["action"] == "retrain"
    assert sum(shown["reference_probability"]) > 0
    assert "Not a medical device" in shown["notice"]
    loops.finish(monitoring.database, begun.loop.trace_id, "refused", "no better")
    monitoring.look()
    assert service.metrics.text().count(b'pneumonia_loops{action="retrain",outcome="refused"} 1.0') == 1


def test_an_alarm_about_an_earlier_version_is_over(service: Service) -> None:
    monitoring = service.monitoring
    assert monitoring is not None
    verdicts.store_verdict(monitoring.database, "k1", verdict_of(service, version="0"))
    monitoring.look()
    text = service.metrics.text().decode()
    assert "pneumonia_drift_alarm 0.0" in text
    assert 'pneumonia_drift_kind{kind="acquisition"} 0.0' in text


@pytest.mark.parametrize("hours", ["0", "-1", "1.5", "x", "99999"])
def test_hours_are_a_number(service: Service, hours: str) -> None:
    with client_of(service) as client:
        assert client.get(f"/v1/monitor?hours={hours}").status_code == 422


def test_nothing_is_recorded_where_it_is_off(exports: Path, tmp_path: Path) -> None:
    from pneumonia.serving.metrics import Metrics
    from pneumonia.serving.monitoring import Monitoring
    from tests.support.serving import recording_in

    service = service_with(served(exports))
    metrics = Metrics()
    service.monitoring = Monitoring(recording_in(tmp_path, record=False), metrics.monitoring)
    with client_of(service) as client:
        assert "event" not in predict(client).json()["results"][0]
    assert not (tmp_path / "monitoring/spool").exists()


def test_find_event_knows_what_was_recorded(service: Service) -> None:
    with client_of(service) as client:
        event = predict(client).json()["results"][0]["event"]
    rows_of(service)
    assert service.monitoring is not None
    assert find_event(service.monitoring.database, event) is not None
