"""Passwords in addresses: recognised, refused with the remedy, removed from messages."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from pneumonia.boundary import explain
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config, TrackingConfig
from pneumonia.credentials import dereferenced, holds_password, redacted, shown
from pneumonia.errors import ConfigError, DataError, TrackingError
from pneumonia.tracking.client import address, check_store, tracking_uri
from tests.support.runs import settings

SECRET = "s3cr3t-w0rd"
HOLDING = (
    f"http://me:{SECRET}@mlflow:5000",
    f"HTTPS://{SECRET}@mlflow/path",
    f"http://me:{SECRET}#/@mlflow:5000",
    f"postgresql://me:{SECRET}@db/mlflow",
    f"postgresql+psycopg2://me:{SECRET}/?x@db:5432/mlflow",
    f"mysql://:{SECRET}@db/mlflow",
    f"mssql+pyodbc://me:{SECRET}@db/mlflow?driver=x",
    f"postgresql://db/mlflow?user=me&password={SECRET}",
    f"mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3D{SECRET}",
    f"mssql+pyodbc://db/mlflow;UID=me;PWD={SECRET}",
    *(f"http://h:5000/?{key}={SECRET}" for key in ("api_key", "apikey", "user_password", "%70assword", "Access_Token")),
    f"http://h:5000/?a=b&Passwd={SECRET}",
    f"http://h:5000/#token={SECRET}",
    f"u:{SECRET}@127.0.0.1:5000",
    f"s:{SECRET}@127.0.0.1:5000",
    f"fiona:{SECRET}@h",
    f"{SECRET}@127.0.0.1:5000",
    f"http:/u:{SECRET}@127.0.0.1:5000",
    f"http:u:{SECRET}@127.0.0.1:5000",
    f"http//u:{SECRET}@127.0.0.1:5000",
    f"postgres//u:{SECRET}@h/db",
    f"://u:{SECRET}@h/db",
)
BLANKS = (" ", "\t", "\n", "\r\n", "\u00a0", "\u200b", "\ufeff", "\u2003", "\x00")
WITHOUT = (
    "auto", "env:NAME", "http://mlflow:5000", "https://mlflow/a/b", "postgresql://me@db/mlflow", "postgresql://db:5432/m",
    "sqlite:////home/me@site/a:b@c/mlflow.db", "file:///home/me@site", "postgresql://db/m?sslmode=require",
    "postgresql://db/m?passfile=/home/me/.pgpass&sslkey=/k", "mssql+pyodbc://db/m?driver=ODBC+Driver+18+for+SQL+Server",
)  # fmt: skip


@pytest.mark.parametrize("uri", HOLDING)
def test_a_password_is_refused_with_the_ways_to_pass_it_and_not_repeated(uri: str) -> None:
    assert holds_password(uri)
    for arguments in ({"assignments": [f"tracking.uri={uri}"]}, {"environment": {"PNEUMONIA_TRACKING__URI": uri}}):
        with pytest.raises(ConfigError) as refused:
            resolve("fast", **({"environment": {}} | arguments))  # type: ignore[arg-type]
        for way in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "netrc", "PGPASSFILE", "env:NAME"):
            assert way in str(refused.value)
        assert SECRET not in str(refused.value)
    with pytest.raises(ValidationError) as invalid:  # as Prefect shows it
        Config.model_validate({"tracking": {"uri": uri}})
    assert SECRET not in str(invalid.value)


@pytest.mark.parametrize("blank", BLANKS)
def test_a_blank_around_or_in_an_address_hides_no_password(
    blank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text("[tracking]\nuri = " + json.dumps(f"{blank}http://u:{SECRET}@h"))
    for uri in (f"{blank}http://u:{SECRET}@h", f"{blank}{blank}http://{SECRET}@h", f"http:{blank}//u:{SECRET}@h"):
        for arguments in ({"file": tmp_path / "c.toml"}, {"environment": {"PNEUMONIA_TRACKING__URI": uri}}):
            with pytest.raises(ConfigError) as refused:
                resolve("fast", **({"environment": {}} | arguments))  # type: ignore[arg-type]
            assert SECRET not in str(refused.value)
        with pytest.raises(ValidationError):
            TrackingConfig(uri=uri)
        if blank != "\x00":  # which no variable can hold
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
            with pytest.raises(ConfigError, match="must not contain user and password") as refused:
                tracking_uri(settings(tmp_path))
            assert SECRET not in str(refused.value)
    assert TrackingConfig(uri=f"{blank}http://h:5000{blank}").uri == "http://h:5000"


def test_what_is_meant_for_a_key_or_a_folder_is_not_repeated() -> None:
    for assignment in (
        f"tracking=u:{SECRET}@h",
        f"tracking={SECRET}",
        f"tracking.uri u:{SECRET}@h",
        f"data.root=https://u:{SECRET}@nas/share",
        f"work=https://{SECRET}@nas/share",
        f"registry.name=u:{SECRET}@h",
    ):
        with pytest.raises(ConfigError) as refused:
            resolve("fast", assignments=[assignment], environment={})
        assert SECRET not in str(refused.value)
    assert SECRET not in explain(DataError(f"https:/u:{SECRET}@nas/share: does not exist"))[0]


@pytest.mark.parametrize("uri", WITHOUT)
def test_an_address_without_a_password_is_taken(uri: str) -> None:
    assert not holds_password(uri)
    assert TrackingConfig(uri=uri).uri == uri
    assert redacted(uri) == uri


def test_a_mistyped_key_or_assignment_repeats_no_password(tmp_path: Path) -> None:
    for assignment in (f"tracking.url={HOLDING[0]}", f"tracking.uri {HOLDING[0]}", f"train.epochs={HOLDING[3]}"):
        with pytest.raises(ConfigError) as refused:
            resolve("fast", assignments=[assignment], environment={})
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize("uri", [*HOLDING, *WITHOUT, None])
def test_the_forms_of_airflow_and_prefect_refuse_it_too(uri: str | None) -> None:
    (refusal,) = (
        part["not"] for name, part in TrackingConfig.model_json_schema()["properties"].items() if name == "uri"
    )
    refused = not jsonschema.Draft202012Validator({"not": refusal}).is_valid(uri)
    assert refused is (uri in HOLDING and not str(uri).startswith("HTTPS"))  # a schema knows no flags


@pytest.mark.parametrize("uri", HOLDING)
def test_messages_are_redacted(uri: str) -> None:
    assert SECRET not in shown(uri)
    if "//" in uri and uri.partition("//")[0].endswith(":") and uri[0] != ":":  # in a text others look like words
        assert SECRET not in redacted(f"could not open {uri}: no answer, {uri!r}")


def test_the_environments_address_is_held_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", HOLDING[0])
    with pytest.raises(
        ConfigError, match=r"MLFLOW_TRACKING_URI=http://\*\*\*@mlflow:5000.*MLFLOW_TRACKING_USERNAME"
    ) as told:
        tracking_uri(settings(tmp_path))
    assert SECRET not in str(told.value)


def test_a_reference_is_resolved_at_use_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", f"http://me:{SECRET}%40@mlflow:5000/at")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")  # restored at the end
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    config = settings(tmp_path, "env:MINE")
    assert tracking_uri(config) == "env:MINE"
    assert SECRET not in config.model_dump_json()
    assert address("env:MINE") == "http://mlflow:5000/at"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", f"{SECRET}@")


@pytest.mark.parametrize("value", [None, "", "env:OTHER"])
def test_a_reference_to_nothing_is_told(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINE", raising=False)
    if value is not None:
        monkeypatch.setenv("MINE", value)
    with pytest.raises(ConfigError, match="the variable MINE holds no URI; set it"):
        dereferenced("env:MINE")
    with pytest.raises(ConfigError, match="write env:NAME"):
        resolve("fast", assignments=["tracking.uri=env:1 2"], environment={})


@pytest.mark.integration  # imports MLflow, which asks the system for its name
@pytest.mark.parametrize(
    "place", ["postgresql://me:{}@127.0.0.1:9/x", "nonsense://me:{}@h/x", "postgresql://me:{}@[h/x"]
)
def test_a_database_that_cannot_be_opened_is_told_without_its_password(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", place.format(SECRET))
    with pytest.raises((TrackingError, ConfigError)) as told:
        check_store("env:MINE")
    error: BaseException | None = told.value
    while error is not None:  # the causes too: a traceback prints them
        assert SECRET not in f"{error} {error.args}"
        error = error.__cause__ or error.__context__
