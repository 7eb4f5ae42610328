"""The service in its image's environment: its lock, less what the image leaves out; no torch, MLflow and their like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless

from pneumonia.config.schema import Config
from pneumonia.config.service import ServingConfig
from pneumonia.inference.predictor import Predictor
from tests.support import exports, wheels
from tests.support.images import dicom, jpeg
from tests.support.mlflow_server import free_port

pytestmark = pytest.mark.integration
ROOT = wheels.ROOT
ABSENT = {
    "torch",
    "torchvision",
    "sklearn",
    "scipy",
    "matplotlib",
    "mlflow",
    "pandas",
    "pyarrow",
    "onnx",
    "onnxruntime",
}
TRAINS = {
    "pneumonia.inference.outside_set": "registers metrics, and writes the version's card with its plots",
    "pneumonia.inference.version_export": "exports a version, and writes into its run",
}
"""Modules of the room that write into the registry, which the service never does: they need the extra `training`."""
IMPORTS = """
import importlib, json, pkgutil, sys
import pneumonia.cli.main, pneumonia.cli.predict, pneumonia.cli.serve, pneumonia.inference, pneumonia.serving
found = {}
for room in (pneumonia.inference, pneumonia.serving):
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        try:
            importlib.import_module(module.name)
            found[module.name] = None
        except ModuleNotFoundError as error:
            found[module.name] = error.name
loaded = sorted({name.partition(".")[0] for name in sys.modules})
present = [module.name for module in pkgutil.iter_modules()]
print(json.dumps([found, loaded, present, pneumonia.__file__]))
"""
codecs = pytest.importorskip("imagecodecs", reason="the extra `dicom` is not installed")
PREDICTED = {"lossless": True, "bitspersample": 8, "predictor": 1}
FILM = exports.phantoms(2, 9, 256).pixels[1]
JPEG_LS = dicom(FILM, JPEGLSLossless, PixelData=encapsulate([codecs.jpegls_encode(FILM)]))
LOSSLESS = dicom(FILM, JPEGLosslessSV1, PixelData=encapsulate([codecs.jpeg8_encode(FILM, **PREDICTED)]))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving") / "environment"
    command = [wheels.UV, "--no-config", "venv", "--quiet", "--python", sys.executable, folder]
    subprocess.run(command, check=True, timeout=60)
    wheels.install(folder, "--require-hashes", "--requirement", ROOT / "deployments/serving/requirements.lock")
    libraries = next(folder.glob("lib/python*/site-packages"))
    slim = [folder / "bin/python", ROOT / "deployments/serving/slim.py", libraries]
    subprocess.run(slim, check=True, timeout=60)
    wheels.install(folder, wheels.build(folder.parent / "wheel"))
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with the mirror of a champion."""
    folder = tmp_path_factory.mktemp("work")
    exports.mirrored(folder)
    return folder


@pytest.fixture(scope="module")
def served(environment: Path, work: Path) -> Iterator[str]:
    """The address of the service, whose registry is away."""
    away = f"http://127.0.0.1:{free_port()}"
    settings = {"work": work, "tracking.uri": away, "serving.model": "pneumonia-tiny-phantom"}
    settings |= {"serving.precision": "fp32", "serving.check_input": "false"}
    arguments = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    with (
        (work / "log").open("wb") as log,
        subprocess.Popen(
            [environment / "bin/python", "-m", "pneumonia", "serve", "--port", "0", *arguments],
            cwd=work,
            env={"PATH": os.environ["PATH"], "HOME": str(work)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "version 1 of pneumonia-tiny-phantom answers" in line, (line, (work / "log").read_text())
            yield line.split(": ")[0]
        finally:
            process.kill()


def test_the_rooms_that_serve_are_imported_where_nothing_trains(environment: Path, tmp_path: Path) -> None:
    command = [environment / "bin/python", "-c", IMPORTS]
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found, loaded, present, place = json.loads(done.stdout)
    assert Path(place).is_relative_to(environment)
    assert {name for name, missing in found.items() if missing} == TRAINS.keys(), found
    assert {"pneumonia.serving.server", "pneumonia.inference.engine", "pneumonia.inference.exporting"} <= found.keys()
    assert not ABSENT & set(loaded)
    assert not ABSENT & set(present)


def test_it_answers_from_the_mirror_with_the_registry_away(served: str, work: Path) -> None:
    """The answers of the environment that trains; two of the files are of the kinds that the extra `dicom` decodes."""
    settings = ServingConfig(model="pneumonia-tiny-phantom", precision="fp32", check_input=False)
    predictor = Predictor.load(None, Config(work=str(work), serving=settings))
    for content in (jpeg(FILM), JPEG_LS, LOSSLESS):
        answer = requests.post(f"{served}/v1/predict", data=content, timeout=30)
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["results"]
        assert (found["model"], found["version"], found["phantom"]) == ("pneumonia-tiny-phantom", "1", True)
        expected = predictor.model.answer(content, "film")
        np.testing.assert_allclose(found["probability"], predictor.model.document(expected)["probability"], atol=1e-4)
    assert requests.get(f"{served}/readyz", timeout=30).status_code == 200
