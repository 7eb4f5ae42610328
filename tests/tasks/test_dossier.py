"""The dossier of a model that the pipeline has made: before it is registered, and of its version at any time."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from pneumonia.evidence import checklists
from pneumonia.evidence.dossier import build, compose
from pneumonia.evidence.machine import describe_here
from pneumonia.evidence.pictures import ROBUSTNESS
from pneumonia.evidence.sources import DossierSource, attached, gather, of_training
from pneumonia.records.dossier import DOSSIER_JSON, DOSSIER_PAGE, SBOM, Dossier
from pneumonia.records.steps import ExportedModel, TrainedModel
from pneumonia.registry import models, verified
from pneumonia.reporting.dossier.page import page
from pneumonia.statistics.metrics import METRICS
from tests.cli.console import call
from tests.support.dossiers import ruled_files
from tests.support.markup import Read
from tests.tasks.conftest import Finished


class Built(NamedTuple):
    """A dossier, what it was made of, and its folder."""

    dossier: Dossier
    source: DossierSource
    folder: Path


def exported(trained: TrainedModel) -> ExportedModel:
    """The export that the finished pipeline has made; only its folder counts here."""
    folder = Path(trained.weights).parent / "export"
    agreement = json.loads((folder / "export.json").read_text())["agreement"]
    return ExportedModel(folder=str(folder), export_digest="", precision="fp32", reason="", agreement=agreement)


@pytest.fixture(scope="module")
def built(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Built:
    config, dataset, trained, validation, _ = finished
    source = of_training(dataset, trained, exported(trained), validation, config)
    folder = build(source, tmp_path_factory.mktemp("dossier"))
    return Built(Dossier.model_validate_json((folder / DOSSIER_JSON).read_text()), source, folder)


def test_it_holds_what_the_pipeline_found(built: Built, finished: Finished) -> None:
    found = built.dossier
    assert found.verdict == finished.validation.verdict
    assert found.assessment is not None
    assert set(METRICS) <= set(found.assessment.metrics)
    assert {name: found.assessment.metrics[name] for name in METRICS} == dict(found.verdict.metrics)
    assert found.dependence is not None
    assert found.data.data_digest == finished.dataset.digest
    assert {each.split: each.classes for each in found.data.splits} == dict(finished.dataset.counts)
    assert [each.this_model for each in found.openings] == [True]
    assert found.environment is not None
    assert found.environment.computed_with == finished.trained.computed_with
    assert found.phantom
    assert found.weaknesses[0].topic == "Trained on phantoms"


def test_every_file_has_its_digest(built: Built) -> None:
    for file in built.dossier.files:
        content = built.source.files[file.path].read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.size)
    assert built.dossier.sbom is not None
    assert hashlib.sha256((built.folder / SBOM).read_bytes()).hexdigest() == built.dossier.sbom.sha256


def test_the_checklists_ask_for_files_that_a_pipeline_makes(built: Built) -> None:
    assert ruled_files() <= {file.path for file in built.dossier.files}
    assert built.dossier.checklists == checklists.answer(built.dossier)
    digests = {file.path: file.sha256 for file in built.dossier.files}
    for each in (item for found in built.dossier.checklists for item in found.items):
        assert each.digest is None or each.digest == digests[each.where.split(", ")[0]]


def test_every_picture_of_the_report_is_on_the_page(built: Built) -> None:
    shown_page = Read((built.folder / DOSSIER_PAGE).read_text())
    drawn = {path for path in built.source.files if path.startswith("report/") and path.endswith(".png")}
    shown = {picture.path for picture in built.dossier.pictures}
    assert drawn - shown <= {"report/learning_curves.png"}
    assert len(shown_page.all("img")) == len(shown) >= 4


def test_a_version_has_its_dossier_at_any_time(built: Built, finished: Finished, tmp_path: Path) -> None:
    version = models.get(finished.trained.tracking_uri, finished.config.registry.name, "champion")
    found = compose(gather(finished.trained.tracking_uri, version, tmp_path / "run"))
    then, now = built.dossier, found
    assert (now.version, now.aliases) == ("1", ("champion",))
    assert [move.to_version for move in now.moves] == ["1"]
    assert now.environment is not None
    assert now.environment.of == "the model's making", "it is taken from the dossier that was attached"
    assert (now.record, now.verdict, now.assessment, now.dependence) == (
        *(then.record, then.verdict, then.assessment, then.dependence),
    )
    assert (now.data, now.audit, now.openings) == (then.data, then.audit, then.openings)
    same = {file.path: file.sha256 for file in then.files}
    assert {file.path: file.sha256 for file in now.files if file.path in same} == same


def test_the_command_writes_it(finished: Finished, tmp_path: Path) -> None:
    name, uri = finished.config.registry.name, finished.trained.tracking_uri
    done = call("dossier", "champion", "--name", name, "--out", str(tmp_path / "out"), "--set", f"tracking.uri={uri}")
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {DOSSIER_PAGE, DOSSIER_JSON, SBOM, "registered"}
    made = Path(finished.trained.weights).parent / "dossier"
    for file in (DOSSIER_PAGE, DOSSIER_JSON, SBOM):
        kept = tmp_path / "out" / "registered" / "dossier" / file
        assert kept.read_bytes() == (made / file).read_bytes(), "as it was registered"
    assert (tmp_path / "out" / SBOM).read_bytes() == (made / SBOM).read_bytes(), "of the environment of then"
    assert "serious    Trained on phantoms" in done.stdout
    done = call("dossier", "7", "--name", name, "--out", str(tmp_path / "out"), "--set", f"tracking.uri={uri}")
    assert done.exit_code == 1
    assert "there is no version or alias '7'" in done.stderr


def test_the_page_that_is_passed_on_shows_no_image(finished: Finished, tmp_path: Path) -> None:
    uri, name = finished.trained.tracking_uri, finished.config.registry.name
    where = ("--name", name, "--out", str(tmp_path / "out"), "--set", f"tracking.uri={uri}")
    assert call("dossier", "champion", *where, "--without-images").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted((DOSSIER_PAGE, DOSSIER_JSON, SBOM))
    made = Dossier.model_validate_json((tmp_path / "out" / DOSSIER_JSON).read_text())
    shown = {picture.path for picture in made.pictures}
    assert "report/errors.png" in {file.path for file in made.files}
    assert "report/roc.png" in shown
    assert "report/errors.png" not in shown


def test_the_images_of_an_earlier_dossier_are_not_passed_on(finished: Finished, tmp_path: Path) -> None:
    uri, name = finished.trained.tracking_uri, finished.config.registry.name
    kept = tmp_path / "out" / "registered" / "dossier" / DOSSIER_PAGE
    kept.parent.mkdir(parents=True)
    kept.write_text("with images")
    where = ("--name", name, "--out", str(tmp_path / "out"), "--set", f"tracking.uri={uri}")
    done = call("dossier", "champion", *where, "--without-images")
    assert done.exit_code == 2
    assert f"{tmp_path / 'out' / 'registered'}: is there from an earlier dossier" in done.stderr
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [kept], "nothing is written"


def test_a_file_is_no_place_for_a_dossier(finished: Finished, tmp_path: Path) -> None:
    uri, name = finished.trained.tracking_uri, finished.config.registry.name
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        done = call("dossier", "champion", "--name", name, "--out", str(place), "--set", f"tracking.uri={uri}")
        assert done.exit_code == 2
        assert "name another folder with --out" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_other_weights_than_were_registered_have_no_dossier(finished: Finished, tmp_path: Path) -> None:
    version = models.get(finished.trained.tracking_uri, finished.config.registry.name, "champion")
    other = version.model_copy(update={"weights_digest": "0" * 64})
    with pytest.raises(verified.PneumoniaError, match="holds other weights than were registered"):
        gather(finished.trained.tracking_uri, other, tmp_path)


def test_a_version_without_an_attached_dossier_says_so(finished: Finished, tmp_path: Path) -> None:
    uri = finished.trained.tracking_uri
    version = models.get(uri, finished.config.registry.name, "champion")
    source = gather(uri, version, tmp_path)
    assert source.sbom is not None
    shutil.rmtree(tmp_path / "dossier")
    assert [name for name in attached(tmp_path) if name.startswith("dossier/")] == []
    earlier = replace(source, environment=describe_here((), of_the_model=False), sbom=None)
    text = page(compose(earlier), dict.fromkeys(earlier.files, b"") | {ROBUSTNESS: b""})
    assert "not the one that made the model" in text
