"""`pneumonia feedback list`, `review` and `export`, and `pneumonia data ingest`."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from pneumonia.cli import feedback as commands
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from pneumonia.data.patient_key import Pseudonyms
from tests.cli.console import call
from tests.support.identified import PATIENT_ID, leaked
from tests.support.images import jpeg, picture, published
from tests.support.readers import answered, read


@pytest.fixture
def config(tmp_path: Path) -> Config:
    given = [f"work={tmp_path / 'work'}", f"data.root={published(tmp_path / 'set')}", "evaluation.bootstrap=200"]
    return resolve("fast", assignments=given, environment={})


@pytest.fixture
def given(config: Config, tmp_path: Path) -> tuple[str, ...]:
    return ("--set", f"work={config.work}", "--set", f"data.root={config.data.root}", "--set", "preprocess.size=64")


def test_events_are_listed_with_their_state_and_the_agreement(config: Config, given: tuple[str, ...]) -> None:
    disputed = answered(config, jpeg(picture(1)))
    read(config, disputed, "NORMAL", "PNEUMONIA")
    for seed in range(2, 6):
        read(config, answered(config, jpeg(picture(seed))), *(["NORMAL" if seed % 2 else "PNEUMONIA"] * 2))
    done = call("feedback", "list", *given)
    assert done.exit_code == 0
    assert f"{disputed.event_id}  1970-01-01T00:00:01Z  pneumonia 1  0.250 NORMAL  disputed: 2 label(s)" in done.stdout
    assert "settled: PNEUMONIA by 2 readers" in done.stdout
    assert "2 readers, 5 events with two labels or more: 0.80 (" in done.stdout
    assert "kappa" in done.stdout
    assert "Not a medical device" in done.stdout
    found = json.loads(call("feedback", "list", "--state", "disputed", "--json", *given).stdout)
    assert [event["event_id"] for event in found["events"]] == [disputed.event_id]
    assert found["agreement"]["share"]["value"] == 0.8
    assert json.loads(call("feedback", "list", "--name", "other", "--json", *given).stdout)["events"] == []


def test_an_empty_database_says_where_it_looked(config: Config, given: tuple[str, ...]) -> None:
    done = call("feedback", "list", *given)
    assert done.exit_code == 0
    assert "work/monitoring" in done.stderr
    assert "no event has labels of two readers" in done.stdout


def test_a_named_event_is_adjudicated_without_a_question(config: Config, given: tuple[str, ...]) -> None:
    disputed = answered(config, jpeg(picture(1)))
    read(config, disputed, "NORMAL", "PNEUMONIA")
    one = ("feedback", "review", "--event", disputed.event_id, "--label", "PNEUMONIA")
    done = call(*one, "--by", "Dr Roe", "--note", "left base", *given)
    assert (done.exit_code, done.stdout) == (0, "1 label(s) settled by Dr Roe\n")
    found = json.loads(call("feedback", "list", "--json", *given).stdout)["events"]
    assert [(event["label"], event["how"]) for event in found] == [("PNEUMONIA", "adjudicator")]
    refused = call(*one, "--by", "reader 0", *given)
    assert refused.exit_code == 1
    assert "took no part" in refused.stderr
    unknown = call("feedback", "review", "--event", "0" * 32, "--label", "NORMAL", "--by", "Dr Roe", *given)
    assert unknown.exit_code == 1
    assert "there is no event" in unknown.stderr
    assert call("feedback", "review", "--event", disputed.event_id, "--by", "Dr Roe", *given).exit_code == 2
    assert call("feedback", "review", "--by", "Dr Roe", *given).exit_code == 2  # there is no terminal


def test_disputed_events_are_asked_one_after_another(
    config: Config, given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [answered(config, jpeg(picture(seed)), at=float(seed)) for seed in range(1, 5)]
    for event in events[:3]:
        read(config, event, "NORMAL", "PNEUMONIA")
    read(config, events[3], "NORMAL")
    monkeypatch.setattr(commands, "_is_terminal", lambda: True)
    typed = iter(["p", "clear", "skip", "perhaps", "normal", ""])
    asked: list[str] = []

    def prompt(text: str, **_: object) -> str:
        asked.append(text)
        return next(typed)

    monkeypatch.setattr("typer.prompt", prompt)
    done = call("feedback", "review", "--by", "Dr Roe", "--open", "--json", *given)
    assert done.exit_code == 0
    assert [(said["event_id"], said["label"], said["note"]) for said in json.loads(done.stdout)] == [
        (events[0].event_id, "PNEUMONIA", "clear"),
        (events[3].event_id, "NORMAL", ""),
    ]
    assert re.search(r"reader reader-[0-9a-f]{16}: agree, NORMAL; ''", done.stderr)
    assert f"work/monitoring/{events[0].image}" in done.stderr
    assert len(asked) == 6


@pytest.mark.parametrize("to", [None, "labels"])
def test_settled_labels_are_exported_without_identifiers(
    config: Config, given: tuple[str, ...], tmp_path: Path, to: str | None
) -> None:
    who = Pseudonyms(Path(config.work)).of(PATIENT_ID)
    settled = answered(config, jpeg(picture(1)), patient=who)
    read(config, settled, "NORMAL", "NORMAL")
    read(config, answered(config, jpeg(picture(2))), "NORMAL")
    place = () if to is None else ("--to", str(tmp_path / to))
    for form in ("csv", "json"):
        done = call("feedback", "export", "--format", form, *place, *given)
        assert done.exit_code == 0
        text = done.stdout if to is None else (tmp_path / to).read_text()
        rows = json.loads(text) if form == "json" else list(csv.DictReader(io.StringIO(text)))
        assert [(row["event_id"], row["label"], row["how"], row["patient"]) for row in rows] == [
            (settled.event_id, "NORMAL", "readers", who)
        ]
        assert leaked(text) == []
        assert "reader 0" not in text


def test_ingestion_says_its_counts(config: Config, given: tuple[str, ...], tmp_path: Path) -> None:
    read(config, answered(config, jpeg(picture(101))), "NORMAL", "NORMAL")
    read(config, answered(config, None), "NORMAL", "NORMAL")
    read(config, answered(config, jpeg(picture(102))), "NORMAL", "PNEUMONIA")
    target = ("--set", f"monitoring.data_root={tmp_path / 'next'}")
    done = call("data", "ingest", *target, *given)
    assert done.exit_code == 0, done.stderr
    assert f"{tmp_path / 'next'}: 1 NORMAL, 0 PNEUMONIA added" in done.stdout
    assert "left out: 1 no kept image" in done.stdout
    assert "without a settled label: 0 open, 1 disputed" in done.stdout
    found = json.loads(call("data", "ingest", "--commit", "--json", *target, *given).stdout)
    assert (found["added"], found["total"]) == ({"NORMAL": 0, "PNEUMONIA": 0}, {"NORMAL": 1, "PNEUMONIA": 0})
    assert "nothing was committed" in found["notes"][0]


def test_an_ingestion_with_a_leak_ends_with_1(config: Config, given: tuple[str, ...]) -> None:
    one = next((Path(config.data.root) / "test" / "NORMAL").iterdir())
    (Path(config.data.root) / "train" / "NORMAL" / "copy.jpeg").write_bytes(one.read_bytes())
    done = call("data", "ingest", *given)
    assert done.exit_code == 1
    assert "the pipeline would stop: duplicate_across_splits" in done.stderr
