"""A registered version with all that evidence is about: weights, export, report, dossier, a list of them, a key."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from pneumonia.config.schema import Config
from pneumonia.config.service import SigningConfig
from pneumonia.inference.exporting import export_model
from pneumonia.records.evaluation import Metric, Reason, Verdict
from pneumonia.records.export import EXPORT_FOLDER
from pneumonia.records.model import WEIGHTS_ARTIFACT, read_record
from pneumonia.registry import models, registration, signing
from pneumonia.registry.mirror import read_export
from pneumonia.registry.signature import make_keys
from pneumonia.tracking.client import mlflow_client, tracking_uri
from pneumonia.tracking.experiments import open_experiment
from tests.support import exports

NAME = "pneumonia-tiny-phantom"
METRICS = {"auroc": Metric(value=0.9, low=0.8, high=1.0)}
PASSED = Verdict(passed=True, reasons=(Reason(name="auroc", passed=True, text="high"),), metrics=METRICS)
FAILED = Verdict(passed=False, reasons=(Reason(name="auroc", passed=False, text="low"),), metrics=METRICS)


@functools.cache
def made(seed: int = 0, name: str = NAME) -> Path:
    """The files of a version, in the folders that its run has them in; not to be changed."""
    place = Path(tempfile.mkdtemp(prefix="pneumonia-test-evidence-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "weights").mkdir()
    exports.weights(place / WEIGHTS_ARTIFACT, seed=seed, name=name, config={"profile": "fast"})
    export_model(place / WEIGHTS_ARTIFACT, place / EXPORT_FOLDER, None)
    for name in ("report", "dossier"):
        (place / name).mkdir()
    (place / "report" / "scores.csv").write_text("path,patient,label,probability\n")
    (place / "dossier" / "dossier.json").write_text(json.dumps({"weaknesses": "all"}))
    (place / "data").mkdir()
    (place / "data" / "manifest.csv").write_text("path,split,label,sha256\n")
    (place / "config.json").write_text(json.dumps({"profile": "fast"}))
    return place


@functools.cache
def keys(number: int = 0) -> SigningConfig:
    """A key pair, made once a process for each number."""
    place = Path(tempfile.mkdtemp(prefix="pneumonia-test-keys-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    private, public = make_keys(place / str(number))
    return SigningConfig(private_key=str(private), public_key=str(public))


def evidenced(
    config: Config,
    signed: SigningConfig | None,
    verdict: Verdict = PASSED,
    seed: int = 0,
    *,
    listed: bool = True,
    name: str = NAME,
) -> models.Version:
    """Register a version whose run has all files; signed where there is a key, without a list where not `listed`."""
    uri, files = tracking_uri(config), made(seed, name)
    client = mlflow_client(uri)
    record = read_record(files / WEIGHTS_ARTIFACT)
    experiment = open_experiment(client, config)
    run = client.create_run(experiment, tags={"verdict": "passed" if verdict.passed else "not passed"}).info.run_id
    with tempfile.TemporaryDirectory() as place:
        local = shutil.copytree(files, Path(place) / "files")
        (local / "report" / "verdict.json").write_text(verdict.model_dump_json(indent=2))
        client.log_artifacts(run, str(local))
        if listed:
            parts = {part: local / part for part in ("weights", "export", "report", "dossier")}
            signing.sign_run(uri, run, parts, record, signed or SigningConfig())
    model = client.create_logged_model(experiment, "model", source_run_id=run)
    client.finalize_logged_model(model.model_id, "READY")
    version = registration.register(uri, record, run, f"models:/{model.model_id}")
    version = registration.register_export(uri, version, read_export(files / EXPORT_FOLDER).digest())
    tag = client.get_run(run).data.tags.get(models.MANIFEST)
    return version if tag is None else registration.register_manifest(uri, version, tag)


def artifact(config: Config, version: models.Version, path: str) -> Path:
    """The place of a run's artifact in the store."""
    return next((Path(config.work) / "artifacts").glob(f"**/{version.run_id}/artifacts/{path}"))


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def execute(config: Config, statement: str, *values: Any) -> int:
    """Change the tracking database behind MLflow's back; return how many rows that were."""
    with sqlite3.connect(Path(config.work) / "mlflow.db") as database:
        done = database.execute(statement, values).rowcount
    database.close()
    return done
