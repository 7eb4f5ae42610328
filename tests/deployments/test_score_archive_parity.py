"""The scoring of an archive: its Airflow DAG and its Prefect flow take the same, do the same, on the same cluster."""

from __future__ import annotations

import inspect
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows import score_archive as flow
from pneumonia.config.resolve import resolve
from pneumonia.data.phantom.dataset import render
from tests.deployments.stack import DAGS
from tests.deployments.test_parity import child
from tests.support import exports
from tests.support.ray_cluster import running

# One worker reads the DAG files, once.
pytestmark = pytest.mark.integration
DAG = "pneumonia_score_archive"
__all__ = ["child"]  # a fixture
CALL = """
import json, sys
sys.path.insert(0, {dags!r})
{source}
print(json.dumps(score_archive({params!r}, "null")))
"""


def test_one_step_of_the_same_function_in_the_python_of_the_library(dags: dict[str, Any]) -> None:
    (name,) = dags[DAG]["tasks"]
    task = dags[DAG]["tasks"][name]
    assert name == flow.score_archive.name == "score_archive"
    assert "from tasks.score_archive import score_archive" in task["source"]
    assert (task["python"], task["inherits"], task["policy"]) == ("/opt/pneumonia/bin/python", False, "WhereItHelps")
    assert task["retries"] == flow.score_archive.retries
    assert "Not a medical device" in dags[DAG]["doc"]
    assert dags[DAG]["schedule"] is None


def test_the_form_has_the_parameters_of_the_flow(dags: dict[str, Any], child: Any) -> None:
    form = dags[DAG]["params"]
    given = inspect.signature(flow.scored_archive.fn).parameters
    own = {name for name in form if "." not in name}
    assert own == {*given} - {"config"} | {"profile"} == {*child.OWN_OF_ARCHIVES}
    for name in ("model", "engine", "address"):
        assert form[name]["value"] == given[name].default
    assert form["engine"]["schema"]["enum"] == ["local", "ray"]
    values = {name: param.get("value") for name, param in form.items()} | {"tracking.uri": "http://mlflow:5000"}
    made = child.assignments(json.dumps(values), "null", child.OWN_OF_ARCHIVES)
    assert made == ["tracking.uri=http://mlflow:5000"]
    assert resolve("full", assignments=made, environment={}).tracking.uri == "http://mlflow:5000"


def test_a_cross_validation_takes_an_engine_in_both(dags: dict[str, Any]) -> None:
    from flows.cross_validation import cross_validation

    form = dags["pneumonia_cross_validation"]["params"]
    given = inspect.signature(cross_validation.fn).parameters
    for name in ("engine", "address"):
        assert form[name]["value"] == given[name].default
    source = dags["pneumonia_cross_validation"]["tasks"]["train_model"]["source"]
    assert "from tasks.measure_folds import measure_folds" in source


@pytest.mark.nightly
def test_the_dags_own_code_scores_on_a_cluster(dags: dict[str, Any], tmp_path: Path) -> None:
    images = tmp_path / "archive"
    images.mkdir()
    for at in range(4):
        content = io.BytesIO()
        Image.fromarray(render(at % 2, np.random.default_rng(at), 64)).save(content, "PNG")
        (images / f"{at}.png").write_bytes(content.getvalue())
    weights = exports.weights(tmp_path / "model.safetensors")
    exports.provide(tmp_path / "work", weights)
    source = dags[DAG]["tasks"]["score_archive"]["source"]
    with running() as nodes:
        params = {
            "source": str(images), "out": str(tmp_path / "out.parquet"), "model": str(weights), "profile": "fast",
            "engine": "ray", "address": nodes.address,
        }  # fmt: skip
        script = tmp_path / "script.py"
        script.write_text(CALL.format(dags=str(DAGS), source=source, params=json.dumps(params)))
        environment = {**os.environ, "PNEUMONIA_WORK": str(tmp_path / "work")}
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=240, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1])["images"] == 4
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 4
