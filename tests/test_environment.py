"""What a process meets: proxies, an account without a name or a home, certificates that are not there."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx
import pytest
import requests

from pneumonia import environment
from pneumonia.data.download.http import download
from pneumonia.environment import account, bypass_proxies_for_loopback, check_certificates
from pneumonia.errors import ConfigError
from tests.support.answers import Answer
from tests.support.mlflow_server import free_port

LOCAL = "localhost,127.0.0.1,::1"
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, "")  # so that what the test sets is undone
            monkeypatch.delenv(spelling)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_this_machine_is_reached_past_every_proxy(name: str) -> None:
    variables = {name: "http://proxy:3128"}
    bypass_proxies_for_loopback(variables)
    assert variables == {name: "http://proxy:3128", "no_proxy": LOCAL, "NO_PROXY": LOCAL}


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({"NO_PROXY": "corp.example, 10.0.0.0/8"}, f"corp.example,10.0.0.0/8,{LOCAL}"),
        ({"no_proxy": "corp.example"}, f"corp.example,{LOCAL}"),
        ({"no_proxy": "lower", "NO_PROXY": "upper"}, f"lower,{LOCAL}"),
        ({"no_proxy": "", "NO_PROXY": "upper"}, f"upper,{LOCAL}"),
        ({"NO_PROXY": "127.0.0.1,localhost"}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_what_the_user_excludes_stays(given: dict[str, str], becomes: str) -> None:
    variables = {"HTTP_PROXY": "http://proxy:3128", **given}
    bypass_proxies_for_loopback(variables)
    assert variables["no_proxy"] == variables["NO_PROXY"] == becomes


def test_without_a_proxy_nothing_is_set() -> None:
    variables = {"HTTP_PROXY": "", "NO_PROXY": "corp.example"}
    bypass_proxies_for_loopback(variables)
    assert variables == {"HTTP_PROXY": "", "NO_PROXY": "corp.example"}


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_libraries_reach_this_machine_directly_and_others_through_the_proxy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Answer(200, "here") as server, Answer(200, "proxy") as proxy:
        monkeypatch.setenv(name, proxy.url)
        bypass_proxies_for_loopback(os.environ)
        port = server.url.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost"):
            url = f"http://{host}:{port}/"
            assert (requests.get(url, timeout=5).text, httpx.get(url, timeout=5).text) == ("here", "here")
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.read() == b"here"
        far = "http://tracking.example/"
        assert (requests.get(far, timeout=5).text, httpx.get(far, timeout=5).text) == ("proxy", "proxy")
    for url in ("http://[::1]:5000/", "https://[::1]:5000/"):
        assert requests.utils.get_environ_proxies(url) == {}


def test_a_numeric_user_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    assert account() == f"uid {os.getuid()}"


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read \\(No such file"), ("text", "no certificates in PEM format")]
)
@pytest.mark.parametrize("name", [*environment.REQUESTS_CERTIFICATES, *environment.HTTPX_CERTIFICATES])
def test_certificates_that_cannot_be_used_name_their_variable(
    name: str, content: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(name, str(path))
    with pytest.raises(ConfigError, match=f"{name}={path}: .*{told}"):
        check_certificates([name])


def test_a_download_without_its_certificates_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(ConfigError, match=r"CURL_CA_BUNDLE=/nowhere/ca\.pem"):
        download("https://127.0.0.1:1/archive.zip", tmp_path / "archive.zip")
    assert list(tmp_path.iterdir()) == []


def test_certificates_that_can_be_used_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())
    monkeypatch.setenv("SSL_CERT_DIR", "/")
    check_certificates(["REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "CURL_CA_BUNDLE"])


# The script of a user without an entry in the password file, as a container's numeric user is.
NAMELESS = """
import os, pwd, sys
def unknown(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
from pneumonia.cli.main import main
sys.argv = ["pneumonia", *sys.argv[1:]]
main()
"""


@pytest.mark.integration
def test_a_numeric_user_without_home_asks_a_server(tmp_path: Path) -> None:
    hidden = {"HOME", "USER", "LOGNAME", "LNAME", "USERNAME"}
    variables = {name: text for name, text in os.environ.items() if name not in hidden}
    variables["MLFLOW_TRACKING_URI"] = url = f"http://127.0.0.1:{free_port()}"
    variables["HTTP_PROXY"] = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", NAMELESS, "history"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {url}: the tracking server cannot be reached (Connection refused)")
    assert "Traceback" not in done.stderr
