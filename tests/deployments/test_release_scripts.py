"""The shell scripts of release and retraining, with stand-ins for what they call.

Docker, cosign and gh are not here: that these calls have the wanted effect was not tried.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.delivery import ROOT, StandIns

pytestmark = pytest.mark.integration
NAME = "ghcr.io/me/pneumonia-serving"
DIGESTS = ("a" * 64, "b" * 64)
JOINED = f"sha256:{'c' * 64}"


@pytest.fixture
def programs(tmp_path: Path) -> StandIns:
    return StandIns(tmp_path)


def run(programs: StandIns, path: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / path, *arguments],
        env=programs.environment(**variables),
        cwd=programs.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def registry(programs: StandIns, tmp_path: Path) -> Path:
    """A registry that has the version once it was made, and the digests of its two images."""
    made = tmp_path / "made"
    missing = '{ echo "ERROR: ${@: -1}: not found" >&2; exit 1; }'
    code = f'case "$*" in *create*) touch "{made}" ;; *) [ -e "{made}" ] && echo {JOINED} || {missing} ;; esac'
    programs.have("docker", code)
    programs.have("cosign")
    (tmp_path / "digests").mkdir()
    for digest in DIGESTS:
        (tmp_path / "digests" / digest).touch()
    return tmp_path / "digests"


def test_images_are_joined_under_one_name_and_that_is_signed(programs: StandIns, registry: Path) -> None:
    done = run(programs, "deployments/release/join_images.sh", NAME, "0.3.0", registry)
    assert (done.returncode, done.stdout) == (0, f"name={NAME}\ndigest={JOINED}\n"), done.stderr
    _, create, _, sign = programs.calls()
    parts = " ".join(f"{NAME}@sha256:{digest}" for digest in DIGESTS)
    assert create == f"docker buildx imagetools create --tag {NAME}:0.3.0 {parts}"
    assert sign == f"cosign sign --yes --recursive {NAME}@{JOINED}"
    done = run(programs, "deployments/release/join_images.sh", NAME, "0.3.0", registry)
    assert done.returncode == 2
    assert "a release is not made twice" in done.stderr
    assert len(programs.calls()) == 5, "it looked, and did nothing"


@pytest.mark.parametrize(
    "said",
    [
        'failed to do request: Head "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: no such host',
        "failed to authorize: 403 Forbidden: denied",
        "pull access denied, the repository is not found or may require authorization",
    ],
)
def test_a_registry_that_does_not_answer_is_no_registry_without_the_version(
    programs: StandIns, registry: Path, said: str
) -> None:
    programs.have("docker", f"echo 'ERROR: {said}' >&2; exit 1")
    done = run(programs, "deployments/release/join_images.sh", NAME, "0.3.0", registry)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "whether it is there could not be found out" in done.stderr
    assert [call.split()[3] for call in programs.calls()] == ["inspect"], "nothing was made"


@pytest.mark.parametrize("wrong", ["one kind of machine", "a name that is no digest"])
def test_a_release_of_half_the_images_is_refused(programs: StandIns, registry: Path, wrong: str) -> None:
    (registry / DIGESTS[1]).unlink()
    if wrong == "a name that is no digest":
        (registry / "latest").touch()
    done = run(programs, "deployments/release/join_images.sh", NAME, "0.3.0", registry)
    assert (done.returncode, done.stdout, programs.calls()) == (2, "", [])
    assert ("holds 1 digests" in done.stderr) == (wrong == "one kind of machine")


@pytest.fixture
def published(programs: StandIns, tmp_path: Path) -> Path:
    """A release's files, which `gh release download` brings."""
    source = tmp_path / "published"
    source.mkdir()
    for name in ("a.whl", "a.tar.gz", "a.cdx.json"):
        (source / name).write_text(name)
    sums = subprocess.run(
        ["sha256sum", *sorted(path.name for path in source.iterdir())], cwd=source, capture_output=True
    )
    (source / "SHA256SUMS").write_bytes(sums.stdout)
    programs.have("gh", f'case "$*" in *download*) cp {source}/* "${{@: -1}}" ;; esac')
    programs.have("cosign", '[ "$SIGNED" = yes ]')
    return source


def test_the_files_of_a_release_are_verified_as_this_workflows(programs: StandIns, published: Path) -> None:
    command = ("deployments/release/verify_release.sh", "files", "me/pneumonia", "v0.3.0")
    done = run(programs, *command, SIGNED="yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == 3
    _, cosign, *attested = programs.calls()
    identity = "https://github.com/me/pneumonia/.github/workflows/release.yml@refs/tags/v0.3.0"
    issuer = "https://token.actions.githubusercontent.com"
    assert f"--certificate-oidc-issuer {issuer} --certificate-identity {identity} " in cosign
    assert [call.split()[3] for call in attested] == ["a.whl", "a.tar.gz", "a.cdx.json"]
    assert all("--signer-workflow me/pneumonia/.github/workflows/release.yml" in call for call in attested)
    assert run(programs, *command, SIGNED="no").returncode != 0
    (published / "a.whl").write_text("another")
    done = run(programs, *command, SIGNED="yes")
    assert done.returncode != 0
    assert "a.whl: FAILED" in done.stdout
    assert not any("attestation" in call for call in programs.calls()[len(attested) + 2 :]), "it stopped there"


def test_the_images_of_a_release_are_verified_as_this_workflows(programs: StandIns, published: Path) -> None:
    command = ("deployments/release/verify_release.sh", "images", "Me/pneumonia", "v0.3.0")
    done = run(programs, *command, SIGNED="yes")
    assert done.returncode == 0, done.stderr
    names = [call.split()[-1] for call in programs.calls()]
    assert names == [f"ghcr.io/me/pneumonia-{image}:0.3.0" for image in ("serving", "mlflow", "airflow", "postgres")]
    assert all("github.com/Me/pneumonia/.github/workflows/release.yml@refs/tags/v0.3.0" in c for c in programs.calls())
    assert run(programs, *command, SIGNED="no").returncode != 0
    assert len(programs.calls()) == 5, "the first that fails is the last"


@pytest.mark.parametrize("words", ["files me/it", "files me v0.3.0", "images me/it 0.3.0", "all me/it v0.3.0"])
def test_whose_release_it_is_has_to_be_said(programs: StandIns, published: Path, words: str) -> None:
    done = run(programs, "deployments/release/verify_release.sh", *words.split(), SIGNED="yes")
    assert done.returncode == 2
    assert "verify_release.sh files OWNER/REPOSITORY TAG" in done.stderr
    assert programs.calls() == []


@pytest.fixture
def checkout(programs: StandIns, tmp_path: Path) -> StandIns:
    """retrain.sh in a checkout whose environment is stand-ins."""
    (tmp_path / "checkout/deployments/scripts").mkdir(parents=True)
    shutil.copy(ROOT / "deployments/scripts/retrain.sh", tmp_path / "checkout/deployments/scripts")
    (tmp_path / "checkout/.venv/bin").mkdir(parents=True)
    for name in ("python", "dvc", "pneumonia"):
        programs.have(name)
        shutil.copy(programs.folder / name, tmp_path / "checkout/.venv/bin" / name)
    return programs


def retrain(programs: StandIns, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    script = programs.folder.parent / "checkout/deployments/scripts/retrain.sh"
    environment = programs.environment(MLFLOW_TRACKING_URI="http://mlflow:5000") | variables
    return subprocess.run([script, *arguments], env=environment, capture_output=True, text=True, timeout=60)


def test_a_retraining_pulls_the_recorded_radiographs_and_runs_the_flow(checkout: StandIns) -> None:
    done = retrain(checkout, "pipeline", "full", DVC_REMOTE_URL="s3://bucket/dvc")
    assert done.returncode == 0, done.stderr
    assert checkout.calls() == [
        "dvc remote add --local --force --default retraining s3://bucket/dvc",
        "dvc remote modify --local retraining verify true",
        "dvc pull",
        "pneumonia data verify",
        "python flows/pipeline.py --profile full --data data/chest_xray",
    ]


def test_radiographs_that_cannot_be_pulled_are_said_with_the_reason(checkout: StandIns) -> None:
    """DVC says nothing at all with --quiet."""
    dvc = checkout.folder.parent / "checkout/.venv/bin/dvc"
    checkout.have(
        "dvc", 'case "$*" in *--quiet*) exit 1 ;; pull*) echo "ERROR: no access to the bucket" >&2; exit 1 ;; esac'
    )
    shutil.copy(checkout.folder / "dvc", dvc)
    done = retrain(checkout, "pipeline", "full", DVC_REMOTE_URL="s3://bucket/dvc")
    assert done.returncode == 1
    assert "no access to the bucket\nthe recorded radiographs were not pulled from DVC_REMOTE_URL" in done.stderr
    assert checkout.calls()[-1] == "dvc pull"


def test_a_look_at_the_stream_is_the_monitors_flow(checkout: StandIns) -> None:
    variables = {"MONITORING_DATABASE_URI": "postgresql://db/monitoring", "RETRAIN_DATA": "phantom"}
    done = retrain(checkout, "monitor", "fast", GITHUB_RUN_ID="42", **variables)
    assert done.returncode == 0, done.stderr
    assert checkout.calls() == [
        "python flows/monitor.py --profile fast --set data.root=phantom --trigger GitHub\\ run\\ 42"
    ]


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("pipeline", "full"), {"MLFLOW_TRACKING_URI": "", "RETRAIN_DATA": "phantom"}, "MLFLOW_TRACKING_URI is empty"),
        (("pipeline", "full"), {}, "DVC_REMOTE_URL and RETRAIN_DATA are empty"),
        (("monitor", "full"), {"RETRAIN_DATA": "phantom"}, "MONITORING_DATABASE_URI is empty"),
        (("train", "full"), {"RETRAIN_DATA": "phantom"}, "choose pipeline or monitor"),
        (("pipeline",), {"RETRAIN_DATA": "phantom"}, "retrain.sh pipeline|monitor PROFILE"),
    ],
)
def test_what_would_be_lost_or_made_of_nothing_is_refused(
    checkout: StandIns, arguments: tuple[str, ...], variables: dict[str, str], words: str
) -> None:
    done = retrain(checkout, *arguments, **variables)
    assert done.returncode == 2
    assert words in done.stderr
    assert checkout.calls() == []


def test_its_options_are_those_of_the_flows() -> None:
    """The stand-ins take any."""
    script = (ROOT / "deployments/scripts/retrain.sh").read_text(encoding="utf-8")
    common = "common=(--profile " in script
    for flow, wanted in (("pipeline", {"--data"}), ("monitor", {"--set", "--trigger"})):
        (line,) = (each for each in script.splitlines() if f"flows/{flow}.py" in each)
        assert common
        assert set(re.findall(r" (--[a-z]+)", line)) == wanted
        tree = ast.parse((ROOT / f"flows/{flow}.py").read_text(encoding="utf-8"))
        (main,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
        taken = {"settings": "--set"}
        assert wanted | {"--profile"} <= {taken.get(each.arg, f"--{each.arg}") for each in main.args.args}
