"""The whole loop under a real Prefect server: a stream that changes, an alarm, a retraining, and what the gate says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.monitor import monitor
from pneumonia.config.schema import Config
from pneumonia.monitoring import loops
from pneumonia.monitoring.database import Database
from pneumonia.registry import models
from pneumonia.tracking.client import mlflow_client, tracking_uri
from pneumonia.tracking.run_tags import TRACE_TAG
from tests.support.looping import NAME, RIGHT, draw, make_data, place_of_use, settings
from tests.support.steps import run

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_prefect")]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("films") / "chest_xray", train=520)


def began(work: Path, films: Path, margin: float) -> Config:
    """Make the first champion, of a copy of the data."""
    import shutil

    root = work / "films"
    shutil.copytree(films, root)
    config = settings(work, root, margin=margin)
    _, _, _, promotion = run(config)
    assert promotion.promoted, promotion.reason
    return config


def test_a_stream_changes_and_a_better_model_answers(work: Path, films: Path) -> None:
    config = began(work, films, margin=0.5)
    with place_of_use(config) as place:
        place.stream(*draw(1, 250))
        check, decision, result = monitor(config)
        assert (decision.action, result) == ("none", None), check.words

        strange = draw(2, 260, changed=True, side=RIGHT)
        place.stream(*strange)
        check, decision, result = monitor(config)
        assert check.verdict is not None
        assert check.verdict.kind in ("acquisition", "case mix"), check.words  # both have changed
        assert (decision.action, result) == ("notify", None)  # nobody has said yet what the images show
        assert "settled labels" in decision.reason

        place.stream(*draw(3, 460, changed=True, side=RIGHT), readers=2)
        before = place.accuracy(*strange)
        check, decision, result = monitor(config, "alert-ModelDrift-1")
        assert decision.action == "retrain", decision.reason
        assert result is not None
        assert (result.outcome, result.new_version) == ("promoted", "2"), result.words
        check_traced(config, result.trace_id)
        assert check.run_id is not None
        looked = mlflow_client(tracking_uri(config)).get_run(check.run_id).data.tags
        assert (looked["trigger"], looked[TRACE_TAG]) == ("alert-ModelDrift-1", result.trace_id)

        place.follower.look()
        assert place.service.serving().model.version == "2"
        assert place.accuracy(*strange) > before + 0.2
        place.stream(*draw(4, 250, changed=True, side=RIGHT))
        check, decision, _ = monitor(config)
        assert check.verdict is not None
        assert not check.verdict.alarm, check.words
        assert decision.action == "none"


def check_traced(config: Config, trace: str) -> None:
    """One id leads from the loop to the run and to the ledger; the test folder is as it was."""
    uri = tracking_uri(config)
    version = models.champion(uri, NAME)
    assert version is not None
    assert mlflow_client(uri).get_run(version.run_id).data.tags[TRACE_TAG] == trace
    assert f"loop {trace}" in models.history(uri, NAME)[-1].why
    assert not list(Path(config.data.root).glob("test/**/site_*"))
    assert len(list(Path(config.data.root).glob("train/**/site_*"))) > 100


@pytest.mark.long
def test_a_retraining_that_is_no_better_is_refused_and_the_old_one_stays(work: Path, films: Path) -> None:
    config = began(work, films, margin=0.0001)
    with place_of_use(config) as place:
        place.stream(*draw(5, 250, changed=True), readers=2)
        check, decision, result = monitor(config)
        assert decision.action == "retrain", check.words
        assert result is not None
        assert (result.outcome, result.new_version) == ("refused", None)
        champion = models.champion(tracking_uri(config), NAME)
        assert champion is not None
        assert champion.version == "1"
        assert len(models.versions(tracking_uri(config), NAME)) == 1

        again, decision, result = monitor(config)  # the alarm stays, and the loop cools down
        assert again.verdict is not None
        assert again.verdict.alarm
        assert (decision.action, result) == ("notify", None)
        assert "about this alarm" in decision.reason
        monitoring = place.service.monitoring
        assert monitoring is not None
        monitoring.look()
        shown = place.client.get("/metrics").text
        assert 'pneumonia_loops{action="retrain",outcome="refused"} 1.0' in shown
        assert "pneumonia_drift_alarm 1.0" in shown
    database = Database.of(config)
    (loop,) = loops.last_loops(database, NAME, 10)
    database.close()
    assert json.loads(loop.model_dump_json())["outcome"] == "refused"
