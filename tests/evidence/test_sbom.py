"""The bill of materials: everything installed with licence and hash, the model and its data, by CycloneDX's schema."""

from __future__ import annotations

import copy
import hashlib
import json
from importlib.metadata import distribution, distributions
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pneumonia.evidence import sbom
from pneumonia.evidence.machine import describe_here
from tests.support.dossiers import bare

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return sbom.bill_of_materials(bare(environment=describe_here()))


def named(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (part for part in document["components"] if part["name"] == name)
    return found


def notes(part: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in part["properties"]}


def problems(document: dict[str, Any]) -> object:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


def few(document: dict[str, Any], count: int) -> dict[str, Any]:
    """The same document with some of its packages: the schema takes 0.1 s for each."""
    part = copy.deepcopy(document)
    part["components"] = part["components"][: count + 2]
    known = {each["bom-ref"] for each in [*part["components"], part["metadata"]["component"]]}
    part["dependencies"] = [
        {"ref": each["ref"], "dependsOn": [ref for ref in each.get("dependsOn", []) if ref in known]}
        for each in part["dependencies"]
        if each["ref"] in known
    ]
    return part


def test_it_is_valid(document: dict[str, Any]) -> None:
    part = few(document, 8)
    assert problems(part) is None
    part["components"][0]["modelCard"]["considerations"]["weaknesses"] = []
    assert problems(part) is not None, "the schema says something of a model card"


@pytest.mark.nightly
def test_all_of_it_is_valid(document: dict[str, Any]) -> None:
    assert problems(document) is None


def test_everything_installed_is_listed_with_a_hash(document: dict[str, Any]) -> None:
    packages = [part for part in document["components"] if part["type"] == "library"]
    installed = {each.name for each in distributions()} - {"pneumonia"}
    assert {part["name"] for part in packages} == installed
    for part in packages:
        assert ("hashes" in part) == (notes(part)["pneumonia:hash"] == sbom.OF_RECORD), part["name"]
    counted = sbom.summary(document, "0")
    assert counted.packages == len(installed)
    assert counted.hashed > 0.9 * counted.packages
    assert sum(counted.licences.values()) >= counted.packages - len(counted.without_licence)


def test_a_hash_is_of_the_installed_files() -> None:
    package = distribution("jinja2")
    record = package.read_text("RECORD")
    assert record is not None
    rows = [line.rsplit(",", 2) for line in record.splitlines()]
    own = [
        f"{name},{digest}"
        for name, digest, _ in rows
        if digest and not name.endswith(".pyc") and Path(name).name not in ("INSTALLER", "REQUESTED", "direct_url.json")
        and not name.startswith("../")
    ]  # fmt: skip
    assert sbom.record_digest(package) == hashlib.sha256("\n".join(sorted(own)).encode()).hexdigest()


def test_model_and_data_are_components(document: dict[str, Any]) -> None:
    model, data = document["components"][:2]
    assert (model["type"], data["type"]) == ("machine-learning-model", "data")
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics[0]["slice"] == "outside set elsewhere", "outside before inside"
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": data["bom-ref"]}]
    assert data["licenses"] == [{"license": {"id": "CC-BY-4.0"}}]
    assert notes(data)["pneumonia:dvc_md5"] == bare().data.dvc_md5
    assert notes(model)["pneumonia:hash"].startswith("of the file weights/model.safetensors")


def test_the_lock_is_named(document: dict[str, Any]) -> None:
    assert "pins" in notes(named(document, "numpy"))["pneumonia:lock"]
    assert any(each["name"] == "pneumonia:lock:requirements.lock:sha256" for each in document["metadata"]["properties"])


def test_no_folder_of_this_machine_is_in_it(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert "file://" not in text
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[2]) not in text


def test_it_is_the_same_but_for_the_time(document: dict[str, Any]) -> None:
    later = bare(environment=describe_here(), made_at="2027-01-01T00:00:00+00:00")
    again = sbom.bill_of_materials(later)
    assert again["serialNumber"] != document["serialNumber"]
    for each in (again, document := copy.deepcopy(document)):
        del each["serialNumber"], each["metadata"]["timestamp"]
    assert again == document


def test_the_tool_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cyclonedx_py.py").write_text("raise SystemExit('not for you')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(sbom.DataError, match=r"not for you.*pip install cyclonedx-bom"):
        sbom.installed()
