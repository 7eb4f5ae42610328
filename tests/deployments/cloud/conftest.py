"""Fixtures of the clouds: the environment of the tools that check them, and the templates, made once a session."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import once
from tests.deployments.stack import ROOT

DELIVERY = ROOT / ".venv-delivery/bin"
SECONDS = 300


@dataclass(frozen=True)
class Tools:
    """The environment .venv-delivery."""

    bin: Path

    def run(self, program: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of its programs in the project's folder."""
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0 or not check, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done


@pytest.fixture(scope="session")
def tools() -> Tools:
    if not (DELIVERY / "python").exists():
        pytest.skip(".venv-delivery is not there; make install-delivery makes it")
    return Tools(DELIVERY)


@pytest.fixture(scope="session")
def assembly(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the AWS templates, as for a trial; not to be changed. A finding of cdk-nag would end it."""

    def make(folder: Path) -> None:
        tools.run("python", "-m", "deployments.cloud.aws.app", "--removable", "--out", folder / "out")

    return once(tmp_path_factory, "aws", make) / "out"


@pytest.fixture(scope="session")
def templates(assembly: Path) -> dict[str, Any]:
    return {path.name.partition(".")[0]: json.loads(path.read_text()) for path in assembly.glob("*.template.json")}
