"""`evaluate` on images of a release set and of another place, `data audit --test-folder`, and `openings`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.records.steps import Dataset
from pneumonia.registry import models, openings, outside
from pneumonia.tracking.client import mlflow_client
from tests.cli.console import call
from tests.support.plan import planned
from tests.support.small import small
from tests.support.steps import exported, run

pytestmark = pytest.mark.integration  # a pipeline is run


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> tuple[Config, Dataset, str]:
    """A pipeline that was judged by a plan, and the address of its champion."""
    work = tmp_path_factory.mktemp("outside") / "work"
    work.mkdir()
    shutil.copyfile(mlflow_database, work / "mlflow.db")
    config = planned(work)
    dataset, _, _, promotion = run(config)
    assert promotion.promoted
    return config, dataset, f"models:/{promotion.name}/{promotion.version}"


def entered(config: Config) -> list[str]:
    from pneumonia.tracking.client import tracking_uri

    return [opening.purpose for opening in openings.openings(tracking_uri(config))]


def options(config: Config) -> list[str]:
    return ["--set", f"work={config.work}", "--set", "evaluation.bootstrap=100"]


def test_every_way_to_read_the_release_set_is_entered(pipeline: tuple[Config, Dataset, str], tmp_path: Path) -> None:
    config, dataset, model = pipeline
    test = Path(dataset.root) / "test"
    assert entered(config) == ["gate"]

    part = tmp_path / "a folder of another name"  # some of its images, under other names
    for name in ("NORMAL", "PNEUMONIA"):
        (part / name).mkdir(parents=True)
        for number, image in enumerate(sorted((test / name).iterdir())[:4]):
            shutil.copyfile(image, part / name / f"{number}.jpeg")
    done = call("evaluate", str(part), "--model", model, *options(config))
    assert done.exit_code == 0, done.stderr
    assert "of the release set" in done.stderr
    assert entered(config) == ["gate", "pneumonia evaluate"]
    call("evaluate", str(test), "--model", model, *options(config))
    assert entered(config) == ["gate", "pneumonia evaluate"], "the same model for the same purpose"

    plain = call("data", "audit", dataset.root, *options(config), "--json")
    assert "test auroc" not in json.loads(plain.stdout)["shortcuts"]["examples"][0]
    assert entered(config) == ["gate", "pneumonia evaluate"]
    asked = call("data", "audit", dataset.root, "--test-folder", *options(config), "--json")
    assert "test auroc" in json.loads(asked.stdout)["shortcuts"]["examples"][0]
    assert entered(config) == ["gate", "pneumonia evaluate", "pneumonia data audit"]

    shown = call("openings", "--set", f"work={config.work}")
    assert shown.exit_code == 0
    for purpose in entered(config):
        assert f" {purpose} " in shown.stdout
    listed = json.loads(call("openings", "--set", f"work={config.work}", "--json").stdout)
    assert [each["purpose"] for each in listed] == entered(config)


def other_place(config: Config, folder: Path) -> Path:
    """Phantoms of another seed."""
    call("data", "phantom", str(folder), "--set", "phantom.seed=9", "--train", "16", "--test", "24", "--size", "64")
    return folder / "chest_xray" / "test"


def test_an_outside_set_is_registered_and_stands_first(pipeline: tuple[Config, Dataset, str], tmp_path: Path) -> None:
    config, dataset, model = pipeline
    place = other_place(config, tmp_path / "elsewhere")
    before = entered(config)
    done = call("evaluate", str(place), "--model", model, "--outside", "elsewhere", *options(config))
    assert done.exit_code == 0, done.stderr
    assert entered(config) == before, "it is no release set"
    from pneumonia.tracking.client import tracking_uri

    uri = tracking_uri(config)
    version = models.get(uri, config.registry.name, "champion")
    (found,) = outside.registered(uri, version)
    assert (found.name, sum(found.counts.values())) == ("elsewhere", 24)
    card = mlflow_client(uri).get_model_version(version.name, version.version).description
    assert card.index("elsewhere") < card.index("Metrics of its own data set")
    logged = mlflow_client(uri).get_run(version.run_id).data.metrics
    assert logged["outside_elsewhere_auroc"] == found.metrics["auroc"].value

    from tasks.train_model import train_model
    from tasks.validate_model import validate_model

    trained = train_model(dataset, config)
    again = validate_model(
        dataset,
        trained,
        exported(dataset, trained, config),
        config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"seed": 1})}),
    )
    page = Path(again.report).read_text()
    assert page.index("## Outside metrics") < page.index("## Metrics")


def test_images_of_the_data_set_are_no_outside_set(pipeline: tuple[Config, Dataset, str], tmp_path: Path) -> None:
    config, dataset, model = pipeline
    for folder, words in (("test", "of the release set"), ("train", "are in the data set that")):
        done = call("evaluate", f"{dataset.root}/{folder}", "--model", model, "--outside", "x", *options(config))
        assert done.exit_code == 1
        assert words in done.stderr
    place = other_place(config, tmp_path / "elsewhere")
    weights = next(Path(config.work).rglob("model.safetensors"))
    done = call("evaluate", str(place), "--model", str(weights), "--outside", "x", *options(config))
    assert "name one with --model models:/NAME/VERSION" in done.stderr
    assert "letters, digits" in call("evaluate", str(place), "--outside", "a b", *options(config)).stderr


def test_a_demo_s_openings_are_not_counted(work: Path) -> None:
    run(small(work))
    shown = call("openings", "--set", f"work={work}").stdout
    assert "opened 0 times, demos apart" in shown
    assert "gate (demo)" in shown


def test_nothing_was_opened(work: Path) -> None:
    assert "not opened yet" in call("openings", "--set", f"work={work}").stdout
