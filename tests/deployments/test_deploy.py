"""deploy.sh, with stand-ins for helm and kubectl: which images it asks for, what it refuses, how it goes back.

Neither is here, nor a cluster: that these calls have the wanted effect was not tried.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.chart import DIGEST, OVER_DIGESTS
from tests.support.delivery import ROOT, StandIns

pytestmark = pytest.mark.integration
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
TAG = f"v{VERSION}"


@pytest.fixture
def programs(tmp_path: Path) -> StandIns:
    return StandIns(tmp_path)


def history(*states: str) -> str:
    """What `helm history` prints of revisions 6, 7, … in these states."""
    return json.dumps([{"revision": 6 + at, "status": state} for at, state in enumerate(states)])


DEPLOYED = history("superseded", "deployed")


def helm(programs: StandIns, before: str = DEPLOYED, failing: str = "nothing", said: str = "it cannot") -> None:
    programs.have("kubectl", "exit 1")  # the test's words are for a reader, and may be gone
    fails = f"""[ "$1" != {failing} ] || {{ echo 'Error: {said}' >&2; exit 1; }}"""
    warns = "[ \"$1\" != history ] || echo 'WARNING: the kubeconfig is readable by others' >&2"
    programs.have("helm", f"""{fails}\n{warns}\n[ "$1" != history ] || echo '{before}'""")


def deploy(programs: StandIns, tag: str = TAG) -> subprocess.CompletedProcess[str]:
    options = ("ghcr.io/me", "--values", "my values.yaml")
    return subprocess.run(
        [ROOT / "deployments/release/deploy.sh", tag, *options],
        env=programs.environment(NAMESPACE="here", TIMEOUT="1m"),
        cwd=programs.folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_deployment_is_an_upgrade_and_its_test(programs: StandIns) -> None:
    helm(programs)
    done = deploy(programs)
    assert done.returncode == 0, done.stderr
    _, upgrade, test = programs.calls()
    assert upgrade.startswith("helm upgrade pneumonia ")
    assert (
        "/deployments/kubernetes/pneumonia --namespace here --atomic --wait --timeout 1m --reset-then-reuse-values "
        in upgrade
    )
    assert "/deployments/kubernetes/by-tag-values.yaml --set-string " in upgrade
    assert (
        f"--set-string image.registry=ghcr.io/me --set-string image.tag={VERSION} --values my\\ values.yaml" in upgrade
    )
    assert test == "helm test pneumonia --namespace here --timeout 1m"


def test_the_tag_decides_over_the_digests_of_the_release_before(rendered_sets: dict[str, Any]) -> None:
    """The chart takes a digest before a tag, and Helm keeps what an earlier release was given."""
    images = rendered_sets["over digests"]["images"]
    assert {f"ghcr.io/me/pneumonia-{name}:9.9.9" for name in ("serving", "mlflow", "postgres")} == set(images)
    assert sum(each.endswith(DIGEST) for each in OVER_DIGESTS) == 4, "of each image"


def test_a_release_that_fails_its_test_is_taken_back(programs: StandIns) -> None:
    helm(programs, failing="test")
    done = deploy(programs)
    assert done.returncode == 1
    assert [call.split()[0] for call in programs.calls()[-3:]] == ["helm", "kubectl", "helm"]
    assert programs.calls()[-1] == "helm rollback pneumonia 7 --namespace here --wait --timeout 1m"
    assert f"revision 7 is in place again; {TAG} is not" in done.stderr


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [("release: not found", 2, "pneumonia is not installed there"), ("cluster unreachable", 1, "nothing was changed")],
)
def test_where_nothing_is_known_to_be_installed_nothing_is_upgraded(
    programs: StandIns, said: str, code: int, words: str
) -> None:
    """A first installation has no champion, so that Helm would wait for its service and then remove all of it."""
    helm(programs, failing="history", said=said)
    done = deploy(programs)
    assert done.returncode == code
    assert words in done.stderr
    assert (said in done.stderr) == (code == 1)
    assert [call.split()[1] for call in programs.calls()] == ["history"]


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (("deployed", "pending-upgrade"), "revision 7 of pneumonia is pending-upgrade"),
        (("superseded", "deployed", "failed"), "revision 8 of pneumonia is failed"),
        (("pending-install",), "revision 6 of pneumonia is pending-install"),
    ],
)
def test_a_deployment_that_was_cut_off_is_said_with_the_way_back(
    programs: StandIns, states: tuple[str, ...], words: str
) -> None:
    helm(programs, history(*states))
    done = deploy(programs)
    assert done.returncode == 2
    assert words in done.stderr
    back = (
        f"helm rollback pneumonia {6 + states.index('deployed')}"
        if "deployed" in states
        else "helm uninstall pneumonia"
    )
    assert f"then deploy again: {back} --namespace here" in done.stderr
    assert [call.split()[1] for call in programs.calls()] == ["history"]


def test_a_failed_upgrade_ends_it(programs: StandIns) -> None:
    """Helm itself takes it back."""
    helm(programs, failing="upgrade")
    assert deploy(programs).returncode != 0
    assert [call.split()[1] for call in programs.calls()] == ["history", "upgrade"]


@pytest.mark.skipif(shutil.which("helm") is not None, reason="helm is installed here")
def test_a_machine_without_helm_is_said(programs: StandIns) -> None:
    done = deploy(programs)
    assert (done.returncode, done.stderr) == (2, "helm: is not installed here\n")


@pytest.mark.parametrize("tag", ["v9.9.9", "latest", VERSION])
def test_another_checkouts_chart_is_not_deployed(programs: StandIns, tag: str) -> None:
    helm(programs)
    assert deploy(programs, tag).returncode == 2
    assert programs.calls() == []


def test_what_is_no_list_of_revisions_is_said(programs: StandIns) -> None:
    helm(programs, "no JSON")
    done = deploy(programs)
    assert done.returncode == 1
    assert done.stderr.endswith("helm history prints no list of revisions: no JSON\n")
    assert "Traceback" not in done.stderr
