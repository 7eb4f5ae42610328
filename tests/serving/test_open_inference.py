"""The Open Inference Protocol v2, in JSON and with the binary tensor extension."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumonia.serving.follower import Serving
from tests.support.serving import NAME, client_of, film, mirror, probability, server_of, service_with

INFER = f"/v2/models/{NAME}/infer"


def tensor(*contents: bytes, **changes: Any) -> dict[str, Any]:
    data = [base64.b64encode(content).decode() for content in contents]
    return {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data} | changes


def binary(document: dict[str, Any], content: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(document).encode()
    return head + content, {"Inference-Header-Content-Length": str(len(head))}


def test_metadata(client: Any) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in (f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/1"):
        assert client.get(f"{path}/ready").json() == {"name": NAME, "ready": True}
        found = client.get(path).json()
        assert found["versions"] == ["1"]
        assert [each["name"] for each in found["inputs"]] == ["image"]
        assert {each["name"]: each["datatype"] for each in found["outputs"]} == {
            "probability": "FP64", "decision": "BYTES", "code": "BYTES",
        }  # fmt: skip


def test_images_in_json_are_answered(client: Any, serving: Serving) -> None:
    document = {"id": "seven", "inputs": [tensor(film(), b"none", film(1))]}
    found = client.post(INFER, json=document).json()
    assert (found["id"], found["model_name"], found["model_version"]) == ("seven", NAME, "1")
    outputs = {each["name"]: each for each in found["outputs"]}
    answers = [serving.model.answer(film(number)) for number in (0, 1)]
    wanted = [answer.outputs.probability for answer in answers if answer.outputs]
    assert outputs["probability"]["data"] == [pytest.approx(wanted[0]), None, pytest.approx(wanted[1])]
    assert outputs["code"]["data"] == ["", "unreadable", ""]
    assert outputs["decision"]["data"][1] == ""
    assert outputs["decision"]["data"][0] in ("NORMAL", "PNEUMONIA")
    assert all(each["shape"] == [3] for each in found["outputs"])


def test_a_column_is_a_shape_too(client: Any) -> None:
    document = {"inputs": [tensor(film(), shape=[1, 1], data=[[base64.b64encode(film()).decode()]])]}
    assert client.post(INFER, json=document).status_code == 200


def test_only_the_outputs_that_are_asked_for_come(client: Any) -> None:
    outputs = [{"name": "code"}, {"name": "probability", "parameters": {"binary_data": True}}]
    response = client.post(INFER, json={"inputs": [tensor(film())], "outputs": outputs})
    length = int(response.headers["inference-header-content-length"])
    found = json.loads(response.content[:length])
    assert [each["name"] for each in found["outputs"]] == ["code", "probability"]
    assert found["outputs"][1]["parameters"] == {"binary_data_size": 8}
    assert 0 <= struct.unpack("<d", response.content[length:])[0] <= 1


WRONG: dict[str, Any] = {
    "no JSON": b"{",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "no inputs": {},
    "two inputs": {"inputs": [tensor(b"1"), tensor(b"1")]},
    "another name": {"inputs": [tensor(b"1", name="input")]},
    "another type": {"inputs": [tensor(b"1", datatype="FP32")]},
    "no base64": {"inputs": [tensor(b"1", data=["!"])]},
    "numbers": {"inputs": [tensor(b"1", data=[1])]},
    "a wrong shape": {"inputs": [tensor(b"1", shape=[2])]},
    "a shape of text": {"inputs": [tensor(b"1", shape="1")]},
    "a shape of booleans": {"inputs": [tensor(b"1", shape=[True])]},
    "nothing": {"inputs": [tensor()]},
    "parameters of text": {"inputs": [tensor(b"1", parameters="x")]},
    "binary that is not there": {"inputs": [tensor(b"1", parameters={"binary_data_size": 5})]},
    "an unknown output": {"inputs": [tensor(b"1")], "outputs": [{"name": "heat"}]},
    "outputs of text": {"inputs": [tensor(b"1")], "outputs": "probability"},
    "outputs without a name": {"inputs": [tensor(b"1")], "outputs": [{}]},
    "an output with a list as name": {"inputs": [tensor(b"1")], "outputs": [{"name": []}]},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_said_so(client: Any, name: str) -> None:
    body = WRONG[name] if isinstance(WRONG[name], bytes) else json.dumps(WRONG[name]).encode()
    response = client.post(INFER, content=body)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]


@pytest.mark.parametrize("length", ["-1", "99999999", "x", "²"])
def test_a_wrong_header_length_is_said_so(client: Any, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length.encode("utf-8")}
    response = client.post(INFER, content=json.dumps({"inputs": [tensor(b"1")]}), headers=headers)
    assert response.status_code == 400


@pytest.mark.parametrize("elements", [b"\x05\0\0\0abc", b"\x01\0", b"\xff\xff\xff\xff" + b"a" * 20])
def test_elements_beyond_the_body_are_said_so(client: Any, elements: bytes) -> None:
    document = {"inputs": [tensor(b"1", parameters={"binary_data_size": len(elements)})]}
    body, headers = binary(document, elements)
    assert client.post(INFER, content=body, headers=headers).status_code == 400


def test_another_model_is_not_there(client: Any) -> None:
    for path in ("/v2/models/other", f"/v2/models/{NAME}/versions/2", "/v2/models/other/ready"):
        response = client.get(path)
        assert response.status_code == 404
        assert "version 1" in response.json()["error"]
    assert client.post("/v2/models/other/infer", json={"inputs": [tensor(film())]}).status_code == 404


def test_limits_hold_here_too(serving: Serving) -> None:
    with client_of(service_with(serving, max_files=2, max_body=1)) as client:
        response = client.post(INFER, json={"inputs": [tensor(b"1", b"2", b"3")]})
        assert response.status_code == 422
        assert client.post(INFER, content=bytes(2**21)).status_code == 413
    with client_of(service_with(None)) as client:
        assert client.get("/v2/health/ready").status_code == 503
        assert "make run" in client.post(INFER, content=b"{}").json()["error"]


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")
def test_tritons_client_is_answered(exports: Path, tmp_path: Path) -> None:
    import tritonclient.http as triton

    mirror(tmp_path / "work", exports, 1)
    with server_of(tmp_path / "work") as server:
        client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(NAME)
        assert client.get_model_metadata(NAME)["versions"] == ["1"]
        for shape in ([3], [3, 1]):
            files = np.array([film(0), b"none", film(1)], dtype=np.object_).reshape(shape)
            given = triton.InferInput("image", shape, "BYTES")
            given.set_data_from_numpy(files)
            for as_binary in (True, False):
                names = ("probability", "code", "decision")
                wanted = [triton.InferRequestedOutput(name, binary_data=as_binary) for name in names]
                found = client.infer(NAME, [given], outputs=wanted, request_id="9")
                assert found.get_response()["id"] == "9"
                probabilities = found.as_numpy("probability")
                assert np.isnan(probabilities[1])
                alone = [probability(exports, 1, film(number)) for number in (0, 1)]
                assert probabilities[[0, 2]] == pytest.approx(alone)
                codes = [code.decode() if isinstance(code, bytes) else code for code in found.as_numpy("code")]
                assert codes == ["", "unreadable", ""]
        default = client.infer(NAME, [given])
        assert default.as_numpy("probability").dtype == np.float64
        with pytest.raises(triton.InferenceServerException, match="no other model"):
            client.infer("other", [given])
        client.close()
