"""POST /v1/predict and /v1/explain: answers, refusals, views."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pneumonia.inference.served_model import NOTICE
from pneumonia.serving import documents
from pneumonia.serving.follower import Serving
from pneumonia.serving.metrics import Metrics
from tests.support.images import dicom, png
from tests.support.serving import client_of, film, service_with

TEXT = b"no picture"


def post(client: Any, content: bytes, kind: str = "image/png", path: str = "/v1/predict") -> Any:
    return client.post(path, content=content, headers={"Content-Type": kind})


def test_a_raw_body_is_answered_by_the_model(client: Any, serving: Serving) -> None:
    response = post(client, film())
    assert response.status_code == 200
    found = documents.Predictions.model_validate(response.json())
    (result,) = found.results
    assert isinstance(result, documents.ImageAnswer)
    outputs = serving.model.answer(film()).outputs
    assert outputs is not None
    assert result.probability == pytest.approx(outputs.probability)
    assert result.decision == ("PNEUMONIA" if result.probability >= result.threshold else "NORMAL")
    assert (result.model, result.version) == (serving.champion.name, "1")
    assert result.phantom
    assert found.notice == NOTICE
    assert found.model.weights_digest == result.weights_digest == serving.model.record.weights_digest
    assert result.timing.total >= (result.timing.compute or 0)
    assert found.request_id == response.headers["x-request-id"]


def test_several_files_are_answered_in_their_order_and_refused_one_by_one(client: Any) -> None:
    files = [("files", (name, content)) for name, content in (("a.png", film(0)), ("b", TEXT), ("ç.png", film(1)))]
    response = client.post("/v1/predict", files=files)
    assert response.status_code == 200
    results = documents.Predictions.model_validate(response.json()).results
    assert [each.file for each in results] == ["a.png", "b", "ç.png"]
    assert isinstance(results[1], documents.ImageRefusal)
    assert results[1].code == "unreadable"
    alone = [post(client, film(number)).json()["results"][0]["probability"] for number in (0, 1)]
    assert [getattr(results[at], "probability", None) for at in (0, 2)] == alone


@pytest.mark.parametrize("kind", ["image/jpeg", "application/dicom", "application/octet-stream", "IMAGE/PNG; a=b"])
def test_the_content_says_what_a_file_is(client: Any, kind: str) -> None:
    assert post(client, film(), kind).status_code == 200


def test_a_dicom_file_is_answered(client: Any) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(film())))
    response = post(client, dicom(pixels), "application/dicom")
    assert response.status_code == 200, response.text


def test_a_single_image_that_is_refused_is_a_problem(client: Any, serving: Serving) -> None:
    for response in (post(client, TEXT), client.post("/v1/predict", files={"files": TEXT})):
        assert response.status_code == 422
        assert response.headers["content-type"] == "application/problem+json"
        found = response.json()
        documents.RefusalDocument.model_validate(found)
        assert found["code"] == "unreadable"
        assert "JPEG, PNG and DICOM" in found["reason"]
        assert (found["notice"], found["model"], found["version"]) == (NOTICE, serving.champion.name, "1")


def test_the_answers_are_counted(serving: Serving) -> None:
    service = service_with(serving)
    with client_of(service) as client:
        decision = post(client, film()).json()["results"][0]["decision"]
        post(client, TEXT)
        client.post("/v1/predict", files=[("files", film()), ("files", TEXT)])
    counted = service.metrics.registry.get_sample_value
    assert counted("pneumonia_decisions_total", {"decision": decision}) == 2
    assert counted("pneumonia_refusals_total", {"code": "unreadable"}) == 2
    assert counted("pneumonia_probability_count") == 2
    assert counted("pneumonia_requests_total", {"route": "/v1/predict", "status": "200"}) == 2
    assert counted("pneumonia_requests_total", {"route": "/v1/predict", "status": "422"}) == 1
    assert counted("pneumonia_requests_in_flight") == 0
    assert counted("pneumonia_queue_images") == counted("pneumonia_computing_images") == 0


@pytest.mark.parametrize(("view", "mode"), [("image", "L"), ("overlay", "RGB"), ("map", "RGB"), (None, "RGB")])
def test_a_view_is_a_png_of_the_images_shape(client: Any, view: str | None, mode: str) -> None:
    tall = np.asarray(Image.open(io.BytesIO(film())).resize((60, 120)))
    response = post(client, png(tall), path="/v1/explain" + (f"?view={view}" if view else ""))
    assert response.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(response.content))
    assert picture.mode == mode
    assert picture.height == 2 * picture.width


def test_the_map_and_the_image_make_the_overlay(client: Any) -> None:
    views = {}
    for view in ("image", "overlay", "map"):
        content = post(client, film(), path=f"/v1/explain?view={view}").content
        views[view] = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)
    grey, colour, both = views["image"], views["map"], views["overlay"]
    low, high = np.minimum(grey, colour) - 1, np.maximum(grey, colour) + 1
    assert ((low <= both) & (both <= high)).all()
    assert np.abs(both - grey).max() > 50


@pytest.mark.parametrize("view", ["image", "overlay", "map"])
def test_a_refused_image_has_no_view(client: Any, view: str) -> None:
    response = post(client, TEXT, path=f"/v1/explain?view={view}")
    assert response.status_code == 422
    assert response.json()["code"] == "unreadable"


def test_an_unknown_view_is_refused(client: Any) -> None:
    response = post(client, film(), path="/v1/explain?view=moon")
    assert response.status_code == 422
    assert "overlay" in response.json()["detail"]


def test_only_one_file_is_explained(client: Any) -> None:
    files = [("files", film()), ("files", film())]
    assert client.post("/v1/explain", files=files).status_code == 422


def test_without_a_champion_the_answer_says_how_to_make_one() -> None:
    with client_of(service_with(None)) as client:
        for response in (post(client, film()), client.get("/v1/model"), client.get("/readyz")):
            assert response.status_code == 503
            assert "make run" in response.json()["detail"]
            assert int(response.headers["retry-after"]) > 0
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == 200
        assert "pneumonia_ready 0.0" in client.get("/metrics").text


def test_metrics_of_two_services_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.swaps.inc()
    assert other.registry.get_sample_value("pneumonia_model_swaps_total") == 0


def test_a_service_that_is_being_stopped_is_not_ready_and_still_answers(serving: Serving) -> None:
    service = service_with(serving)
    with client_of(service) as client:
        assert client.get("/readyz").status_code == 200
        service.draining = True
        assert client.get("/readyz").status_code == 503
        assert client.get("/v2/health/ready").status_code == 503
        assert post(client, film()).status_code == 200
