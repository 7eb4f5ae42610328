"""What a person pastes: its files, and the start script run with stand-ins for the engine and for cloud services."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.cloud.cloud_init import FILE, render
from tests.deployments.stack import ROOT

pytestmark = pytest.mark.integration
RELEASE = "v9.9.9"
SECRET = {"pneumonia-PNEUMONIA_API_KEY": "of-the-cloud", "pneumonia-POSTGRES_PASSWORD": "abc"}
# Stands for Docker's client and for make's other tools: it notes what it is asked for.
DOCKER = '#!/bin/sh\necho "$*" >>"$ASKED"\n'


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


class Machine:
    """A new machine: the files of cloud-init below a folder, a repository with a tag, a stand-in for Docker."""

    def __init__(self, folder: Path, secrets_from: str = "") -> None:
        self.folder, self.asked = folder, folder / "asked"
        repository = folder / "repository"
        repository.mkdir()
        for name in ("Makefile", "docker-compose.yml", "deployments"):
            subprocess.run(["cp", "-r", ROOT / name, repository], check=True, timeout=60)
        git(repository, "init", "--quiet")
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", "release")
        git(repository, "tag", RELEASE)
        (folder / "bin").mkdir()
        (folder / "bin/docker").write_text(DOCKER)
        (folder / "bin/docker").chmod(0o755)
        settings = {"DVC_REMOTE_URL": "s3://a-bucket/with=sign", "SERVING_PORT": "8123"}
        self.config = yaml.safe_load(render(f"file://{repository}", RELEASE, secrets_from, settings))
        for file in self.config["write_files"]:
            path = folder / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"].replace("/etc/pneumonia", f"{folder}/etc/pneumonia"))
            path.chmod(int(file["permissions"], 8))

    def start(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run what runcmd runs; the script takes its folder from a variable."""
        return subprocess.run(
            [self.folder / self.config["runcmd"][-1][0].lstrip("/")],
            env={
                "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "FOLDER": str(self.folder / "opt"),
                "ASKED": str(self.asked),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def settings(self) -> dict[str, str]:
        lines = (self.folder / "opt/.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_file_is_what_cloud_init_takes() -> None:
    text = FILE.read_text()
    assert text.startswith("#cloud-config\n")
    assert len(text.encode()) < 16384, "AWS takes no more"
    found = yaml.safe_load(text)
    assert set(found) == {"package_update", "packages", "write_files", "runcmd"}
    assert {file["path"] for file in found["write_files"]} == {
        "/etc/pneumonia/release", "/etc/pneumonia/settings", "/usr/local/sbin/pneumonia-start",
    }  # fmt: skip
    assert found["runcmd"][-1] == ["/usr/local/sbin/pneumonia-start"]


def test_a_machine_clones_the_tag_makes_its_secrets_and_starts_the_stack(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    done = machine.start()
    assert done.returncode == 0, done.stderr
    env_file = tmp_path / "opt/.env"
    assert env_file.stat().st_mode & 0o777 == 0o600
    settings = machine.settings()
    assert settings["DVC_REMOTE_URL"] == "s3://a-bucket/with=sign"
    assert settings["SERVING_PORT"] == "8123"
    assert settings["PRIVATE_ADDRESS"].count(".") == 3
    assert len(settings["PNEUMONIA_API_KEY"]) >= 24
    asked = machine.asked.read_text().splitlines()
    assert any(" build" in line for line in asked)
    assert any(" up --detach --wait" in line for line in asked)
    assert "Service     http://127.0.0.1:8123" in done.stdout
    assert not any(value in done.stdout for name, value in settings.items() if name.endswith(("_PASSWORD", "_KEY")))

    before = env_file.read_text()
    assert machine.start().returncode == 0, "it may be run again"
    assert env_file.read_text() == before


# Stands for a git that is killed in the middle of its first clone.
KILLED = """#!/bin/sh
mkdir -p "$(eval echo '$'$#)/.git"
rm "$0"
kill -9 $PPID
"""


def test_a_start_that_was_killed_while_cloning_goes_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    git = tmp_path / "bin/git"
    git.write_text(KILLED)
    git.chmod(0o755)
    assert machine.start().returncode == -9
    assert not git.exists()
    again = machine.start()
    assert again.returncode == 0, again.stderr
    assert [path.name for path in tmp_path.glob("opt*")] == ["opt"]


class SecretManager(BaseHTTPRequestHandler):
    """Google's metadata server and Secret Manager, as far as the script asks them."""

    def do_GET(self) -> None:
        name = self.path.partition("/secrets/")[2].partition("/")[0]
        answer: dict[str, Any] = {"access_token": "a-token"}
        if name:
            allowed = self.headers["Authorization"] == "Bearer a-token" and name in SECRET
            answer = {"payload": {"data": base64.b64encode(SECRET[name].encode()).decode()}} if allowed else {}
        elif self.headers["Metadata-Flavor"] != "Google":
            answer = {}
        self.send_response(200 if answer else 403)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def google() -> Iterator[dict[str, str]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), SecretManager) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield {"METADATA": f"{address}/token", "SECRETS": f"{address}/v1", "NO_PROXY": "127.0.0.1"}
        server.shutdown()


def test_a_secret_managers_secrets_take_the_place_of_made_ones(google: dict[str, str], tmp_path: Path) -> None:
    machine = Machine(tmp_path, f"gcp my-project {' '.join(SECRET)}")
    done = machine.start(**google)
    assert done.returncode == 0, done.stderr
    settings = machine.settings()
    assert (settings["PNEUMONIA_API_KEY"], settings["POSTGRES_PASSWORD"]) == ("of-the-cloud", "abc")
    assert len(settings["MLFLOW_DB_PASSWORD"]) == 48, "what no manager holds is made here"


def test_where_a_secret_cannot_be_read_nothing_starts(google: dict[str, str], tmp_path: Path) -> None:
    machine = Machine(tmp_path, "gcp my-project pneumonia-PNEUMONIA_API_KEY pneumonia-ANOTHER")
    done = machine.start(**google)
    assert done.returncode != 0
    assert "pneumonia-ANOTHER: cannot be read (403 Forbidden); " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "opt/.env").exists()
    assert not machine.asked.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "fetch_secrets.py: what to fetch is missing; fetch_secrets.py aws REGION NAME… or gcp PROJECT NAME…"),
        (
            "azure place pneumonia-A",
            "azure: no cloud that is known here; fetch_secrets.py aws REGION NAME… or gcp PROJECT",
        ),
        ("gcp my-project PASSWORD", "PASSWORD: has no hyphen before the variable's name; such as pneumonia-POSTGRES_"),
        ("gcp my-project pneumonia-A", "the metadata server: cannot be reached (Connection refused); "),
    ],
)
def test_what_cannot_be_fetched_is_one_line_with_its_remedy(arguments: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "deployments/cloud/fetch_secrets.py", *arguments.split()],
        env={"METADATA": "http://127.0.0.1:9/token", "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(words)


def test_what_amazon_refuses_is_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "boto3.py").write_text(
        "class Away(Exception): pass\n"
        "def client(*_, **__): return type('Client', (), {'get_secret_value': refuse})()\n"
        "def refuse(*_, **__): raise Away('Unable to locate credentials')\n"
    )
    done = subprocess.run(
        [sys.executable, ROOT / "deployments/cloud/fetch_secrets.py", "aws", "eu-central-1", "pneumonia-A"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("pneumonia-A: cannot be read (Away: Unable to locate credentials); ")
