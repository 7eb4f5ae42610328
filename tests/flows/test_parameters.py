"""A configuration that the flow refuses, given in Python: neither logged nor stored."""

from __future__ import annotations

import logging

import pytest
from prefect import flow, flow_engine
from prefect.exceptions import ParameterTypeError
from prefect.logging.configuration import setup_logging

from flows.parameters import guarded
from flows.pipeline import pipeline
from flows.score_archive import scored_archive
from pneumonia.config.schema import Config
from pneumonia.errors import ConfigError

SECRET = "s3cr3t-w0rd"


@pytest.mark.parametrize(
    "config",
    [
        {"tracking": {"uri": f"http://u:{SECRET}@h"}},
        {"tracking": {"uri": f" u:{SECRET}@h"}},
        {"tracking": f"u:{SECRET}@h"},
        {"work": f"https://u:{SECRET}@h", "train": {"epochs": 0}},
    ],
)
def test_a_refused_configuration_is_not_logged_and_no_run_is_made(
    config: dict[str, object], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made: list[object] = []
    monkeypatch.setattr(flow_engine, "run_flow", lambda *given, **named: made.append((given, named)))
    setup_logging()
    records: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("prefect.flows").addHandler(listener)
    try:
        with pytest.raises(ParameterTypeError) as refused:
            pipeline(config, return_state=True)
        with pytest.raises(ParameterTypeError):  # as a worker does, with what its server has
            pipeline.validate_parameters({"config": config, "fresh": False})
    finally:
        logging.getLogger("prefect.flows").removeHandler(listener)
    shown = capfd.readouterr()
    assert made == []
    assert not any(SECRET in text for text in (str(refused.value), shown.out, shown.err, *records))


def test_a_flow_is_the_same_otherwise() -> None:
    @flow(name="named", persist_result=False)
    def plain(config: Config, fresh: bool = False) -> str:
        """Do."""
        return config.profile + str(fresh)

    made = guarded(plain)
    assert (made.name, made.description, made.persist_result) == ("named", "Do.", False)
    assert made.parameters == plain.parameters
    given = made.validate_parameters({"config": {"profile": "full"}, "fresh": True})
    assert given == {"config": Config(profile="full"), "fresh": True}


def test_an_address_with_a_password_makes_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_engine, "run_flow", lambda *_, **__: pytest.fail("a run was made"))
    for given in ({"source": f"s3://u:{SECRET}@h/in"}, {"out": f"gs://b/out?token={SECRET}"}):
        with pytest.raises(ConfigError) as refused:
            scored_archive(Config(), **({"source": "in", "out": "out.parquet"} | given))
        assert SECRET not in str(refused.value)
