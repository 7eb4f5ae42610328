"""A change of prevalence is answered with a new operating point: another version, the same network, the same gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.errors import DataError
from pneumonia.records.model import read_record
from pneumonia.registry import models
from pneumonia.tracking.client import tracking_uri
from pneumonia.tracking.run_tags import TRACE_TAG
from tasks.decide_action import decide_action
from tasks.detect_drift import detect_drift
from tasks.finish_loop import finish_loop
from tasks.prepare_data import prepare_data
from tasks.recalibrate_model import recalibrate_model
from tasks.train_model import train_model
from tasks.validate_model import validate_model
from tests.support.looping import NAME, draw, make_data, place_of_use, settings
from tests.support.steps import exported, promoted, run

pytestmark = pytest.mark.integration


def test_fewer_positives_make_a_new_operating_point_of_the_same_network(work: Path) -> None:
    config = settings(work, make_data(work / "films", train=400), "monitoring.min_labels=15", margin=0.9)
    _, first, _, promotion = run(config)
    assert promotion.promoted
    with place_of_use(config) as place:
        place.stream(*draw(21, 260, share=0.1), readers=2)
    check = detect_drift(config)
    assert check.verdict is not None
    assert check.verdict.kind == "prevalence", check.words
    assert check.verdict.prevalence is not None
    assert check.verdict.prevalence.value < 0.3
    assert check.verdict.labels >= 250
    decision = decide_action(check, config, "a run")
    assert decision.action == "recalibrate", decision.reason

    changed = recalibrate_model(decision, config)
    point = Config.model_validate(changed.settings).operating_point
    assert not point.calibrate
    assert (point.temperature, point.bias) != (1.0, 0.0)
    again = Config.model_validate(changed.settings)
    images = prepare_data(again)
    second = train_model(images, again, tags={TRACE_TAG: decision.trace_id or ""})
    assert second.training_key == first.training_key
    assert second.finished_at == first.finished_at  # nothing was trained
    assert second.key != first.key
    record = read_record(Path(second.weights))
    assert record.threshold == point.threshold
    assert record.calibration == {
        "temperature": point.temperature, "bias": point.bias, "threshold": point.threshold,
    }  # fmt: skip
    graphs = exported(images, second, again)
    result = promoted(images, second, validate_model(images, second, graphs, again), again)
    assert result.promoted, result.reason
    assert finish_loop(decision, config).outcome == "promoted"
    champion = models.champion(tracking_uri(config), NAME)
    assert champion is not None
    assert champion.version == "2"
    with pytest.raises(DataError, match="is not champion any more"):
        recalibrate_model(decision, config)
