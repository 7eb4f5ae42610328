"""Where keys come from, and who may be reached without any."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pneumonia.config.service import ServingConfig
from pneumonia.errors import ConfigError
from pneumonia.serving.keys import METRICS_VARIABLE, VARIABLE, Keys, is_loopback, load_keys
from pneumonia.serving.problems import Problem


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def accepts(keys: Keys, key: str) -> bool:
    try:
        keys.check({b"x-api-key": key.encode()})
    except Problem:
        return False
    return True


def test_keys_come_from_the_file_and_the_variable(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the clinic\n{digest('one')}  # Ann\n\n{digest('two').upper()}\n")
    keys = load_keys(ServingConfig(host="0.0.0.0", keys_file=str(path)), {VARIABLE: "three\n"})  # noqa: S104
    assert [accepts(keys, key) for key in ("one", "two", "three", "four", "", digest("one"))] == [True] * 3 + [
        False
    ] * 3


@pytest.mark.parametrize("content", ["", "# none\n", "my secret key\n", digest("one")[:-1]])
def test_a_file_without_usable_keys_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(ConfigError, match="sha256sum") as found:
        load_keys(ServingConfig(keys_file=str(path)), {})
    assert "secret" not in str(found.value)


def test_a_missing_file_and_an_empty_variable_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_keys(ServingConfig(keys_file=str(tmp_path / "none")), {})
    with pytest.raises(ConfigError, match=VARIABLE):
        load_keys(ServingConfig(), {VARIABLE: " "})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])  # noqa: S104
def test_without_keys_only_loopback_is_listened_on(host: str) -> None:
    assert not is_loopback(host)
    if host:
        with pytest.raises(ConfigError, match="API keys"):
            load_keys(ServingConfig(host=host), {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert not load_keys(ServingConfig(host=host), {})


def test_an_allowance_fills_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("pneumonia.serving.keys.time.monotonic", lambda: now[0])
    keys = Keys([hashlib.sha256(b"one").digest()], rate=60)
    assert sum(accepts(keys, "one") for _ in range(100)) == 60
    now[0] += 2
    assert sum(accepts(keys, "one") for _ in range(100)) == 2
    now[0] += 3600
    assert sum(accepts(keys, "one") for _ in range(100)) == 60


def test_the_key_of_the_metrics_opens_the_metrics_alone(tmp_path: Path) -> None:
    keys = load_keys(ServingConfig(rate=1), {VARIABLE: "one", METRICS_VARIABLE: "of prometheus\n"})
    given = {b"authorization": b"Bearer of prometheus"}
    for _ in range(5):  # whatever the rate of the others
        keys.check(given, "/metrics")
    for path in ("", "/", "/v1/predict", "/metrics/", "/v1/model", "/static/../metrics"):
        with pytest.raises(Problem):
            keys.check(given, path)
    keys.check({b"x-api-key": b"one"}, "/metrics")
    with pytest.raises(Problem):
        keys.check({b"x-api-key": b"two"}, "/metrics")


def test_the_key_of_the_metrics_is_a_key_of_its_own() -> None:
    for value, words in ((" ", "is empty"), ("one", "set it to another")):
        with pytest.raises(ConfigError, match=f"{METRICS_VARIABLE}: .*{words}"):
            load_keys(ServingConfig(), {VARIABLE: "one", METRICS_VARIABLE: value})
    with pytest.raises(ConfigError, match="API keys"):  # it alone lets nobody else in
        load_keys(ServingConfig(host="0.0.0.0"), {METRICS_VARIABLE: "of prometheus"})  # noqa: S104
