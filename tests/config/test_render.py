"""The configuration on paper."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pneumonia.config import render
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import PROFILES, Config
from pneumonia.config.section import Section
from tests.cli.console import call

ODD = 'a "quoted" C:\\path, ünïcode, # no comment, \t tab and \x7f'


@pytest.mark.parametrize("profile", PROFILES)
def test_every_form_says_the_same(profile: str) -> None:
    expected = resolve(profile).model_dump(mode="json")
    printed = {form: call("config", "--profile", profile, "--format", form).stdout for form in ("toml", "json", "yaml")}
    assert tomllib.loads(printed["toml"]) == expected
    assert json.loads(printed["json"]) == expected
    assert yaml.safe_load(printed["yaml"]) == expected
    assert call("config", "--profile", profile).stdout == printed["toml"]


def test_what_is_printed_can_be_used(tmp_path: Path) -> None:
    given = ("--profile", "full", "--set", "train.learning_rate=0.00002", "--set", "data.root=images")
    file = tmp_path / "mine.toml"
    file.write_text(call("config", *given).stdout)
    again = call("config", "--profile", "full", "--config", str(file))
    assert again.stdout == file.read_text()
    assert tomllib.loads(again.stdout)["train"]["learning_rate"] == 2e-5


@pytest.mark.parametrize("form", ["toml", "yaml"])
def test_every_field_is_described(form: str) -> None:
    text = " ".join(line.strip().removeprefix("# ") for line in call("config", "--format", form).stdout.splitlines())

    def check(section: type[Section]) -> None:
        for field in section.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                check(field.annotation)
            else:
                assert field.description in text

    check(Config)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-12, max_value=1.0))
def test_numbers_survive(number: float) -> None:
    config = Config.model_validate({"train": {"learning_rate": number}})
    assert tomllib.loads(render.toml(config))["train"]["learning_rate"] == number
    assert yaml.safe_load(render.yaml(config))["train"]["learning_rate"] == number


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.just(ODD))
def test_text_survives(text: str) -> None:
    config = Config.model_validate({"tracking": {"experiment": text}})
    assert tomllib.loads(render.toml(config))["tracking"]["experiment"] == text
    assert yaml.safe_load(render.yaml(config))["tracking"]["experiment"] == text
