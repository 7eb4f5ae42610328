"""docs/serving.md: its commands run, and its tables are what the code has."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from pneumonia.config.service import MonitoringConfig, ServingConfig
from pneumonia.imaging.refusal import Code
from pneumonia.serving import (
    gate,
    keys,
    metrics,
    monitoring_routes,
    open_inference,
    pool,
    predictions,
    service,
    uploads,
)
from pneumonia.serving.metrics import Metrics
from pneumonia.serving.monitoring_routes import FeedbackRequest
from pneumonia.serving.routes import ROUTES
from tests.support.serving import NAME, film, mirror, server_of

TEXT = (Path(__file__).parents[2] / "docs/serving.md").read_text(encoding="utf-8")
BLOCKS = {
    kind: [found for name, found in re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL) if name == kind]
    for kind in ("sh", "bash", "json", "python")
}


def test_every_route_is_there() -> None:
    named = "\n".join(line for line in TEXT.splitlines() if line.startswith("| `"))
    for route in ROUTES:
        if not route.path.startswith(("/v2", "/docs/")):
            assert route.path in named, route.path


def test_every_code_of_a_refusal_is_there() -> None:
    for code in get_args(Code):
        assert f"`{code}`" in TEXT


def test_every_code_of_a_problem_is_there() -> None:
    sources = (gate, keys, monitoring_routes, pool, predictions, service, uploads)
    text = "".join(Path(module.__file__ or "").read_text(encoding="utf-8") for module in sources)
    codes = set(re.findall(r'(?:Problem\(\s*\d+,\s*|unavailable\(\s*)"(\w+)"', text))
    assert len(codes) > 12
    assert {code for code in codes if f"`{code}`" not in TEXT} == set()


def test_every_metric_is_there() -> None:
    for metric in Metrics().registry.collect():
        if metric.name.startswith("pneumonia_"):
            assert metric.name in TEXT, metric.name
    assert metrics.CONTENT_TYPE


def test_the_defaults_are_those_of_the_settings() -> None:
    for name, value in re.findall(r"^\| `serving\.(\w+)` \| ([\d,]+) ?\S*", TEXT, re.MULTILINE):
        assert getattr(ServingConfig(), name) == int(value.replace(",", "")), name
    for name in re.findall(r"`serving\.(\w+)", TEXT):
        assert name in ServingConfig.model_fields, name
    for name in re.findall(r"`monitoring\.(\w+)", TEXT):
        assert name in MonitoringConfig.model_fields, name


def test_what_feedback_takes_is_there() -> None:
    rows = {name for line in TEXT.splitlines() for name in re.findall(r"^\| `(\w+)` \|", line)}
    assert rows >= FeedbackRequest.model_fields.keys()
    command = next(block for block in BLOCKS["bash"] if "/v1/feedback" in block)
    FeedbackRequest.model_validate_json(command.partition("-d '")[2].partition("'")[0])


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")
def test_the_commands_run(exports: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "radiograph.png").write_bytes(film())
    (folder / "other.png").write_bytes(film(1))
    mirror(tmp_path / "work", exports, 1)
    with server_of(tmp_path / "work") as server:
        answers = []
        for line in BLOCKS["sh"][0].splitlines():
            command = line.replace("http://127.0.0.1:8000", server.url)
            done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, check=True, timeout=60)
            answers.append(done.stdout)
        documents = [json.loads(answer) for answer in answers if answer]
        assert [len(document.get("results", ())) for document in documents] == [1, 2, 0]
        assert (folder / "heat.png").read_bytes().startswith(b"\x89PNG")
        example = json.loads(BLOCKS["json"][0].replace(", …}", "}"))
        assert example.keys() == documents[0].keys()
        assert example["results"][0].keys() - {"file"} == documents[0]["results"][0].keys()
        program = BLOCKS["python"][0].replace("127.0.0.1:8000", server.url.removeprefix("http://"))
        program = program.replace("pneumonia-resnet18", NAME).replace("radiograph.png", str(folder / "radiograph.png"))
        said: dict[str, object] = {}
        exec(program, said)  # noqa: S102
        assert open_inference.OUTPUTS.keys() == {"probability", "decision", "code"}


@pytest.mark.integration
def test_the_keys_commands_run(exports: Path, tmp_path: Path) -> None:
    mirror(tmp_path / "work", exports, 1)
    with server_of(tmp_path / "work", "serving.host=0.0.0.0", environment={"PNEUMONIA_API_KEY": "secret"}) as server:
        for line in BLOCKS["sh"][1].splitlines()[2:]:
            command = "PNEUMONIA_API_KEY=secret; " + line.replace("HOST:8000", f"127.0.0.1:{server.port}")
            done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=60)
            assert json.loads(done.stdout)["model"] == NAME
